//! `GET /v1/forward-auth`: a gateway asks before it passes a request on, and charges for it.

use std::sync::Arc;

use axum::extract::Query;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::domain::Amount;
use crate::domain::Decision;
use crate::http::auth::Consume;
use crate::http::auth::Gateway;
use crate::http::decision;
use crate::http::decision::DecisionBody;
use crate::http::decision::Style;
use crate::http::documented::DecisionProblems;
use crate::http::error::ApiError;
use crate::http::forwarded::ForwardAuthQuery;
use crate::http::forwarded::Forwarded;
use crate::http::forwarded::X_HEADROOM_SUBJECT;
use crate::http::problem;
use crate::http::problem::Problem;
use crate::http::request_id::RequestScope;
use crate::http::state::Api;
use crate::quota::Order;

const PATH: &str = "/v1/forward-auth";
const X_HEADROOM_EVENT_ID: HeaderName = HeaderName::from_static("x-headroom-event-id");
const X_HEADROOM_PLAN: HeaderName = HeaderName::from_static("x-headroom-plan");
const X_HEADROOM_STATUS: HeaderName = HeaderName::from_static("x-headroom-status");
const X_HEADROOM_CODE: HeaderName = HeaderName::from_static("x-headroom-code");
const X_HEADROOM_DEGRADED: HeaderName = HeaderName::from_static("x-headroom-degraded");

/// Ask as a gateway.
///
/// Decides and charges as a consume does, for nginx's `auth_request` and Traefik's `ForwardAuth`; `docs/GATEWAYS.md` has both.
/// With an API key the gateway vouches for what it sends: `X-Headroom-Subject` names who is charged (beside a token it must
/// be that token's user), `X-Headroom-Model` or `X-Headroom-Metric` what, and the same `X-Request-Id` is charged once: so it
/// must set or clear all four, or its callers do. With a token alone, of an end user, the query says what is charged, and none
/// of these headers is believed. Whatever is refused names its code and its true status in `X-Headroom-Code` and
/// `X-Headroom-Status`.
#[utoipa::path(
    get,
    path = "/v1/forward-auth",
    tag = "decisions",
    params(
        ForwardAuthQuery,
        ("X-Headroom-Subject" = Option<String>, Header, description = "who is charged; believed beside an API key", example = "user:u_1"),
        ("X-Headroom-Model" = Option<String>, Header, description = "a chat model; believed beside an API key", example = "claude-sonnet-4"),
        ("X-Headroom-Metric" = Option<String>, Header, description = "one metric; believed beside an API key", example = "messages"),
        ("X-Request-Id" = Option<String>, Header, description = "1 to 64 visible ASCII characters, sent back; beside an API key the same one is charged once"),
    ),
    responses(
        (status = 200, description = "accepted and charged", body = DecisionBody,
            headers(
                ("RateLimit-Policy" = String, description = "all limits: `q` units in windows of `w` seconds"),
                ("RateLimit" = String, description = "all limits: `r` units remain, the window ends in `t` seconds"),
                ("X-Headroom-Subject" = String, description = "who was charged"),
                ("X-Headroom-Event-Id" = String, description = "the event, by which it can be refunded; absent when nothing was charged"),
                ("X-Headroom-Plan" = String, description = "the plan that the limits come from"),
                ("X-Headroom-Degraded" = String, description = "`true` when the answer was given without the counters"),
                ("Idempotent-Replayed" = String, description = "`true` when the answer repeats an earlier one"),
            )),
        (status = 429, description = "a limit leaves no room, or a rule against abuse has blocked the subject for a while: nothing was charged. With `deny=403` the status is 403, and all else the same", body = Problem, content_type = "application/problem+json",
            headers(
                ("Retry-After" = String, description = "seconds until the latest violated window ends"),
                ("X-Headroom-Status" = String, description = "429"),
                ("X-Headroom-Code" = String, description = "`limit_exceeded`, `reserved_by_others` or `abuse_detected`"),
            )),
        DecisionProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn ask(
    State(api): State<Arc<Api>>,
    uri: Uri,
    scope: RequestScope,
    headers: HeaderMap,
) -> Response {
    decide(&api, &uri, &scope, &headers).await.unwrap_or_else(named)
}

async fn decide(
    api: &Api,
    uri: &Uri,
    scope: &RequestScope,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let gateway = Gateway::<Consume>::of(headers, api)?;
    let Query(query) =
        Query::<ForwardAuthQuery>::try_from_uri(uri).map_err(|error| ApiError::query(&error))?;
    let denied = denied_status(query.deny.as_deref())?;
    let order = order(Forwarded::of(&gateway, headers, query)?, &gateway, scope)?;
    let subject = order.subject.clone();
    let outcome = if order.amount == Amount::ZERO {
        api.quota.check(order).await
    } else {
        api.quota.consume(order).await
    };
    let decision = match outcome.map_err(ApiError::from) {
        Ok(decision) => decision,
        Err(error @ ApiError::AbuseDetected { .. }) => {
            return Ok(restrained(&error, scope, denied));
        }
        Err(error) => return Err(error),
    };
    let legacy_headers = api.server.legacy_rate_limit_headers;
    let style = Style { path: PATH, deny_with_200: false, legacy_headers };
    let mut response = decision::response(&decision, style);
    insert_headers(response.headers_mut(), &decision, subject.as_str());
    if !decision.allowed {
        *response.status_mut() = denied;
    }
    Ok(response)
}

fn denied_status(deny: Option<&str>) -> Result<StatusCode, ApiError> {
    match deny {
        None | Some("429") => Ok(StatusCode::TOO_MANY_REQUESTS),
        Some("403") => Ok(StatusCode::FORBIDDEN),
        Some(_) => Err(ApiError::invalid("deny", "must be 403 or 429")),
    }
}

/// A gateway that asks again after a lost answer sends the same request id. One that a token's holder sends is not
/// taken for that: whoever repeats it would be charged once for everything.
fn order(
    forwarded: Forwarded,
    gateway: &Gateway<Consume>,
    scope: &RequestScope,
) -> Result<Order, ApiError> {
    let context = scope.context();
    let is_repeatable = gateway.holds_key() && context.made_id.is_none();
    let idempotency_key = is_repeatable.then(|| format!("forward-auth:{}", scope.id()));
    Ok(Order {
        subject: gateway.reach(forwarded.subject)?,
        ask: forwarded.ask,
        amount: forwarded.amount,
        metadata: None,
        idempotency_key,
        context,
    })
}

fn insert_headers(headers: &mut HeaderMap, decision: &Decision, subject: &str) {
    let mut insert = |name, text: &str| {
        if let Some(value) = HeaderValue::from_str(text).ok().filter(|value| !value.is_empty()) {
            headers.insert(name, value);
        }
    };
    insert(X_HEADROOM_SUBJECT, subject);
    insert(X_HEADROOM_PLAN, &decision.plan);
    insert(X_HEADROOM_EVENT_ID, &decision.event_id.map(|id| id.to_string()).unwrap_or_default());
    insert(X_HEADROOM_DEGRADED, if decision.degraded { "true" } else { "" });
    if !decision.allowed {
        insert(X_HEADROOM_STATUS, StatusCode::TOO_MANY_REQUESTS.as_str());
        insert(X_HEADROOM_CODE, &decision::refusal_code(decision).text());
    }
}

/// A block by a rule is a refusal, which some gateways only know as 403.
fn restrained(error: &ApiError, scope: &RequestScope, denied: StatusCode) -> Response {
    let mut headers = HeaderMap::new();
    insert_reason(&mut headers, error);
    let mut response = problem::response(error, scope.id(), PATH, headers);
    *response.status_mut() = denied;
    response
}

/// A gateway may show its callers none of the body, so that headers must say why.
fn named(error: ApiError) -> Response {
    let mut headers = HeaderMap::new();
    insert_reason(&mut headers, &error);
    let mut response = error.into_response();
    response.headers_mut().extend(headers);
    response
}

fn insert_reason(headers: &mut HeaderMap, error: &ApiError) {
    let (status, code) = error.status_and_code();
    headers.insert(X_HEADROOM_STATUS, HeaderValue::from(status.as_u16()));
    if let Ok(code) = HeaderValue::try_from(code.text()) {
        headers.insert(X_HEADROOM_CODE, code);
    }
}
