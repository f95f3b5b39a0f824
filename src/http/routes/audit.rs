//! `GET /v1/audit`: what admins did.

use std::sync::Arc;

use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use axum::http::HeaderValue;
use axum::http::header;
use axum::response::Response;
use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::Subject;
use crate::http::auth::Admin;
use crate::http::auth::Caller;
use crate::http::documented::CatalogueReadProblems;
use crate::http::error::ApiError;
use crate::http::reply::reply;
use crate::http::state::Api;
use crate::quota::AuditFilter;
use crate::quota::AuditRow;

const LIMIT_MAX: u32 = 200;
const LIMIT_DEFAULT: u32 = 50;
const TARGET_BYTES_MAX: usize = 1_000;
const ACTOR_BYTES_MAX: usize = 200;

/// Which acts are asked for: those that fit all that is given.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// What they were done to: a subject, a plan, `models`, `catalogue` or a key's id.
    #[param(example = "user:u_1", max_length = 1000)]
    target: Option<String>,
    /// Who did them: the id of an API key, `cli` or `bootstrap`.
    #[param(example = "bootstrap", max_length = 200)]
    actor: Option<String>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// The most acts of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

/// A page of the audit log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Audit)]
pub struct AuditBody<'a> {
    /// The acts, newest first.
    acts: Vec<ActBody<'a>>,
    /// Where the next page begins; `null` after the last.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// What an admin did.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Act)]
pub struct ActBody<'a> {
    /// Its place in the log: later acts have higher ones.
    id: u64,
    /// When it was done, or, to a counter, when it came into the log.
    occurred_at: DateTime<Utc>,
    /// Who did it.
    actor: &'a str,
    /// What was done.
    #[schema(example = "subject.put")]
    action: &'a str,
    /// What it was done to.
    target: &'a str,
    /// Why, in the actor's words.
    #[schema(required)]
    reason: Option<&'a str>,
    /// What there was.
    #[schema(required, value_type = Option<Object>)]
    before: Option<&'a RawValue>,
    /// What there was then.
    #[schema(required, value_type = Option<Object>)]
    after: Option<&'a RawValue>,
    /// The id of the request; `null` from the command line.
    #[schema(required)]
    request_id: Option<&'a str>,
}

/// Read the audit log.
///
/// Newest first. An act on counters is there once its event is in Postgres. A key that is fenced into a part of the tree has
/// to name a target in it.
#[utoipa::path(
    get,
    operation_id = "read_audit",
    path = "/v1/audit",
    tag = "audit",
    params(AuditQuery),
    responses(
        (status = 200, description = "a page of acts", body = AuditBody,
            headers(("Link" = String, description = "the next page, `rel=\"next\"`, when there is one")),
            example = json!({"acts": [{
                "id": 12, "occurred_at": "2026-11-20T09:30:00.125Z", "actor": "bootstrap", "action": "subject.put",
                "target": "user:u_1", "reason": "ticket 4711", "before": null, "after": {"plan": "starter"},
                "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d"
            }], "next_cursor": "12"})),
        CatalogueReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    check_reach(&caller, query.target.as_deref())?;
    let (limit, before_id) = (limit(query.limit)?, cursor(query.cursor.as_deref())?);
    let filter = AuditFilter {
        target: bounded("target", query.target.as_deref(), TARGET_BYTES_MAX)?,
        actor: bounded("actor", query.actor.as_deref(), ACTOR_BYTES_MAX)?,
        before_id,
    };
    // One more than asked for tells whether there is a next page.
    let mut rows = api.quota.audit(filter, limit + 1).await?;
    let has_next = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| has_next).map(|row| row.id.to_string());
    let link = next_cursor.as_deref().and_then(|cursor| next_page(filter, limit, cursor));
    let acts = rows.iter().map(act).collect::<Result<_, _>>()?;
    let mut response = reply(&AuditBody { acts, next_cursor });
    response.headers_mut().extend(link.map(|link| (header::LINK, link)));
    Ok(response)
}

/// A fenced key sees what was done to the subjects in its part of the tree.
fn check_reach(caller: &Caller<Admin>, target: Option<&str>) -> Result<(), ApiError> {
    match target.map(Subject::parse) {
        Some(Ok(subject)) => caller.reach(subject).map(|_| ()),
        Some(Err(_)) | None => caller.reach_all(),
    }
}

fn limit(limit: Option<u32>) -> Result<u32, ApiError> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    let is_within = (1..=LIMIT_MAX).contains(&limit);
    is_within.then_some(limit).ok_or_else(|| ApiError::invalid("limit", "must be 1 to 200"))
}

fn cursor(text: Option<&str>) -> Result<Option<u64>, ApiError> {
    let parsed = text.map(|text| text.parse::<i64>().ok().and_then(|id| u64::try_from(id).ok()));
    match parsed {
        Some(None) => Err(ApiError::invalid("cursor", "must be the next_cursor of another answer")),
        parsed => Ok(parsed.flatten()),
    }
}

fn bounded<'a>(
    field: &'static str,
    text: Option<&'a str>,
    bytes_max: usize,
) -> Result<Option<&'a str>, ApiError> {
    let rule = format_args!("must be 1 to {bytes_max} bytes without control characters");
    let fits =
        |text: &str| (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control);
    if text.is_none_or(fits) { Ok(text) } else { Err(ApiError::invalid(field, rule)) }
}

/// The `Link` to the page after `cursor` (RFC 8288).
fn next_page(filter: AuditFilter<'_>, limit: u32, cursor: &str) -> Option<HeaderValue> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let filters = [("target", filter.target), ("actor", filter.actor)];
    query.extend_pairs(filters.iter().filter_map(|(name, value)| Some((name, (*value)?))));
    query.append_pair("limit", &limit.to_string()).append_pair("cursor", cursor);
    HeaderValue::try_from(format!("</v1/audit?{}>; rel=\"next\"", query.finish())).ok()
}

fn act(row: &AuditRow) -> Result<ActBody<'_>, ApiError> {
    let misread = |error: serde_json::Error| ApiError::Internal(error.into());
    Ok(ActBody {
        id: row.id,
        occurred_at: row.occurred_at,
        actor: &row.actor,
        action: &row.action,
        target: &row.target,
        reason: row.reason.as_deref(),
        before: row.before.as_deref().map(serde_json::from_str).transpose().map_err(misread)?,
        after: row.after.as_deref().map(serde_json::from_str).transpose().map_err(misread)?,
        request_id: row.request_id.as_deref(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_and_a_cursor_is_one_of_ours() {
        assert_eq!((limit(None).unwrap(), limit(Some(200)).unwrap()), (50, 200));
        assert!(limit(Some(0)).is_err() && limit(Some(201)).is_err());
        assert_eq!(cursor(Some("12")).unwrap(), Some(12));
        for wrong in ["", "-1", "x", "9223372036854775808"] {
            assert!(cursor(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_next_page_keeps_the_filter() {
        let filter = AuditFilter { target: Some("org:a/user:é"), actor: None, before_id: None };
        assert_eq!(
            next_page(filter, 2, "12").unwrap(),
            "</v1/audit?target=org%3Aa%2Fuser%3A%C3%A9&limit=2&cursor=12>; rel=\"next\""
        );
    }

    #[test]
    fn what_postgres_cannot_hold_is_no_filter() {
        for wrong in ["", "a\0b", &"x".repeat(201)] {
            let error = bounded("actor", Some(wrong), ACTOR_BYTES_MAX).unwrap_err().to_string();
            assert!(error.starts_with("actor must be 1 to 200 bytes"), "{error}");
        }
        assert_eq!(bounded("actor", Some("cli"), ACTOR_BYTES_MAX).unwrap(), Some("cli"));
    }
}
