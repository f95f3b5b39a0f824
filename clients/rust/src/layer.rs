//! A tower layer: requests are charged before they reach the service within.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use http::HeaderMap;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::header::RETRY_AFTER;
use http::request::Parts;
use serde_json::json;
use tower_layer::Layer;
use tower_service::Service;

use crate::answers::Decision;
use crate::client::Client;
use crate::error::Error;
use crate::error::Problem;
use crate::order::Order;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// What a caller of the backend is told of a refusal; all else is between the backend and the service.
const FOR_CALLERS: [&str; 10] = [
    "type",
    "title",
    "status",
    "detail",
    "code",
    "violated-policies",
    "limits",
    "upgrade_url",
    "recommended_plan",
    "request_id",
];

/// What is to be done with a request.
#[derive(Debug)]
pub enum Charge {
    /// It is charged, and passes if there is room.
    Order(Box<Order>),
    /// It passes, uncharged.
    Nothing,
    /// It does not pass: 401 for a caller who has not signed in.
    Refuse(StatusCode),
}

impl From<Order> for Charge {
    fn from(order: Order) -> Self {
        Self::Order(Box::new(order))
    }
}

/// Charges requests before they reach the service within. A refusal is answered with 429 or 403 and the problem, a
/// service that is away with 503, unless the client fails open. The [`Decision`] is among the request's extensions, and its
/// `RateLimit` headers on the answer.
#[derive(Clone, Debug)]
pub struct QuotaLayer<F> {
    client: Client,
    charge: Arc<F>,
    refund_on_server_error: bool,
}

impl<F: Fn(&Parts) -> Charge> QuotaLayer<F> {
    /// `charge` says of each request's head what is to be charged.
    pub fn new(client: Client, charge: F) -> Self {
        Self { client, charge: Arc::new(charge), refund_on_server_error: false }
    }

    /// Gives the units back when the service within answers with 5xx.
    #[must_use]
    pub fn refund_on_server_error(self) -> Self {
        Self { refund_on_server_error: true, ..self }
    }
}

impl<S, F> Layer<S> for QuotaLayer<F> {
    type Service = QuotaService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        let (client, charge) = (self.client.clone(), Arc::clone(&self.charge));
        let refund_on_server_error = self.refund_on_server_error;
        QuotaService { inner, layer: QuotaLayer { client, charge, refund_on_server_error } }
    }
}

/// A service that [`QuotaLayer`] made.
#[derive(Debug)]
pub struct QuotaService<S, F> {
    inner: S,
    layer: QuotaLayer<F>,
}

impl<S: Clone, F> Clone for QuotaService<S, F> {
    fn clone(&self) -> Self {
        self.layer.layer(self.inner.clone())
    }
}

type Answer<R, E> = Pin<Box<dyn Future<Output = Result<Response<R>, E>> + Send>>;

impl<S, F, B, R> Service<Request<B>> for QuotaService<S, F>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    F: Fn(&Parts) -> Charge + Send + Sync + 'static,
    B: Send + 'static,
    R: From<Vec<u8>> + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Answer<R, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready goes, and its clone waits to be.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let (mut parts, body) = request.into_parts();
        let charge = (self.layer.charge)(&parts);
        let client = self.layer.client.clone();
        let refund_on_server_error = self.layer.refund_on_server_error;
        Box::pin(async move {
            let order = match charge {
                Charge::Nothing => return inner.call(Request::from_parts(parts, body)).await,
                Charge::Refuse(status) => return Ok(bare(status)),
                Charge::Order(order) => order,
            };
            let decision = match client.consume(&order).await {
                Ok(decision) => decision,
                Err(error) => return Ok(refused(&error)),
            };
            parts.extensions.insert(decision.clone());
            let mut answer = inner.call(Request::from_parts(parts, body)).await?;
            if refund_on_server_error && answer.status().is_server_error() {
                refund(&client, &decision).await;
            } else {
                pass_on(&decision.headers, answer.headers_mut());
            }
            Ok(answer)
        })
    }
}

async fn refund(client: &Client, decision: &Decision) {
    let Some(event_id) = &decision.event_id else { return };
    if let Err(error) = client.refund(event_id).await {
        tracing::error!(%error, event_id, "could not refund");
    }
}

fn pass_on(from: &HeaderMap, to: &mut HeaderMap) {
    to.extend(from.iter().map(|(name, value)| (name.clone(), value.clone())));
}

/// A refusal as the backend's caller may see it. The backend's own mistakes, such as a key that is not valid, are 500.
fn refused<R: From<Vec<u8>>>(error: &Error) -> Response<R> {
    match error {
        Error::QuotaExceeded(problem) => told(problem),
        Error::Refused(problem) if is_callers(problem) => told(problem),
        Error::Unavailable { .. } => {
            tracing::error!(%error, "a request is refused");
            let mut response = bare(StatusCode::SERVICE_UNAVAILABLE);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
        _ => {
            tracing::error!(%error, "a request is refused");
            bare(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn is_callers(problem: &Problem) -> bool {
    problem.status == StatusCode::FORBIDDEN && problem.code != "permission_denied"
}

fn told<R: From<Vec<u8>>>(problem: &Problem) -> Response<R> {
    let mut body = problem.body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|name, _| FOR_CALLERS.contains(&name.as_str()));
    }
    let mut response = written(problem.status, &body);
    pass_on(&problem.headers, response.headers_mut());
    response
}

fn bare<R: From<Vec<u8>>>(status: StatusCode) -> Response<R> {
    let title = status.canonical_reason().unwrap_or_default();
    written(status, &json!({ "title": title, "status": status.as_u16() }))
}

fn written<R: From<Vec<u8>>>(status: StatusCode, body: &serde_json::Value) -> Response<R> {
    let mut response = Response::new(R::from(body.to_string().into_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
    response
}
