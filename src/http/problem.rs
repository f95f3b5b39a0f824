//! `application/problem+json` (RFC 9457).

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;
use serde::Serialize;

use super::error::ApiError;
use super::limit_body::LimitBody;
use super::problem_code::ProblemCode;

/// Longer paths are left out of a problem: they are the caller's own text.
const INSTANCE_BYTES_MAX: usize = 1_024;

/// The body of every answer that is not a success. A refused decision also holds what an accepted one does.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Problem<'a> {
    /// A URI that names the kind of problem: one registered with IANA where there is one, else `urn:headroom:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, for people.
    pub detail: String,
    /// The path that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<&'a str>,
    /// The kind of problem, for programs.
    pub code: ProblemCode,
    /// Names of the limits that leave no room for the request.
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    pub violated_policies: Option<Vec<&'a str>>,
    /// The id of the request, as in the log.
    pub request_id: &'a str,
    /// Where the subject can get more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade_url: Option<&'a str>,
    /// In a refused decision: the cheapest listed plan under which the request would have passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "starter")]
    pub recommended_plan: Option<&'a str>,
    /// In a refused decision: `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<bool>,
    /// In a refused decision: `null`, since nothing was charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>)]
    pub event_id: Option<()>,
    /// In a refused decision: every limit that the request was measured against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<LimitBody<'a>>>,
    /// In a refused decision: whether the answer was given without the counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<bool>,
    /// In a refused decision: the plan that the limits come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<&'a str>,
}

impl<'a> Problem<'a> {
    /// A problem without anything that only some kinds have.
    #[must_use]
    pub fn new(code: ProblemCode, status: StatusCode, detail: String) -> Self {
        Self {
            kind: code.kind(),
            title: code.title(),
            status: status.as_u16(),
            detail,
            instance: None,
            code,
            violated_policies: None,
            request_id: "",
            upgrade_url: None,
            recommended_plan: None,
            allowed: None,
            event_id: None,
            limits: None,
            degraded: None,
            plan: None,
        }
    }

    /// The problem of a request that got no decision.
    #[must_use]
    pub fn of(error: &'a ApiError, request_id: &'a str, path: &'a str) -> Self {
        let (status, code) = error.status_and_code();
        let instance = (path.len() <= INSTANCE_BYTES_MAX).then_some(path);
        let upgrade_url = error.upgrade_url();
        Self { instance, request_id, upgrade_url, ..Self::new(code, status, error.to_string()) }
    }
}

/// Writes an error as a response, into the headers that it has so far.
#[must_use]
pub fn response(error: &ApiError, request_id: &str, path: &str, headers: HeaderMap) -> Response {
    let body = json(&Problem::of(error, request_id, path));
    let mut response = Response::new(body);
    *response.status_mut() = error.status_and_code().0;
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    if let Some(seconds) = error.retry_after_s() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(challenge) = error.challenge() {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// The content type of problems.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// The content type of all other answers.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Decisions and problems are true for the moment only.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A body of JSON.
pub fn json(value: &impl Serialize) -> Body {
    Body::from(json_text(value))
}

/// The text of such a body.
///
/// # Panics
///
/// Never for the bodies of this API, which hold numbers, texts and lists only.
pub(super) fn json_text(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1_024);
    serde_json::to_writer(&mut bytes, value).expect("numbers, texts and lists are json");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::QuotaError;

    fn problem(error: &ApiError) -> serde_json::Value {
        serde_json::to_value(Problem::of(error, "req-1", "/v1/consume")).unwrap()
    }

    #[test]
    fn a_broken_rule_names_its_field() {
        insta::assert_json_snapshot!(problem(&ApiError::invalid("subject", "must not be empty")), @r#"
        {
          "code": "invalid_request",
          "detail": "subject must not be empty",
          "instance": "/v1/consume",
          "request_id": "req-1",
          "status": 400,
          "title": "The request is not valid",
          "type": "urn:headroom:problem:invalid_request"
        }
        "#);
    }

    #[test]
    fn an_internal_error_shows_nothing_of_its_cause() {
        let error = ApiError::from(QuotaError::Internal("password=hunter2".into()));
        insta::assert_json_snapshot!(problem(&error), @r#"
        {
          "code": "internal",
          "detail": "internal error",
          "instance": "/v1/consume",
          "request_id": "req-1",
          "status": 500,
          "title": "Something is wrong with the service",
          "type": "urn:headroom:problem:internal"
        }
        "#);
    }

    #[test]
    fn a_store_that_is_away_has_the_registered_type() {
        let error = ApiError::StoreUnavailable {
            store: crate::quota::Store::Redis,
            retry_after_s: 2,
            source: None,
        };
        insta::assert_json_snapshot!(problem(&error), @r#"
        {
          "code": "store_unavailable",
          "detail": "a store is away",
          "instance": "/v1/consume",
          "request_id": "req-1",
          "status": 503,
          "title": "Request cannot be satisfied due to temporary server capacity constraints",
          "type": "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
        }
        "#);
    }

    #[test]
    fn headers_that_a_problem_needs_are_there() {
        let write = |error| response(&error, "req-1", "/v1/consume", HeaderMap::new());
        assert_eq!(write(ApiError::Overloaded).headers()[header::RETRY_AFTER], "1");
        let challenged = write(ApiError::NoCredential);
        assert_eq!(challenged.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"headroom\"");
        assert_eq!(challenged.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
