//! The client.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::header::AUTHORIZATION;
use reqwest::Url;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;

use crate::answers::Decision;
use crate::answers::Refund;
use crate::answers::Reservation;
use crate::answers::Settled;
use crate::answers::Usage;
use crate::answers::is_replay;
use crate::attempts::Attempts;
use crate::attempts::OnUnavailable;
use crate::attempts::Outcome;
use crate::attempts::Policy;
use crate::error::Error;
use crate::error::Problem;
use crate::order::Order;

/// Asks the service. Cheap to clone; one for a process is enough.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: Arc<Url>,
    policy: Policy,
}

/// One operation, sent as often as it takes.
struct Call<'a> {
    method: Method,
    path: &'a [&'a str],
    body: Option<Value>,
    /// The same in each attempt, so that one whose answer was lost is not charged again.
    idempotency_key: Option<String>,
}

impl Client {
    /// A client of the service at `url`, with an API key.
    ///
    /// # Errors
    ///
    /// [`Error::Settings`] when the URL or the key cannot be used.
    pub fn new(url: &str, key: &str, policy: Policy) -> Result<Self, Error> {
        let settings = |reason: String| Error::Settings(reason);
        let url = Url::parse(url).map_err(|error| settings(format!("not a url: {error}")))?;
        if url.cannot_be_a_base() {
            return Err(settings("the url must begin with http:// or https://".to_owned()));
        }
        let mut bearer = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| settings("the key must be an API key of the service".to_owned()))?;
        bearer.set_sensitive(true);
        let http = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
            .user_agent(concat!("headroom-client-rust/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| settings(error.to_string()))?;
        Ok(Self { http, url: Arc::new(url), policy })
    }

    /// Would it be accepted now? A refusal is an answer here: `allowed` is false.
    ///
    /// # Errors
    ///
    /// [`Error`], but never [`Error::QuotaExceeded`] with limits.
    pub async fn check(&self, order: &Order) -> Result<Decision, Error> {
        match self.decide("check", order, None).await {
            Err(Error::QuotaExceeded(mut problem)) => {
                problem.decision.take().ok_or(Error::QuotaExceeded(problem))
            }
            answer => answer,
        }
    }

    /// Decides and charges.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`Error::QuotaExceeded`] when a limit leaves no room.
    pub async fn consume(&self, order: &Order) -> Result<Decision, Error> {
        self.decide("consume", order, Some(key_of(order))).await
    }

    /// Decides as [`Client::consume`] does and holds the units, until they are settled or `ttl` has passed: 1 s to 1 day.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`Error::QuotaExceeded`] when a limit leaves no room.
    pub async fn reserve(&self, order: &Order, ttl: Duration) -> Result<Reservation, Error> {
        let mut body = body_of(order)?;
        body["ttl_s"] = json!(ttl.as_secs());
        let call = Call::post(&["v1", "reservations"], body, Some(key_of(order)));
        match self.send::<Reservation>(&call).await {
            Ok((reservation, headers)) => {
                Ok(Reservation { decision: reservation.decision.with(&headers), ..reservation })
            }
            Err(error) => self.or_open(error).map(|decision| Reservation {
                reservation_id: None,
                amount: order.units(),
                expires_at: None,
                decision,
            }),
        }
    }

    /// Charges what the work took.
    ///
    /// # Errors
    ///
    /// [`Error`]; with the codes `reservation_already_committed`, `reservation_already_released` and others.
    pub async fn commit(&self, reservation_id: &str, amount: u64) -> Result<Settled, Error> {
        self.settle(reservation_id, "commit", json!({ "amount": amount })).await
    }

    /// Gives all that is held back.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn release(&self, reservation_id: &str) -> Result<Settled, Error> {
        self.settle(reservation_id, "release", json!({})).await
    }

    /// Holds the units for `ttl` from now on.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn extend(&self, reservation_id: &str, ttl: Duration) -> Result<Settled, Error> {
        self.settle(reservation_id, "extend", json!({ "ttl_s": ttl.as_secs() })).await
    }

    /// Gives back exactly what an event took, once.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn refund(&self, event_id: &str) -> Result<Refund, Error> {
        let last = format!("{event_id}:refund");
        let path = ["v1", "events", &last];
        // An event is refunded once, with any key: the same answer comes again.
        let call = Call::post(&path, json!({}), None);
        Ok(self.send(&call).await?.0)
    }

    /// The state of every limit of the subject.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn usage(&self, subject: &str) -> Result<Usage, Error> {
        let path = &["v1", "subjects", subject, "usage"];
        let call = Call { method: Method::GET, path, body: None, idempotency_key: None };
        Ok(self.send(&call).await?.0)
    }

    /// What becomes of a decision when the service gives none.
    pub(crate) fn on_unavailable(&self) -> OnUnavailable {
        self.policy.on_unavailable
    }

    async fn decide(
        &self,
        act: &str,
        order: &Order,
        key: Option<String>,
    ) -> Result<Decision, Error> {
        let path = ["v1", act];
        let call = Call::post(&path, body_of(order)?, key);
        match self.send::<Decision>(&call).await {
            Ok((decision, headers)) => Ok(decision.with(&headers)),
            Err(error) => self.or_open(error),
        }
    }

    /// A client that fails open makes up a decision, and nothing else.
    fn or_open(&self, error: Error) -> Result<Decision, Error> {
        let is_away = matches!(error, Error::Unavailable { .. });
        if !is_away || self.policy.on_unavailable == OnUnavailable::Closed {
            return Err(error);
        }
        tracing::warn!(%error, "the request passes uncharged");
        Ok(Decision::without_asking())
    }

    async fn settle(&self, id: &str, act: &str, body: Value) -> Result<Settled, Error> {
        let last = format!("{id}:{act}");
        let path = ["v1", "reservations", &last];
        let call = Call::post(&path, body, Some(new_key()));
        let (settled, headers) = self.send::<Settled>(&call).await?;
        Ok(Settled { replayed: is_replay(&headers), ..settled })
    }

    async fn send<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<(T, HeaderMap), Error> {
        let mut attempts = Attempts::new(&self.policy);
        loop {
            let outcome = self.attempt(call, attempts.timeout()).await;
            match attempts.wait(&outcome) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return call.conclude(outcome),
            }
        }
    }

    async fn attempt(&self, call: &Call<'_>, timeout: Duration) -> Outcome {
        let mut url = Url::clone(&self.url);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(call.path);
        }
        let mut request = self.http.request(call.method.clone(), url).timeout(timeout);
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", format!("\"{key}\""));
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        match answer(request).await {
            Ok(answer) => answer,
            Err(error) => Outcome::NoAnswer(error.to_string()),
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<Outcome> {
    let mut response = request.send().await?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    Ok(Outcome::Answer { status, headers, body: response.bytes().await?.to_vec() })
}

impl<'a> Call<'a> {
    fn post(path: &'a [&'a str], body: Value, idempotency_key: Option<String>) -> Self {
        Self { method: Method::POST, path, body: Some(body), idempotency_key }
    }

    /// What the last attempt comes to.
    fn conclude<T: DeserializeOwned>(&self, outcome: Outcome) -> Result<(T, HeaderMap), Error> {
        let is_passing = outcome.is_passing();
        match outcome {
            Outcome::NoAnswer(reason) => Err(self.unavailable(reason)),
            Outcome::Answer { status, headers, body } if status.is_success() => {
                let answer = serde_json::from_slice(&body).map_err(Error::Unreadable)?;
                Ok((answer, headers))
            }
            Outcome::Answer { status, headers, body } => {
                let problem = Box::new(Problem::of(status, &headers, &body));
                Err(match status.as_u16() {
                    _ if is_passing => self.unavailable(problem.to_string()),
                    429 => Error::QuotaExceeded(problem),
                    _ => Error::Refused(problem),
                })
            }
        }
    }

    fn unavailable(&self, reason: String) -> Error {
        Error::Unavailable { reason, idempotency_key: self.idempotency_key.clone() }
    }
}

fn body_of(order: &Order) -> Result<Value, Error> {
    serde_json::to_value(order).map_err(|error| Error::Settings(error.to_string()))
}

fn key_of(order: &Order) -> String {
    order.idempotency_key.clone().unwrap_or_else(new_key)
}

fn new_key() -> String {
    uuid::Uuid::new_v4().to_string()
}
