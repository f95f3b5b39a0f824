//! `POST /v1/reset`: the reset of a subject and all that lies below it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde::Serialize;
use uuid::Uuid;

use super::usage::ClearedBody;
use crate::domain::Period;
use crate::domain::Subject;
use crate::http::auth::Acting;
use crate::http::auth::Admin;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::body::JsonBytes;
use crate::http::documented::ActHeaders;
use crate::http::documented::ActProblems;
use crate::http::error::ApiError;
use crate::http::fields::metric;
use crate::http::reply::reply;
use crate::http::state::Api;
use crate::quota::ResetPage;
use crate::quota::ResetScope;
use crate::quota::ResetWithin;
use crate::quota::SubjectReset;

const LIMIT_MAX: u32 = 200;
const LIMIT_DEFAULT: u32 = 50;

/// Which subjects and counters are meant.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewReset)]
pub struct NewResetBody {
    /// The subject at and below which they lie.
    #[schema(example = "org:acme")]
    prefix: String,
    /// One metric; all when absent.
    #[schema(example = "messages")]
    metric: Option<String>,
    /// One period; all but `lifetime` when absent.
    period: Option<Period>,
    /// Only looks at what would be cleared.
    dry_run: bool,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// The most subjects of a page.
    #[schema(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

/// What was cleared, or would be.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Resets)]
pub struct ResetsBody<'a> {
    /// Whether nothing was cleared, since that was asked for.
    dry_run: bool,
    /// The subjects of the page of which something was cleared, or would be.
    subjects: Vec<SubjectResetBody<'a>>,
    /// Where the next page begins; `null` after the last.
    #[schema(required)]
    next_cursor: Option<&'a str>,
    /// The id of the request.
    request_id: &'a str,
}

/// What was cleared of one subject, or would be.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SubjectReset)]
pub struct SubjectResetBody<'a> {
    /// Who.
    #[schema(example = "org:acme/user:u_1")]
    subject: &'a str,
    /// The id of the event in the message log; `null` when nothing was cleared.
    #[schema(required)]
    event_id: Option<Uuid>,
    /// One entry a counter that was not zero.
    cleared: Vec<ClearedBody<'a>>,
}

/// Reset a part of the tree.
///
/// Clears counters of a subject and of all that lie below it in their current windows, page by page, as
/// `DELETE /v1/subjects/{subject}/usage` does for one. Go on with `next_cursor` until it is `null`; a page that failed can be
/// asked for again. A dry run names what would be cleared, but for minutes and hours.
#[utoipa::path(
    post,
    operation_id = "reset_within",
    path = "/v1/reset",
    tag = "usage",
    params(ActHeaders),
    request_body(content = NewResetBody, example = json!({"prefix": "org:acme", "metric": "messages", "dry_run": true})),
    responses(
        (status = 200, description = "what was cleared, or would be", body = ResetsBody,
            example = json!({
                "dry_run": false,
                "subjects": [{
                    "subject": "org:acme/user:u_1", "event_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                    "cleared": [{"metric": "messages", "period": "month", "window_start": "2026-11-01T00:00:00Z", "window_end": "2026-12-01T00:00:00Z", "units": 45}]
                }],
                "next_cursor": "org:acme/user:u_1",
                "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d"
            })),
        ActProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn reset(
    State(api): State<Arc<Api>>,
    Acting { caller, actor }: Acting,
    bytes: JsonBytes,
) -> Result<Response, ApiError> {
    let order = order(&caller, body::parse(&bytes.0)?)?;
    let page = api.quota.reset_within(&order, &actor).await?;
    Ok(reply(&resets_body(&order, &page, &actor.context.request_id)))
}

fn order(caller: &Caller<Admin>, body: NewResetBody) -> Result<ResetWithin, ApiError> {
    let prefix =
        Subject::parse(&body.prefix).map_err(|error| ApiError::invalid("prefix", error))?;
    let prefix = caller.reach(prefix)?;
    let limit = body.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::invalid("limit", "must be 1 to 200"));
    }
    let is_cursor = |text: &str| Subject::parse(text).is_ok_and(|it| it.is_within(prefix.as_str()));
    if !body.cursor.as_deref().is_none_or(is_cursor) {
        return Err(ApiError::invalid("cursor", "must be the next_cursor of another answer"));
    }
    let metric = body.metric.as_deref().map(metric).transpose()?;
    Ok(ResetWithin {
        prefix,
        scope: ResetScope { metric, period: body.period },
        is_dry_run: body.dry_run,
        after: body.cursor,
        subjects_max: limit,
    })
}

fn resets_body<'a>(
    order: &ResetWithin,
    page: &'a ResetPage,
    request_id: &'a str,
) -> ResetsBody<'a> {
    ResetsBody {
        dry_run: order.is_dry_run,
        subjects: page.subjects.iter().map(subject_body).collect(),
        next_cursor: page.next.as_deref(),
        request_id,
    }
}

fn subject_body(reset: &SubjectReset) -> SubjectResetBody<'_> {
    SubjectResetBody {
        subject: &reset.subject,
        event_id: reset.event_id,
        cleared: reset.counters.iter().map(ClearedBody::of).collect(),
    }
}
