//! `GET /v1/analytics/…`: what usage adds up to.

mod query;

use std::sync::Arc;

use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use serde::Serialize;

use crate::domain::analytics::DenialRate;
use crate::domain::analytics::Distribution;
use crate::domain::analytics::ModelShares;
use crate::domain::analytics::MonthOverMonth;
use crate::domain::analytics::NearLimit;
use crate::domain::analytics::Summary;
use crate::domain::analytics::TopSubjects;
use crate::http::auth::Caller;
use crate::http::auth::Read;
use crate::http::documented::AnalyticsProblems;
use crate::http::error::ApiError;
use crate::http::reply::reply;
use crate::http::state::Api;

use self::query::DaysQuery;
use self::query::MonthQuery;
use self::query::MonthsQuery;
use self::query::NearLimitQuery;
use self::query::SummaryQuery;
use self::query::TopQuery;

type Parsed<T> = Result<Query<T>, QueryRejection>;

/// Counters that are near their limits.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = NearLimits)]
pub struct NearLimitsBody {
    /// Nearest first.
    near_limit: Vec<NearLimit>,
}

/// Daily messages, premium messages and active users.
///
/// The last `days` days with today (UTC), each of them in the answer.
#[utoipa::path(
    get,
    operation_id = "analytics_summary",
    path = "/v1/analytics/summary",
    tag = "analytics",
    params(SummaryQuery),
    responses(
        (status = 200, description = "the days", body = Summary,
            example = json!({
                "from": "2026-11-20", "to": "2026-11-21", "total_messages": 4310, "premium_messages": 1042, "active_users": 397,
                "days": [
                    {"date": "2026-11-20", "total_messages": 2104, "premium_messages": 515, "active_users": 251},
                    {"date": "2026-11-21", "total_messages": 2206, "premium_messages": 527, "active_users": 263}
                ]
            })),
        AnalyticsProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn summary(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    query: Parsed<SummaryQuery>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    let (metric, premium_metric) = (query.metric(&api)?, query.premium_metric(&api)?);
    let days = api.quota.trailing_days(query.days()?);
    Ok(reply(&api.quota.summary(days, &metric, &premium_metric).await?))
}

/// The subjects that used most.
///
/// By root subject, in a month (UTC).
#[utoipa::path(
    get,
    operation_id = "analytics_subjects",
    path = "/v1/analytics/subjects",
    tag = "analytics",
    params(TopQuery),
    responses((status = 200, description = "the subjects", body = TopSubjects), AnalyticsProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn subjects(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    query: Parsed<TopQuery>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    let (metric, month, limit) = (query.metric(&api)?, query.month(&api)?, query.limit()?);
    Ok(reply(&api.quota.top_subjects(month, &metric, limit).await?))
}

/// How usage is spread over subjects.
///
/// By root subject, in a month (UTC).
#[utoipa::path(
    get,
    operation_id = "analytics_distribution",
    path = "/v1/analytics/distribution",
    tag = "analytics",
    params(MonthQuery),
    responses((status = 200, description = "the distribution", body = Distribution), AnalyticsProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn distribution(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    query: Parsed<MonthQuery>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    let (metric, month) = (query.metric(&api)?, query.month(&api)?);
    Ok(reply(&api.quota.distribution(month, &metric).await?))
}

/// Each model's share.
///
/// Over the last `days` days with today (UTC).
#[utoipa::path(
    get,
    operation_id = "analytics_models",
    path = "/v1/analytics/models",
    tag = "analytics",
    params(DaysQuery),
    responses((status = 200, description = "the models", body = ModelShares), AnalyticsProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn models(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    query: Parsed<DaysQuery>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    let (metric, days) = (query.metric(&api)?, api.quota.trailing_days(query.days()?));
    Ok(reply(&api.quota.model_shares(days, &metric).await?))
}

/// How many requests were refused.
///
/// By the hour, over the last `days` days with today (UTC); refusals are counted best effort. Those that name no metric count for
/// each: a blocked subject, a model or a feature that it may not use.
#[utoipa::path(
    get,
    operation_id = "analytics_denials",
    path = "/v1/analytics/denials",
    tag = "analytics",
    params(DaysQuery),
    responses((status = 200, description = "refused and accepted", body = DenialRate), AnalyticsProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn denials(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    query: Parsed<DaysQuery>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    let (metric, days) = (query.metric(&api)?, api.quota.trailing_days(query.days()?));
    Ok(reply(&api.quota.denial_rate(days, &metric).await?))
}

/// Subjects that are near a limit.
///
/// Counters in Postgres with a day's window or a longer one. Looks at the 5,000 that are used most.
#[utoipa::path(
    get,
    operation_id = "analytics_near_limit",
    path = "/v1/analytics/near-limit",
    tag = "analytics",
    params(NearLimitQuery),
    responses((status = 200, description = "the counters", body = NearLimitsBody), AnalyticsProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn near_limit(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    query: Parsed<NearLimitQuery>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    let metric = query::metric(&api, query.metric.as_deref(), query::MESSAGES)?;
    let metric = crate::http::fields::metric(&metric)?;
    let near_limit = api.quota.near_limit(&metric, query.percent()?, query.limit()?).await?;
    Ok(reply(&NearLimitsBody { near_limit }))
}

/// Month over month.
///
/// The last `months` months with this one (UTC), each compared to the one before.
#[utoipa::path(
    get,
    operation_id = "analytics_months",
    path = "/v1/analytics/months",
    tag = "analytics",
    params(MonthsQuery),
    responses((status = 200, description = "the months", body = MonthOverMonth), AnalyticsProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn months(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    query: Parsed<MonthsQuery>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    let metric = query::metric(&api, query.metric.as_deref(), query::MESSAGES)?;
    Ok(reply(&api.quota.month_over_month(query.months()?, &metric).await?))
}
