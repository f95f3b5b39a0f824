//! `GET /v1/subjects/{subject}/logs` and `GET /v1/logs`: what happened.

mod body;
mod format;
mod query;

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::extract::rejection::QueryRejection;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::header;
use axum::response::Response;

use crate::http::auth::Caller;
use crate::http::auth::Read;
use crate::http::documented::LogProblems;
use crate::http::error::ApiError;
use crate::http::fields;
use crate::http::state::Api;
use crate::http::subject_path::SubjectPath;

use self::body::LogsBody;
use self::format::Format;
use self::query::LogsQuery;

/// Read a subject's log.
///
/// The events of the subject and of all below it, and the refusals beside them, newest first. Events are there once they are in
/// Postgres, refusals within about a second, best effort, and at most 10 for each subject and minute. A page looks at no more
/// than 100,000 rows: with a filter that little fits it may hold fewer rows than asked for, and still have a next page.
#[utoipa::path(
    get,
    operation_id = "read_subject_logs",
    path = "/v1/subjects/{subject}/logs",
    tag = "logs",
    params(
        SubjectPath,
        LogsQuery,
    ),
    responses(
        (status = 200, description = "a page, as `Accept` asks for it",
            content((LogsBody = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")),
            headers(("Link" = String, description = "the next page, `rel=\"next\"`, when there is one"))),
        LogProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn of_subject(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<LogsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let subject = caller.reach(fields::subject(path)?)?;
    let path = format!("/v1/subjects/{}/logs", encoded(subject.as_str()));
    page(&api, Some(subject.as_str()), query, &headers, &path).await
}

/// Read the log.
///
/// The same of all subjects that the key reaches.
#[utoipa::path(
    get,
    operation_id = "read_logs",
    path = "/v1/logs",
    tag = "logs",
    params(LogsQuery),
    responses(
        (status = 200, description = "a page, as `Accept` asks for it",
            content((LogsBody = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")),
            headers(("Link" = String, description = "the next page, `rel=\"next\"`, when there is one"))),
        LogProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn of_all(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    query: Result<Query<LogsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let prefix = caller.holds_key()?.subject_prefix.as_deref();
    page(&api, prefix, query, &headers, "/v1/logs").await
}

async fn page(
    api: &Api,
    within: Option<&str>,
    query: Result<Query<LogsQuery>, QueryRejection>,
    headers: &HeaderMap,
    path: &str,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    let (filter, limit) = (query.filter(within)?, query.limit()?);
    let page = api.quota.logs(&filter, limit).await?;
    let cursor = page.next.map(query::cursor_of);
    let link = cursor.as_deref().and_then(|cursor| {
        let next = format!("<{path}?{}>; rel=\"next\"", query.with_cursor(cursor));
        HeaderValue::try_from(next).ok()
    });
    let mut response = Format::asked(headers).response(&page.rows, cursor)?;
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response.headers_mut().extend(link.map(|link| (header::LINK, link)));
    Ok(response)
}

/// A subject as a segment of a path. `%`, `?` and `#` cannot occur in it.
fn encoded(subject: &str) -> String {
    subject.replace('/', "%2F")
}
