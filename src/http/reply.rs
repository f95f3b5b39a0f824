//! Answers that are no decisions.

use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Serialize;

use super::precondition::etag;
use super::problem::JSON;
use super::problem::NO_STORE;
use super::problem::json;

/// A body of JSON, true for the moment only.
#[must_use]
pub fn reply(body: &impl Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, NO_STORE)];
    (headers, json(body)).into_response()
}

/// The same with the version that a write can be based on.
#[must_use]
pub fn versioned(version: u64, body: &impl Serialize) -> Response {
    let mut response = reply(body);
    response.headers_mut().insert(header::ETAG, etag(version));
    response
}

/// Nothing to say.
#[must_use]
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
