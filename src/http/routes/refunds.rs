//! `POST /v1/events/{event_id}:refund`: what an event took is given back.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::http::HeaderValue;
use axum::response::Response;
use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::domain::Period;
use crate::domain::Window;
use crate::http::auth::Caller;
use crate::http::auth::Consume;
use crate::http::body;
use crate::http::body::JsonBytesOrNone;
use crate::http::documented::RefundProblems;
use crate::http::documented::RepeatHeaders;
use crate::http::error::ApiError;
use crate::http::fields::undecodable;
use crate::http::idempotency::IDEMPOTENT_REPLAYED;
use crate::http::idempotency::Repeatable;
use crate::http::order_body::storable;
use crate::http::reply::reply;
use crate::http::state::Api;
use crate::quota::GivenBack;
use crate::quota::QuotaError;
use crate::quota::RefundOrder;
use crate::quota::Refunded;

/// The route, since a route cannot end in a parameter and a word.
pub(crate) const ROUTE: &str = "/v1/events/{event_id}";
const REFUND: &str = ":refund";

/// Nothing that has to be said.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Refund)]
pub struct RefundBody {
    /// The caller's own data for the message log, at most 2,048 bytes of JSON.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// What was given back.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Refunded)]
pub struct RefundedBody<'a> {
    /// The refund's event in the message log.
    event_id: Uuid,
    /// The event that was given back.
    refunds: Uuid,
    /// One entry a limit or grant that has units again.
    refunded: Vec<GivenBackBody<'a>>,
    /// The id of the request.
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
}

/// Units that a limit or a grant has again. It has either `period` with its window, or `grant`.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = GivenBack)]
pub struct GivenBackBody<'a> {
    /// The level of the subject.
    #[schema(example = "user:u_1")]
    subject: &'a str,
    /// What is counted.
    #[schema(example = "messages")]
    metric: &'a str,
    /// The period of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<Period>,
    /// When the window began, or the slice of a sliding limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    window_start: Option<DateTime<Utc>>,
    /// When it ends; absent for a lifetime limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    window_end: Option<DateTime<Utc>>,
    /// The id of the grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<u64>,
    /// How many.
    units: u64,
}

/// Refund an event.
///
/// Gives back exactly what a consume or a commit took of each limit and grant: once, while the window goes on, and where the
/// limit allows it (`refundable`, `refund_max`). Sent again it answers the same. The body may be left out.
#[utoipa::path(
    post,
    operation_id = "refund_event",
    path = "/v1/events/{event_id}:refund",
    tag = "reservations",
    params(
        ("event_id" = Uuid, Path, description = "the `event_id` of a consume or a commit", example = "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d"),
        RepeatHeaders,
    ),
    request_body(content = Option<RefundBody>, example = json!({"metadata": {"ticket": 4711}})),
    responses(
        (status = 200, description = "given back", body = RefundedBody,
            headers(("Idempotent-Replayed" = String, description = "`true` when the answer repeats an earlier one")),
            example = json!({
                "event_id": "019aab7c-3f4e-7d22-8a61-5b1f0a2b3c4d",
                "refunds": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "refunded": [
                    {"subject": "user:u_1", "metric": "messages", "period": "month", "window_start": "2026-11-01T00:00:00Z", "window_end": "2026-12-01T00:00:00Z", "units": 1},
                    {"subject": "user:u_1", "metric": "premium_messages", "grant": 12, "units": 1}
                ],
                "request_id": "019aab7c-4a11-7c1a-9d53-0d1f0a2b3c4d"
            })),
        RefundProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn refund(
    State(api): State<Arc<Api>>,
    caller: Caller<Consume>,
    call: Repeatable,
    path: Result<Path<String>, PathRejection>,
    bytes: JsonBytesOrNone,
) -> Result<Response, ApiError> {
    let Path(last) = path.map_err(|_| undecodable("event_id"))?;
    let id = last.strip_suffix(REFUND).ok_or(ApiError::NoRoute)?;
    let id = Uuid::try_parse(id).map_err(|_| ApiError::invalid("event_id", "must be a uuid"))?;
    let order = order(&call, &bytes.0)?;
    let event = api.quota.refundable(id).await?;
    caller.reach(event.subject.clone()).map_err(|_| QuotaError::UnknownEvent)?;
    let refunded = api.quota.refund(&event, &order).await?;
    let mut response = reply(&RefundedBody::of(&refunded, call.scope.id()));
    if refunded.replayed {
        let replayed = HeaderValue::from_static("true");
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, replayed);
    }
    Ok(response)
}

fn order(call: &Repeatable, bytes: &[u8]) -> Result<RefundOrder, ApiError> {
    let RefundBody { metadata } =
        if bytes.is_empty() { RefundBody::default() } else { body::parse(bytes)? };
    Ok(RefundOrder {
        idempotency_key: call.key.clone(),
        metadata: metadata.as_ref().map(storable).transpose()?,
        context: call.scope.context(),
    })
}

impl<'a> RefundedBody<'a> {
    /// What was given back, by that request.
    #[must_use]
    pub fn of(refunded: &'a Refunded, request_id: &'a str) -> Self {
        Self {
            event_id: refunded.event_id,
            refunds: refunded.refunds,
            refunded: refunded.given.iter().map(GivenBackBody::of).collect(),
            request_id,
        }
    }
}

impl<'a> GivenBackBody<'a> {
    fn of(given: &'a GivenBack) -> Self {
        let GivenBack { subject, metric, period, grant, window, units } = given;
        let ends = period.is_some() && *window != Window::LIFETIME;
        Self {
            subject,
            metric: metric.as_str(),
            period: *period,
            window_start: period.map(|_| window.start_at()),
            window_end: ends.then(|| window.end_at()),
            grant: *grant,
            units: units.get(),
        }
    }
}
