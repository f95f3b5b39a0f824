//! `GET` and `DELETE /v1/subjects/{subject}/usage`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Path;
use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;
use uuid::Uuid;

use crate::domain::LimitState;
use crate::domain::Period;
use crate::http::auth::Admin;
use crate::http::auth::Caller;
use crate::http::auth::Read;
use crate::http::documented::ActHeaders;
use crate::http::documented::ActProblems;
use crate::http::documented::ReadProblems;
use crate::http::error::ApiError;
use crate::http::fields::metric;
use crate::http::fields::period;
use crate::http::fields::subject;
use crate::http::limit_body::LimitBody;
use crate::http::rate_limit_headers::distinct_names;
use crate::http::reply::reply;
use crate::http::request_id::RequestScope;
use crate::http::state::Api;
use crate::http::subject_path::SubjectPath;
use crate::quota::ResetScope;
use crate::quota::RewriteReport;
use crate::quota::Rewritten;
use crate::quota::Usage;

/// Which limits are meant; all when absent.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// One metric.
    #[param(example = "messages")]
    metric: Option<String>,
    /// One period. A reset clears `lifetime` only when it is named here.
    #[param(example = "month", inline, value_type = Option<Period>)]
    period: Option<String>,
}

/// What a subject has used.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Usage)]
pub struct UsageBody<'a> {
    /// Who.
    #[schema(example = "user:u_1")]
    subject: &'a str,
    /// The plan that the limits come from.
    #[schema(example = "chat")]
    plan: &'a str,
    /// Every limit that was asked for.
    limits: Vec<LimitBody<'a>>,
    /// Every feature of the catalogue: whether the subject has it.
    features: &'a BTreeMap<String, bool>,
    /// Where the subject can get more.
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_url: Option<&'a str>,
    /// Whether every request of the subject is refused.
    blocked: bool,
    /// When an admin last reset the subject; `null` when nobody did.
    #[schema(required)]
    last_reset_at: Option<DateTime<Utc>>,
    /// The id of the request.
    request_id: &'a str,
}

/// What a reset cleared, and what it left.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Reset)]
pub struct ResetBody<'a> {
    /// The id of the event in the message log.
    event_id: Uuid,
    /// One entry a counter that was not zero.
    cleared: Vec<ClearedBody<'a>>,
    /// The subject's usage afterwards.
    usage: UsageBody<'a>,
}

/// A counter that a reset cleared.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Cleared)]
pub struct ClearedBody<'a> {
    /// What was counted.
    #[schema(example = "messages")]
    metric: &'a str,
    /// The period of the limit.
    period: Period,
    /// When the cleared window began.
    window_start: DateTime<Utc>,
    /// When the cleared window ends; `null` for a lifetime limit.
    #[schema(required)]
    window_end: Option<DateTime<Utc>>,
    /// Units that were taken off.
    units: u64,
}

/// Read usage.
///
/// Every limit of every level of the subject, as it is now.
#[utoipa::path(
    get,
    operation_id = "read_usage",
    path = "/v1/subjects/{subject}/usage",
    tag = "usage",
    params(SubjectPath, UsageQuery),
    responses(
        (status = 200, description = "the usage", body = UsageBody,
            example = json!({"subject": "user:u_1", "plan": "chat", "limits": [
                    {"name": "messages-month", "subject": "user:u_1", "metric": "messages", "period": "month", "limit": 100, "used": 45, "reserved": 0, "remaining": 55, "granted_remaining": 0, "window_start": "2026-11-01T00:00:00Z", "resets_at": "2026-12-01T00:00:00Z", "mode": "hard", "warning": "none"}
                ], "features": {"export": true}, "blocked": false, "last_reset_at": null, "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d"})),
        ReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    scope: RequestScope,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<UsageQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let subject = caller.reach(subject(path)?)?;
    let wanted = reset_scope(query)?;
    if wanted.metric.as_ref().is_some_and(|metric| !api.quota.has_metric(metric)) {
        return Err(ApiError::UnknownMetric);
    }
    let mut usage = api.quota.usage(&subject).await?;
    usage.limits.retain(|state| is_wanted(state, &wanted));
    let names = distinct_names(&usage.limits);
    Ok(reply(&UsageBody::of(&usage, &names, scope.id())))
}

/// Reset usage.
///
/// Takes off what is counted in the current windows, as an event in the message log. Requests in flight keep what
/// they are charged afterwards.
#[utoipa::path(
    delete,
    operation_id = "reset_usage",
    path = "/v1/subjects/{subject}/usage",
    tag = "usage",
    params(SubjectPath, UsageQuery, ActHeaders),
    responses(
        (status = 200, description = "what was cleared", body = ResetBody,
            example = json!({
                "event_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "cleared": [{"metric": "messages", "period": "month", "window_start": "2026-11-01T00:00:00Z", "window_end": "2026-12-01T00:00:00Z", "units": 45}],
                "usage": {"subject": "user:u_1", "plan": "chat", "limits": [
                    {"name": "messages-month", "subject": "user:u_1", "metric": "messages", "period": "month", "limit": 100, "used": 0, "reserved": 0, "remaining": 100, "granted_remaining": 0, "window_start": "2026-11-01T00:00:00Z", "resets_at": "2026-12-01T00:00:00Z", "mode": "hard", "warning": "none"}
                ], "features": {"export": true}, "blocked": false, "last_reset_at": "2026-11-22T08:26:40.500Z", "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d"}
            })),
        ActProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn reset(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    scope: RequestScope,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<UsageQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let subject = caller.reach(subject(path)?)?;
    let report = api.quota.reset(&subject, reset_scope(query)?, &caller.actor(&scope)).await?;
    let names = distinct_names(&report.usage.limits);
    Ok(reply(&reset_body(&report, &names, scope.id())))
}

fn reset_scope(query: Result<Query<UsageQuery>, QueryRejection>) -> Result<ResetScope, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    Ok(ResetScope {
        metric: query.metric.as_deref().map(metric).transpose()?,
        period: query.period.as_deref().map(period).transpose()?,
    })
}

fn is_wanted(state: &LimitState, wanted: &ResetScope) -> bool {
    wanted.metric.as_ref().is_none_or(|metric| *metric == state.metric)
        && wanted.period.is_none_or(|period| period == state.period)
}

impl<'a> UsageBody<'a> {
    /// Usage whose limits have those names.
    pub(super) fn of(usage: &'a Usage, names: &'a [String], request_id: &'a str) -> Self {
        Self {
            subject: usage.subject.as_str(),
            plan: &usage.plan,
            limits: LimitBody::list(&usage.limits, names),
            features: &usage.features,
            upgrade_url: usage.upgrade_url.as_deref(),
            blocked: usage.is_blocked,
            last_reset_at: usage.last_reset_at,
            request_id,
        }
    }
}

fn reset_body<'a>(
    report: &'a RewriteReport,
    names: &'a [String],
    request_id: &'a str,
) -> ResetBody<'a> {
    ResetBody {
        event_id: report.event_id,
        cleared: report.counters.iter().map(ClearedBody::of).collect(),
        usage: UsageBody::of(&report.usage, names, request_id),
    }
}

impl<'a> ClearedBody<'a> {
    pub(super) fn of(cleared: &'a Rewritten) -> Self {
        Self {
            metric: cleared.metric.as_str(),
            period: cleared.period,
            window_start: cleared.window.start_at(),
            window_end: window_end(cleared),
            units: cleared.units.unsigned_abs(),
        }
    }
}

/// When a counter's window ends; `None` for a lifetime counter.
pub(super) fn window_end(counter: &Rewritten) -> Option<DateTime<Utc>> {
    (counter.period != Period::Lifetime).then(|| counter.window.end_at())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Metric;
    use crate::http::samples;

    fn scope_of(uri: &str) -> Result<ResetScope, ApiError> {
        reset_scope(Query::try_from_uri(&uri.parse().unwrap()))
    }

    #[test]
    fn a_scope_names_a_metric_and_a_period() {
        let scope = scope_of("/?metric=messages&period=lifetime").unwrap();
        assert_eq!(scope.metric, Some(Metric::new("messages").unwrap()));
        assert_eq!(scope.period, Some(Period::Lifetime));
        assert_eq!(scope_of("/").unwrap(), ResetScope::default());
    }

    #[test]
    fn a_mistyped_scope_does_not_reset_everything() {
        for (uri, named) in
            [("/?metirc=messages", "metirc"), ("/?metric=", "metric"), ("/?period=year", "period")]
        {
            let detail = scope_of(uri).unwrap_err().to_string();
            assert!(detail.contains(named), "{detail}");
        }
    }

    #[test]
    fn usage_shows_every_limit() {
        let limit = samples::limit("user:u_1", "messages", Period::Month, Some(100), 96);
        let usage = samples::usage("user:u_1", vec![limit]);
        let names = distinct_names(&usage.limits);
        insta::assert_json_snapshot!(UsageBody::of(&usage, &names, "req-1"), @r#"
        {
          "subject": "user:u_1",
          "plan": "chat",
          "limits": [
            {
              "name": "messages-month",
              "subject": "user:u_1",
              "metric": "messages",
              "period": "month",
              "limit": 100,
              "used": 96,
              "reserved": 0,
              "remaining": 4,
              "granted_remaining": 0,
              "window_start": "2025-11-01T00:00:00Z",
              "resets_at": "2025-12-01T00:00:00Z",
              "mode": "hard",
              "warning": "critical"
            }
          ],
          "features": {},
          "blocked": false,
          "last_reset_at": null,
          "request_id": "req-1"
        }
        "#);
    }
}
