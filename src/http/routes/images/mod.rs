//! `/api/usage-tracking/…`: the JSON that image generators know, over the same use-cases.
//!
//! The metric is [`IMAGE_GENERATIONS`] and the user `user:<userId>`. Whoever has no plan has no access: reads say so, and a
//! generation is refused. Where Redis is away nobody is let through, whatever the limits say, because each answer has the
//! counts.

mod body;

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::http::request::Parts;
use axum::response::Response;

use crate::domain::Amount;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Subject;
use crate::http::auth::Admin;
use crate::http::auth::Caller;
use crate::http::auth::Consume;
use crate::http::auth::Read;
use crate::http::decision;
use crate::http::decision::Style;
use crate::http::documented::ActHeaders;
use crate::http::documented::ReadProblems;
use crate::http::error::ApiError;
use crate::http::fields::undecodable;
use crate::http::idempotency::idempotency_key;
use crate::http::problem::Problem;
use crate::http::reply::reply;
use crate::http::request_id::RequestScope;
use crate::http::state::Api;
use crate::quota::Ask;
use crate::quota::Order;
use crate::quota::QuotaError;
use crate::quota::ResetScope;

use self::body::CanGenerate;
use self::body::DailyUsage;
use self::body::GenerationLimits;
use self::body::ImageUsage;
use self::body::MonthlyUsage;

/// What is counted.
const IMAGE_GENERATIONS: &str = "image_generations";

/// The id in a path.
type UserPath = Result<Path<String>, PathRejection>;

/// Read all of a user's generations.
///
/// Both counts, both limits and the plan. Without a plan `canGenerate` is `false`.
#[utoipa::path(
    get,
    operation_id = "read_image_usage",
    path = "/api/usage-tracking/comprehensive/{userId}",
    tag = "images",
    params(("userId" = String, Path, description = "the user; a token's own", example = "123")),
    responses(
        (status = 200, description = "as it is now", body = ImageUsage),
        ReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn usage(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    path: UserPath,
) -> Result<Response, ApiError> {
    let usage = look(&api, &user(&caller, path)?).await?;
    Ok(reply(&usage))
}

/// Ask whether a user can generate.
///
/// Looks without charging, so the answer holds no place.
#[utoipa::path(
    get,
    operation_id = "read_can_generate",
    path = "/api/usage-tracking/can-generate/{userId}",
    tag = "images",
    params(("userId" = String, Path, description = "the user; a token's own", example = "123")),
    responses(
        (status = 200, description = "as it is now", body = CanGenerate),
        ReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn can_generate(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    path: UserPath,
) -> Result<Response, ApiError> {
    let usage = look(&api, &user(&caller, path)?).await?;
    Ok(reply(&usage.into_can_generate()))
}

/// Read a user's day.
///
/// By the user's own calendar.
#[utoipa::path(
    get,
    operation_id = "read_daily_usage",
    path = "/api/usage-tracking/daily-usage/{userId}",
    tag = "images",
    params(("userId" = String, Path, description = "the user; a token's own", example = "123")),
    responses(
        (status = 200, description = "as it is now", body = DailyUsage),
        ReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn daily_usage(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    path: UserPath,
) -> Result<Response, ApiError> {
    let usage = look(&api, &user(&caller, path)?).await?;
    Ok(reply(&usage.daily_usage))
}

/// Read a user's month.
///
/// By the user's own calendar.
#[utoipa::path(
    get,
    operation_id = "read_monthly_usage",
    path = "/api/usage-tracking/monthly-usage/{userId}",
    tag = "images",
    params(("userId" = String, Path, description = "the user; a token's own", example = "123")),
    responses(
        (status = 200, description = "as it is now", body = MonthlyUsage),
        ReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn monthly_usage(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    path: UserPath,
) -> Result<Response, ApiError> {
    let usage = look(&api, &user(&caller, path)?).await?;
    Ok(reply(&usage.monthly_usage))
}

/// Read a user's limits.
///
/// Those of the day and of the month, and whether they are spent.
#[utoipa::path(
    get,
    operation_id = "read_generation_limits",
    path = "/api/usage-tracking/limits/{userId}",
    tag = "images",
    params(("userId" = String, Path, description = "the user; a token's own", example = "123")),
    responses(
        (status = 200, description = "as it is now", body = GenerationLimits),
        ReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn generation_limits(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    path: UserPath,
) -> Result<Response, ApiError> {
    let usage = look(&api, &user(&caller, path)?).await?;
    Ok(reply(&usage.into_limits()))
}

/// Count a generation.
///
/// Decides and charges at once, as a consume does. Answers the usage that the decision found. With `Idempotency-Key` the same request
/// may be sent again: it is charged once.
#[utoipa::path(
    post,
    operation_id = "track_generation",
    path = "/api/usage-tracking/track-generation/{userId}",
    tag = "images",
    params(
        ("userId" = String, Path, description = "the user", example = "123"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, quoted or not; remembered for a subject and an operation"),
    ),
    responses(
        (status = 200, description = "counted: the usage afterwards", body = ImageUsage,
            headers(
                ("RateLimit-Policy" = String, description = "all limits: `q` units in windows of `w` seconds"),
                ("RateLimit" = String, description = "all limits: `r` units remain, the window ends in `t` seconds"),
                ("Idempotent-Replayed" = String, description = "`true` when it was counted before: the answer is the same"),
            )),
        (status = 403, description = "the user has no plan or is blocked, or the credential may not consume", body = Problem, content_type = "application/problem+json",
            example = json!({
                "type": "urn:headroom:problem:no_plan",
                "title": "The subject has no plan",
                "status": 403,
                "detail": "the subject has no plan",
                "instance": "/api/usage-tracking/track-generation/123",
                "code": "no_plan",
                "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d"
            })),
        (status = 429, description = "a limit is spent: nothing was counted", body = Problem, content_type = "application/problem+json",
            headers(("Retry-After" = String, description = "seconds until the latest violated window ends")),
            example = json!({
                "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "title": "Request cannot be satisfied as assigned quota has been exceeded",
                "status": 429,
                "detail": "no room for the request in image_generations-day",
                "instance": "/api/usage-tracking/track-generation/123",
                "code": "limit_exceeded",
                "violated-policies": ["image_generations-day"],
                "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "allowed": false,
                "event_id": null,
                "limits": [
                    {"name": "image_generations-day", "subject": "user:123", "metric": "image_generations", "period": "day", "limit": 20, "used": 20, "reserved": 0, "remaining": 0, "granted_remaining": 0, "window_start": "2024-01-15T00:00:00Z", "resets_at": "2024-01-16T00:00:00Z", "mode": "hard", "warning": "critical"}
                ],
                "degraded": false,
                "plan": "PREMIUM"
            })),
        (status = "4XX", description = "the request is not valid or not allowed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "a store is away or the service is full", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn track(
    State(api): State<Arc<Api>>,
    caller: Caller<Consume>,
    scope: RequestScope,
    path: UserPath,
    head: Parts,
) -> Result<Response, ApiError> {
    let user = user(&caller, path)?;
    let order = Order {
        subject: user.clone(),
        ask: Ask::Metric(generations()?),
        amount: Amount::ONE,
        metadata: None,
        idempotency_key: idempotency_key(&head.headers)?,
        context: scope.context(),
    };
    let decision = api.quota.consume(order).await?;
    let legacy_headers = api.server.legacy_rate_limit_headers;
    let style = Style { path: head.uri.path(), deny_with_200: false, legacy_headers };
    if !decision.allowed {
        return Ok(decision::response(&decision, style));
    }
    if decision.degraded {
        return Ok(reply(&look(&api, &user).await?)); // nothing was counted, and nobody knows the counts
    }
    let mut response = reply(&ImageUsage::of(&api.quota.usage_after(&user, &decision)));
    decision::insert_headers(response.headers_mut(), &decision, style);
    Ok(response)
}

/// Reset a user's day.
///
/// For admins. The month keeps its count. Answers the usage afterwards.
#[utoipa::path(
    post,
    operation_id = "reset_daily_usage",
    path = "/api/usage-tracking/reset-daily/{userId}",
    tag = "images",
    params(("userId" = String, Path, description = "the user", example = "123"), ActHeaders),
    responses(
        (status = 200, description = "the usage afterwards", body = ImageUsage),
        (status = 403, description = "the credential is not an admin's", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "the request is not valid or not allowed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "a store is away or the service is full", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn reset_day(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    scope: RequestScope,
    path: UserPath,
) -> Result<Response, ApiError> {
    reset(&api, &caller, &scope, path, Period::Day).await
}

/// Reset a user's month.
///
/// For admins. The day keeps its count. Answers the usage afterwards.
#[utoipa::path(
    post,
    operation_id = "reset_monthly_usage",
    path = "/api/usage-tracking/reset-monthly/{userId}",
    tag = "images",
    params(("userId" = String, Path, description = "the user", example = "123"), ActHeaders),
    responses(
        (status = 200, description = "the usage afterwards", body = ImageUsage),
        (status = 403, description = "the credential is not an admin's", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "the request is not valid or not allowed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "a store is away or the service is full", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn reset_month(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    scope: RequestScope,
    path: UserPath,
) -> Result<Response, ApiError> {
    reset(&api, &caller, &scope, path, Period::Month).await
}

async fn reset(
    api: &Api,
    caller: &Caller<Admin>,
    scope: &RequestScope,
    path: UserPath,
    period: Period,
) -> Result<Response, ApiError> {
    let user = user(caller, path)?;
    let cleared = ResetScope { metric: Some(generations()?), period: Some(period) };
    api.quota.clear(&user, cleared, &caller.actor(scope)).await?;
    Ok(reply(&look(api, &user).await?))
}

/// The user in the path, within the caller's reach.
fn user<P>(caller: &Caller<P>, path: UserPath) -> Result<Subject, ApiError> {
    let Path(id) = path.map_err(|_| undecodable("userId"))?;
    caller.reach(Subject::user(&id).map_err(|error| ApiError::invalid("userId", error))?)
}

async fn look(api: &Api, user: &Subject) -> Result<ImageUsage, ApiError> {
    if !api.quota.has_metric(&generations()?) {
        return Err(ApiError::UnknownMetric);
    }
    match api.quota.usage(user).await {
        Ok(usage) => Ok(ImageUsage::of(&usage)),
        Err(QuotaError::NoPlan) => {
            Ok(ImageUsage::without_subscription(user, api.quota.clock().now()))
        }
        Err(error) => Err(error.into()),
    }
}

fn generations() -> Result<Metric, ApiError> {
    Metric::new(IMAGE_GENERATIONS).map_err(|error| ApiError::Internal(error.into()))
}
