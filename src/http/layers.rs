//! The one layer around every route.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use futures_util::FutureExt;
use metrics::Counter;
use metrics::counter;
use tracing::Instrument;
use utoipa::openapi::OpenApi;

use super::error::ApiError;
use super::problem;
use super::request_id::RequestScope;
use super::request_id::X_REQUEST_ID;
use super::request_id::trace_parent;
use super::series::AllSeries;
use super::series::Series;
use super::state::Api;
use crate::telemetry::Chain;
use crate::telemetry::names;
use crate::telemetry::spans;

/// A route calls at most so many use-cases in turn, and each ends by itself within `server.request_timeout_ms`, with a
/// reason that a timer cannot give. The timer is for one that does not.
const USE_CASES_MAX: u32 = 2;
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// What the layer knows: the routes' metrics, and how many requests are worked on.
pub struct Edge {
    series: AllSeries,
    shed: Counter,
    in_flight: AtomicUsize,
    in_flight_max: usize,
}

impl Edge {
    /// Metrics for each operation of the document, and at most `in_flight_max` requests at a time.
    #[must_use]
    pub fn new(document: &OpenApi, in_flight_max: usize) -> Self {
        Self {
            series: AllSeries::new(document),
            shed: counter!(names::SHED_TOTAL),
            in_flight: AtomicUsize::new(0),
            in_flight_max,
        }
    }

    /// A place among the requests worked on, held until it is dropped. `None` when all are taken.
    fn enter(&self) -> Option<Place<'_>> {
        let place = Place(&self.in_flight);
        let taken_before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if taken_before < self.in_flight_max {
            return Some(place);
        }
        self.shed.increment(1);
        None
    }
}

/// Given back when dropped, also when the caller hangs up.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives the request an id and a place, lets it through, writes the problem if it failed, counts and logs it.
///
/// One function in place of a layer each, because every layer costs an allocation and a copy of the request.
pub async fn edge(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let started_at = Instant::now();
    let scope = RequestScope::of(request.headers());
    let uri = request.uri().clone();
    let matched = request.extensions().get::<MatchedPath>();
    let series = api.edge.series.find(request.method(), matched.map(MatchedPath::as_str));
    let span = spans::request(series.route(), scope.id(), || trace_parent(request.headers()));
    let place = if series.is_work { api.edge.enter().map(Some) } else { Some(None) };
    request.extensions_mut().insert(scope.clone());

    let response = match place {
        Some(_place) => run(&api, series, request, next).instrument(span.clone()).await,
        None => ApiError::Overloaded.into_response(),
    };

    spans::answered(&span, response.status().as_u16());
    finish(response, &scope, uri.path(), series, started_at)
}

async fn run(api: &Api, series: &Series, request: Request, next: Next) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let answered = if series.is_decision {
        answer.await
    } else {
        match tokio::time::timeout(api.server.request_timeout() * USE_CASES_MAX, answer).await {
            Ok(answered) => answered,
            Err(_elapsed) => return ApiError::TimedOut.into_response(),
        }
    };
    answered.unwrap_or_else(|panic| ApiError::Internal(panic_text(&*panic).into()).into_response())
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a handler panicked: {}", text.unwrap_or("without a text"))
}

fn finish(
    response: Response,
    scope: &RequestScope,
    path: &str,
    series: &Series,
    started_at: Instant,
) -> Response {
    let (mut parts, body) = response.into_parts();
    let error = parts.extensions.remove::<Arc<ApiError>>();
    let seconds = started_at.elapsed().as_secs_f64();
    series.record(parts.status, seconds);
    let record = Record { scope, series, status: parts.status.as_u16(), seconds };
    let mut response = if let Some(error) = error {
        record.log_error(&error);
        problem::response(&error, scope.id(), path, parts.headers)
    } else {
        record.log_answer();
        parts.headers.reserve(2);
        Response::from_parts(parts, body)
    };
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, scope.header());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}

/// One line a request: the caller's mistakes are ordinary, ours are not.
struct Record<'a> {
    scope: &'a RequestScope,
    series: &'a Series,
    status: u16,
    seconds: f64,
}

impl Record<'_> {
    fn log_answer(&self) {
        let (request_id, route) = (self.scope.id(), self.series.route());
        let (status, seconds, trace_id) = (self.status, self.seconds, self.scope.trace_id());
        tracing::debug!(request_id, trace_id, route, status, seconds, "request answered");
    }

    fn log_error(&self, error: &ApiError) {
        if self.status >= 500 {
            self.log_failure(error);
        } else {
            self.log_refusal(error);
        }
    }

    fn log_refusal(&self, error: &ApiError) {
        let (request_id, route) = (self.scope.id(), self.series.route());
        let (status, seconds, trace_id) = (self.status, self.seconds, self.scope.trace_id());
        tracing::debug!(request_id, trace_id, route, status, seconds, %error, "request refused");
    }

    fn log_failure(&self, error: &ApiError) {
        let (request_id, route) = (self.scope.id(), self.series.route());
        let (status, seconds, trace_id) = (self.status, self.seconds, self.scope.trace_id());
        let (store, error) = (error.store().map(tracing::field::debug), Chain(error));
        tracing::warn!(request_id, trace_id, route, status, seconds, store, %error, "request failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let edge = Edge::new(&OpenApi::default(), 2);
        let first = edge.enter().unwrap();
        let _second = edge.enter().unwrap();
        assert!(edge.enter().is_none() && edge.enter().is_none());
        drop(first);
        assert!(edge.enter().is_some());
    }

    #[test]
    fn a_panic_is_named_by_its_text() {
        assert_eq!(panic_text(&"boom"), "a handler panicked: boom");
        assert_eq!(panic_text(&"boom".to_owned()), "a handler panicked: boom");
        assert_eq!(panic_text(&7), "a handler panicked: without a text");
    }
}
