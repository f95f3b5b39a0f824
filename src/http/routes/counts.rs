//! `PUT /v1/subjects/{subject}/usage/{metric}` and `POST …/usage/{metric}:decrement`: counts of things that are counted
//! elsewhere.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;
use uuid::Uuid;

use super::usage::UsageBody;
use super::usage::window_end;
use crate::domain::Amount;
use crate::domain::Period;
use crate::domain::Subject;
use crate::domain::Units;
use crate::http::auth::Acting;
use crate::http::body;
use crate::http::body::JsonBytes;
use crate::http::documented::ActHeaders;
use crate::http::documented::ActProblems;
use crate::http::error::ApiError;
use crate::http::fields::metric;
use crate::http::fields::subject_and;
use crate::http::rate_limit_headers::distinct_names;
use crate::http::reply::reply;
use crate::http::state::Api;
use crate::http::subject_path::SubjectPath;
use crate::quota::Actor;
use crate::quota::NewCount;
use crate::quota::RewriteReport;
use crate::quota::Rewritten;
use crate::quota::SetOrder;

/// The route of both, since a route cannot end in a parameter and a word.
pub(crate) const ROUTE: &str = "/v1/subjects/{subject}/usage/{metric}";
const DECREMENT: &str = ":decrement";

/// A new count.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCount)]
pub struct CountBody {
    /// What the counter shows from now on.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    value: u64,
    /// Only the counter of this period, `day` or longer; those of all limits on the metric when absent.
    period: Option<Period>,
}

/// How much less there is.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Decrement)]
pub struct DecrementBody {
    /// Units to take off; a counter stops at zero.
    #[schema(minimum = 1, maximum = 2_147_483_648_u64)]
    amount: u64,
    /// Only the counter of this period, `day` or longer; those of all limits on the metric when absent.
    period: Option<Period>,
}

/// What an act on counters changed.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Counts)]
pub struct CountsBody<'a> {
    /// The id of the event in the message log.
    event_id: Uuid,
    /// One entry a counter that has another count now.
    changed: Vec<ChangedBody<'a>>,
    /// The subject's usage afterwards.
    usage: UsageBody<'a>,
}

/// A counter that has another count now.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Changed)]
pub struct ChangedBody<'a> {
    /// What is counted.
    #[schema(example = "storage_bytes")]
    metric: &'a str,
    /// The period of the limit.
    period: Period,
    /// When the window began.
    window_start: DateTime<Utc>,
    /// When the window ends; `null` for a lifetime limit.
    #[schema(required)]
    window_end: Option<DateTime<Utc>>,
    /// Units that were added; negative when they were taken off.
    units: i64,
}

/// Set a count.
///
/// For what is counted elsewhere: the counters of the metric show the value from now on, also one above the limit. Counters
/// of minutes and hours are left alone.
#[utoipa::path(
    put,
    operation_id = "set_usage",
    path = "/v1/subjects/{subject}/usage/{metric}",
    tag = "usage",
    params(
        SubjectPath,
        ("metric" = String, Path, description = "what is counted", example = "storage_bytes"),
        ActHeaders,
    ),
    request_body(content = CountBody, example = json!({"value": 5, "period": "lifetime"})),
    responses(
        (status = 200, description = "what changed", body = CountsBody,
            example = json!({
                "event_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "changed": [{"metric": "storage_bytes", "period": "lifetime", "window_start": "1970-01-01T00:00:00Z", "window_end": null, "units": 5}],
                "usage": {"subject": "user:u_1", "plan": "free", "limits": [
                    {"name": "storage_bytes-lifetime", "subject": "user:u_1", "metric": "storage_bytes", "period": "lifetime", "limit": 10, "used": 5, "reserved": 0, "remaining": 5, "granted_remaining": 0, "window_start": null, "resets_at": null, "mode": "hard", "warning": "none"}
                ], "features": {}, "blocked": false, "last_reset_at": null, "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d"}
            })),
        ActProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn set(
    State(api): State<Arc<Api>>,
    Acting { caller, actor }: Acting,
    path: Result<Path<(String, String)>, PathRejection>,
    bytes: JsonBytes,
) -> Result<Response, ApiError> {
    let (subject, name) = subject_and(path)?;
    let (subject, metric) = (caller.reach(subject)?, metric(&name)?);
    let CountBody { value, period } = body::parse(&bytes.0)?;
    let value = Units::new(value).map_err(|error| ApiError::invalid("value", error))?;
    let order = SetOrder { metric, period: settable(period)?, count: NewCount::Absolute(value) };
    answer(&api, &actor, &subject, &order).await
}

/// Decrement a count.
///
/// For what was given back elsewhere. A counter stops at zero. Counters of minutes and hours are left alone.
#[utoipa::path(
    post,
    operation_id = "decrement_usage",
    path = "/v1/subjects/{subject}/usage/{metric}:decrement",
    tag = "usage",
    params(
        SubjectPath,
        ("metric" = String, Path, description = "what is counted", example = "storage_bytes"),
        ActHeaders,
    ),
    request_body(content = DecrementBody, example = json!({"amount": 1})),
    responses(
        (status = 200, description = "what changed", body = CountsBody,
            example = json!({
                "event_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "changed": [{"metric": "storage_bytes", "period": "lifetime", "window_start": "1970-01-01T00:00:00Z", "window_end": null, "units": -1}],
                "usage": {"subject": "user:u_1", "plan": "free", "limits": [
                    {"name": "storage_bytes-lifetime", "subject": "user:u_1", "metric": "storage_bytes", "period": "lifetime", "limit": 10, "used": 4, "reserved": 0, "remaining": 6, "granted_remaining": 0, "window_start": null, "resets_at": null, "mode": "hard", "warning": "none"}
                ], "features": {}, "blocked": false, "last_reset_at": null, "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d"}
            })),
        ActProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn decrement(
    State(api): State<Arc<Api>>,
    Acting { caller, actor }: Acting,
    path: Result<Path<(String, String)>, PathRejection>,
    bytes: JsonBytes,
) -> Result<Response, ApiError> {
    let (subject, last) = subject_and(path)?;
    let name = last.strip_suffix(DECREMENT).ok_or(ApiError::NoRoute)?;
    let (subject, metric) = (caller.reach(subject)?, metric(name)?);
    let DecrementBody { amount, period } = body::parse(&bytes.0)?;
    let amount = Amount::new(amount).ok().filter(|amount| *amount != Amount::ZERO);
    let rule = "must be 1 to 2147483648";
    let amount = amount.ok_or_else(|| ApiError::invalid("amount", rule))?;
    let order =
        SetOrder { metric, period: settable(period)?, count: NewCount::Less(amount.into()) };
    answer(&api, &actor, &subject, &order).await
}

fn settable(period: Option<Period>) -> Result<Option<Period>, ApiError> {
    let is_short = matches!(period, Some(Period::Minute | Period::Hour));
    let rule = "must be day, week, month or lifetime: counters of minutes and hours cannot be set";
    if is_short { Err(ApiError::invalid("period", rule)) } else { Ok(period) }
}

async fn answer(
    api: &Api,
    actor: &Actor,
    subject: &Subject,
    order: &SetOrder,
) -> Result<Response, ApiError> {
    let report = api.quota.set_usage(subject, order, actor).await?;
    let names = distinct_names(&report.usage.limits);
    Ok(reply(&counts_body(&report, &names, &actor.context.request_id)))
}

fn counts_body<'a>(
    report: &'a RewriteReport,
    names: &'a [String],
    request_id: &'a str,
) -> CountsBody<'a> {
    let changed = report.counters.iter().filter(|it| it.units != 0);
    CountsBody {
        event_id: report.event_id,
        changed: changed.map(changed_body).collect(),
        usage: UsageBody::of(&report.usage, names, request_id),
    }
}

fn changed_body(counter: &Rewritten) -> ChangedBody<'_> {
    ChangedBody {
        metric: counter.metric.as_str(),
        period: counter.period,
        window_start: counter.window.start_at(),
        window_end: window_end(counter),
        units: counter.units,
    }
}
