//! What is counted of each route.

use std::collections::HashMap;
use std::sync::OnceLock;

use axum::http::Method;
use axum::http::StatusCode;
use metrics::Counter;
use metrics::Histogram;
use metrics::counter;
use metrics::histogram;
use utoipa::openapi::OpenApi;
use utoipa::openapi::PathItem;

use crate::telemetry::names;

/// Statuses that the API answers with; a counter for each is made when it is first needed. Others are counted under
/// their own number too, but looked up each time.
const STATUSES: [u16; 20] = [
    200, 204, 303, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 428, 429, 500, 501,
    503,
];

/// Routes whose use-cases all begin at once, each with a deadline.
const DECISIONS: [&str; 5] =
    ["/v1/consume", "/v1/check", "/v1/consume:batch", "/v1/check:batch", "/v1/forward-auth"];

/// One route and method, with its metrics at hand: looking them up by their labels for each request would cost more
/// than authentication.
pub struct Series {
    route: String,
    seconds: Histogram,
    by_status: [OnceLock<Counter>; STATUSES.len()],
    /// Whether the route counts as work: probes and metrics are answered under any load.
    pub is_work: bool,
    /// Whether the route has its deadline from the use-case, and needs no timer of its own.
    pub is_decision: bool,
}

impl Series {
    fn new(method: &str, path: &str) -> Self {
        let route = format!("{method} {path}");
        Self {
            seconds: histogram!(names::HTTP_REQUEST_SECONDS, "route" => route.clone()),
            by_status: [const { OnceLock::new() }; STATUSES.len()],
            is_work: path.starts_with("/v1/") || path.starts_with("/api/"),
            is_decision: DECISIONS.contains(&path),
            route,
        }
    }

    /// The route's name in metrics and logs: `POST /v1/consume`.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route
    }

    /// Counts an answer.
    pub fn record(&self, status: StatusCode, seconds: f64) {
        self.seconds.record(seconds);
        let status = status.as_u16();
        match STATUSES.binary_search(&status) {
            Ok(at) => self.by_status[at].get_or_init(|| self.counter(status)).increment(1),
            Err(_) => self.counter(status).increment(1),
        }
    }

    fn counter(&self, status: u16) -> Counter {
        let (route, status) = (self.route.clone(), status.to_string());
        counter!(names::HTTP_REQUESTS_TOTAL, "route" => route, "status" => status)
    }
}

/// The series of all routes. Requests that match none share one, so that callers cannot make labels.
pub struct AllSeries {
    by_path: HashMap<String, Vec<(Method, Series)>>,
    unmatched: Series,
}

impl AllSeries {
    /// A series for each operation of the document.
    #[must_use]
    pub fn new(document: &OpenApi) -> Self {
        let mut by_path: HashMap<String, Vec<(Method, Series)>> = HashMap::new();
        for (path, item) in &document.paths.paths {
            by_path.entry(matched(path).to_owned()).or_default().extend(of_path(path, item));
        }
        Self { by_path, unmatched: Series::new("*", "unmatched") }
    }

    /// The series of a matched path, `None` for a request that matched none.
    #[must_use]
    pub fn find(&self, method: &Method, path: Option<&str>) -> &Series {
        let methods = path.and_then(|path| self.by_path.get(path));
        let series = methods.and_then(|methods| methods.iter().find(|(known, _)| known == method));
        series.map_or(&self.unmatched, |(_, series)| series)
    }
}

/// The path that the router matches: it leaves a word after the last parameter to the handler.
fn matched(path: &str) -> &str {
    path.rfind("}:").map_or(path, |at| &path[..=at])
}

fn of_path(path: &str, item: &PathItem) -> Vec<(Method, Series)> {
    let methods = [
        (Method::GET, item.get.is_some()),
        (Method::POST, item.post.is_some()),
        (Method::PUT, item.put.is_some()),
        (Method::DELETE, item.delete.is_some()),
    ];
    let answered = methods.into_iter().filter(|(_, is_answered)| *is_answered);
    answered
        .map(|(method, _)| {
            let series = Series::new(method.as_str(), path);
            (method, series)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_a_series_and_strangers_share_one() {
        let all = AllSeries::new(&crate::http::openapi());
        let consume = all.find(&Method::POST, Some("/v1/consume"));
        assert_eq!(consume.route(), "POST /v1/consume");
        assert!(consume.is_decision && consume.is_work);
        let batch = all.find(&Method::POST, Some("/v1/consume:batch"));
        assert_eq!(batch.route(), "POST /v1/consume:batch");
        assert!(batch.is_decision && batch.is_work);
        assert!(!all.find(&Method::GET, Some("/livez")).is_work);
        let decrement = all.find(&Method::POST, Some("/v1/subjects/{subject}/usage/{metric}"));
        assert_eq!(decrement.route(), "POST /v1/subjects/{subject}/usage/{metric}:decrement");
        assert!(decrement.is_work);
        assert_eq!(all.find(&Method::GET, None).route(), "* unmatched");
        assert_eq!(all.find(&Method::PATCH, Some("/v1/consume")).route(), "* unmatched");
    }

    #[test]
    fn statuses_are_sorted_for_the_search() {
        assert!(STATUSES.is_sorted());
    }
}
