//! `GET /v1/subjects/{subject}/forecast`: when a limit is reached.

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

use crate::domain::LimitState;
use crate::domain::Period;
use crate::domain::forecast::Forecast;
use crate::domain::forecast::Hint;
use crate::domain::forecast::NoForecast;
use crate::domain::forecast::Trend;
use crate::http::auth::Caller;
use crate::http::auth::Read;
use crate::http::documented::ReadProblems;
use crate::http::error::ApiError;
use crate::http::fields::metric;
use crate::http::fields::subject;
use crate::http::reply::reply;
use crate::http::state::Api;
use crate::http::subject_path::SubjectPath;
use crate::quota::ForecastReport;

/// Which metric.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ForecastQuery {
    /// What is counted.
    #[param(example = "messages")]
    metric: String,
}

/// What is foretold of a subject's limits.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Forecast)]
pub struct ForecastBody<'a> {
    /// Who.
    #[schema(example = "user:u_1")]
    subject: &'a str,
    /// What is counted.
    #[schema(example = "messages")]
    metric: &'a str,
    /// The average of the last seven whole days (UTC), or of as many as there are: thousandths of a unit a day.
    average_daily_milliunits: i64,
    /// The last seven days beside the seven before.
    trend: Trend,
    /// Whole days since the first usage, 28 at most: what the forecast goes by.
    days: usize,
    /// When the first of the limits is reached; `null` when none is, or that cannot be foretold.
    #[schema(required)]
    exhausts_at: Option<DateTime<Utc>>,
    /// The subject's own limits on the metric with windows of a day or longer.
    limits: Vec<ForecastLimit>,
    /// What would make them last longer.
    hints: &'a [Hint],
}

/// What is foretold of a limit.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ForecastLimit {
    /// The limit's name.
    #[schema(example = "messages-month")]
    name: String,
    /// Units used in the window.
    used: u64,
    /// Units left; `null` when the limit is unlimited.
    #[schema(required)]
    remaining: Option<u64>,
    /// When the window ends; `null` for a lifetime limit.
    #[schema(required)]
    resets_at: Option<DateTime<Utc>>,
    /// When the limit is reached.
    #[schema(required)]
    exhausts_at: Option<DateTime<Utc>>,
    /// Why that is not foretold.
    #[schema(required)]
    reason: Option<NoForecast>,
    /// Whole days until then.
    #[schema(required)]
    days_until_limit: Option<u64>,
    /// Units a day with which what is left lasts until the window ends.
    #[schema(required)]
    recommended_daily_budget: Option<u64>,
}

/// Foretell when limits are reached.
///
/// When usage goes on as on the average of the last seven days; what is left a day; and what would help. The method is in
/// docs/ANALYTICS.md.
#[utoipa::path(
    get,
    operation_id = "forecast",
    path = "/v1/subjects/{subject}/forecast",
    tag = "analytics",
    params(SubjectPath, ForecastQuery),
    responses(
        (status = 200, description = "the forecast", body = ForecastBody,
            example = json!({
                "subject": "user:u_1", "metric": "messages", "average_daily_milliunits": 4000, "trend": "stable", "days": 28,
                "exhausts_at": "2026-11-21T06:00:00Z",
                "limits": [{
                    "name": "messages-month", "used": 58, "remaining": 42, "resets_at": "2026-12-01T00:00:00Z",
                    "exhausts_at": "2026-11-21T06:00:00Z", "reason": null, "days_until_limit": 10, "recommended_daily_budget": 2
                }],
                "hints": [{"kind": "plan", "plan": "starter"}]
            })),
        ReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<ForecastQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let subject = caller.reach(subject(path)?)?;
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    let metric = metric(&query.metric)?;
    let ForecastReport { usage, limits, hints } = api.quota.forecast(&subject, &metric).await?;
    let limits: Vec<ForecastLimit> =
        limits.iter().map(|(state, forecast)| limit(state, forecast)).collect();
    Ok(reply(&ForecastBody {
        subject: subject.as_str(),
        metric: metric.as_str(),
        average_daily_milliunits: usage.average_milliunits(),
        trend: usage.trend(),
        days: usage.units.len(),
        exhausts_at: limits.iter().filter_map(|limit| limit.exhausts_at).min(),
        limits,
        hints: &hints,
    }))
}

fn limit(state: &LimitState, forecast: &Forecast) -> ForecastLimit {
    ForecastLimit {
        name: state.name(),
        used: state.used.get(),
        remaining: state.remaining().map(Into::into),
        resets_at: (state.period != Period::Lifetime).then(|| state.window.end_at()),
        exhausts_at: forecast.exhausts_at.ok(),
        reason: forecast.exhausts_at.err(),
        days_until_limit: forecast.days_until_limit,
        recommended_daily_budget: forecast.recommended_daily,
    }
}
