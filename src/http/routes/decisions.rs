//! `POST /v1/check` and `POST /v1/consume`.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::Query;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;

use crate::domain::Amount;
use crate::domain::Decision;
use crate::http::auth::Caller;
use crate::http::auth::Check;
use crate::http::auth::Consume;
use crate::http::body::JsonBytes;
use crate::http::decision;
use crate::http::decision::DecisionBody;
use crate::http::decision::Style;
use crate::http::documented::DecisionProblems;
use crate::http::error::ApiError;
use crate::http::idempotency::idempotency_key;
use crate::http::order_body;
use crate::http::order_body::OrderBody;
use crate::http::order_body::Wanted;
use crate::http::problem::Problem;
use crate::http::request_id::RequestScope;
use crate::http::state::Api;
use crate::quota::Order;

/// What the head of a request for a decision says.
#[derive(Debug)]
pub struct Call {
    pub(super) scope: RequestScope,
    pub(super) idempotency_key: Option<String>,
    deny_with_200: bool,
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DecisionQuery {
    /// `200` answers a refusal with 200 and `"allowed": false` instead of 429.
    #[param(example = "200")]
    on_deny: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ok(scope) = RequestScope::from_request_parts(parts, state).await;
        Ok(Self {
            scope,
            idempotency_key: idempotency_key(&parts.headers)?,
            deny_with_200: parts.uri.query().is_some() && deny_with_200(parts)?,
        })
    }
}

fn deny_with_200(parts: &Parts) -> Result<bool, ApiError> {
    let Query(query) = Query::<DecisionQuery>::try_from_uri(&parts.uri)
        .map_err(|error| ApiError::query(&error))?;
    match query.on_deny.as_deref() {
        None | Some("429") => Ok(false),
        Some("200") => Ok(true),
        Some(_) => Err(ApiError::invalid("on_deny", "must be 200 or 429")),
    }
}

impl Call {
    pub(super) fn order<P>(
        &mut self,
        caller: &Caller<P>,
        wanted: Wanted,
    ) -> Result<Order, ApiError> {
        Ok(Order {
            subject: caller.reach(wanted.subject)?,
            ask: wanted.ask,
            amount: wanted.amount,
            metadata: wanted.metadata,
            idempotency_key: self.idempotency_key.take(),
            context: self.scope.context(),
        })
    }

    pub(super) fn answer(&self, decision: &Decision, path: &str, api: &Api) -> Response {
        decision::response(decision, self.style(path, api))
    }

    pub(super) const fn style<'a>(&self, path: &'a str, api: &Api) -> Style<'a> {
        let legacy_headers = api.server.legacy_rate_limit_headers;
        Style { path, deny_with_200: self.deny_with_200, legacy_headers }
    }
}

/// Decide without charging.
///
/// Says whether the request would be accepted now. Writes nothing, so the answer holds no place. With `feature` it says
/// whether the subject has it: 200 without limits, or 403 `feature_not_entitled`.
#[utoipa::path(
    post,
    path = "/v1/check",
    tag = "decisions",
    params(DecisionQuery),
    request_body(content = OrderBody, examples(
        ("a model" = (value = json!({"subject": "user:u_1", "model": "claude-sonnet-4", "amount": 30}))),
        ("a feature" = (value = json!({"subject": "user:u_1", "feature": "export"})))
    )),
    responses(
        (status = 200, description = "there is room for the request", body = DecisionBody,
            example = json!({
                "allowed": true,
                "event_id": null,
                "limits": [
                    {"name": "messages-month", "subject": "user:u_1", "metric": "messages", "period": "month", "limit": 100, "used": 45, "reserved": 0, "remaining": 55, "granted_remaining": 0, "window_start": "2026-11-01T00:00:00Z", "resets_at": "2026-12-01T00:00:00Z", "mode": "hard", "warning": "none"}
                ],
                "degraded": false,
                "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "plan": "chat"
            })),
        (status = 429, description = "a limit leaves no room, or a rule against abuse has blocked the subject for a while (`abuse_detected`)", body = Problem, content_type = "application/problem+json",
            headers(("Retry-After" = String, description = "seconds until the latest violated window ends, or the block")),
            example = json!({
                "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "title": "Request cannot be satisfied as assigned quota has been exceeded",
                "status": 429,
                "detail": "no room for the request in messages-month",
                "instance": "/v1/check",
                "code": "limit_exceeded",
                "violated-policies": ["messages-month"],
                "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "allowed": false,
                "event_id": null,
                "limits": [
                    {"name": "messages-month", "subject": "user:u_1", "metric": "messages", "period": "month", "limit": 100, "used": 80, "reserved": 0, "remaining": 20, "granted_remaining": 0, "window_start": "2026-11-01T00:00:00Z", "resets_at": "2026-12-01T00:00:00Z", "mode": "hard", "warning": "warning"}
                ],
                "degraded": false,
                "plan": "chat"
            })),
        DecisionProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn check(
    State(api): State<Arc<Api>>,
    caller: Caller<Check>,
    mut call: Call,
    body: JsonBytes,
) -> Result<Response, ApiError> {
    let order = call.order(&caller, order_body::parse(&body.0)?)?;
    let decision = api.quota.check(order).await?;
    Ok(call.answer(&decision, "/v1/check", &api))
}

/// Decide and charge.
///
/// Charges every limit of every level of the subject, or none. With `Idempotency-Key` the same request may be sent
/// again: it is charged once and gets the same answer. `amount` 0 looks without charging.
#[utoipa::path(
    post,
    path = "/v1/consume",
    tag = "decisions",
    params(
        DecisionQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, quoted or not; remembered for a subject and an operation", example = "\"8e03978e-40d5-43e8-bc93-6894a57f9324\""),
        ("X-Request-Id" = Option<String>, Header, description = "1 to 64 visible ASCII characters, sent back; made when absent"),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context, carried into logs and events"),
    ),
    request_body(content = OrderBody, example = json!({"subject": "user:u_1", "model": "claude-sonnet-4"})),
    responses(
        (status = 200, description = "accepted and charged", body = DecisionBody,
            headers(
                ("RateLimit-Policy" = String, description = "all limits: `q` units in windows of `w` seconds"),
                ("RateLimit" = String, description = "all limits: `r` units remain, the window ends in `t` seconds"),
                ("Idempotent-Replayed" = String, description = "`true` when the answer repeats an earlier one"),
            ),
            example = json!({
                "allowed": true,
                "event_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "limits": [
                    {"name": "messages-month", "subject": "user:u_1", "metric": "messages", "period": "month", "limit": 100, "used": 45, "reserved": 0, "remaining": 55, "granted_remaining": 0, "window_start": "2026-11-01T00:00:00Z", "resets_at": "2026-12-01T00:00:00Z", "mode": "hard", "warning": "none"},
                    {"name": "tokens-day", "subject": "user:u_1", "metric": "tokens", "period": "day", "unlimited": true, "used": 5120, "reserved": 0, "granted_remaining": 0, "window_start": "2026-11-22T00:00:00Z", "resets_at": "2026-11-23T00:00:00Z", "mode": "hard", "warning": "none"}
                ],
                "degraded": false,
                "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "plan": "chat"
            })),
        (status = 429, description = "refused, by a limit or because a rule against abuse has blocked the subject for a while (`abuse_detected`): nothing was charged", body = Problem, content_type = "application/problem+json",
            headers(("Retry-After" = String, description = "seconds until the latest violated window ends, or the block")),
            example = json!({
                "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "title": "Request cannot be satisfied as assigned quota has been exceeded",
                "status": 429,
                "detail": "no room for the request in premium_messages-month",
                "instance": "/v1/consume",
                "code": "limit_exceeded",
                "violated-policies": ["premium_messages-month"],
                "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "upgrade_url": "https://chat.example/upgrade",
                "recommended_plan": "starter",
                "allowed": false,
                "event_id": null,
                "limits": [
                    {"name": "premium_messages-month", "subject": "user:u_1", "metric": "premium_messages", "period": "month", "limit": 20, "used": 20, "reserved": 0, "remaining": 0, "granted_remaining": 0, "window_start": "2026-11-01T00:00:00Z", "resets_at": "2026-12-01T00:00:00Z", "mode": "hard", "warning": "critical"}
                ],
                "degraded": false,
                "plan": "chat"
            })),
        DecisionProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn consume(
    State(api): State<Arc<Api>>,
    caller: Caller<Consume>,
    mut call: Call,
    body: JsonBytes,
) -> Result<Response, ApiError> {
    let wanted = order_body::parse(&body.0)?;
    order_body::chargeable(&wanted)?;
    let order = call.order(&caller, wanted)?;
    let decision = if order.amount == Amount::ZERO {
        api.quota.check(order).await?
    } else {
        api.quota.consume(order).await?
    };
    Ok(call.answer(&decision, "/v1/consume", &api))
}
