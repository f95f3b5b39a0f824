//! Reservations as answers.

use axum::http::HeaderValue;
use axum::response::Response;
use chrono::DateTime;
use chrono::Utc;
use serde::Serialize;
use uuid::Uuid;

use super::decision::DecisionBody;
use super::idempotency::IDEMPOTENT_REPLAYED;
use super::limit_body::LimitBody;
use super::limit_texts::LimitTexts;
use super::rate_limit_headers;
use super::reply::reply;
use crate::domain::Units;
use crate::domain::decision::Hold;
use crate::quota::HoldEnded;

/// The answer to a reserve.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Reservation)]
pub struct ReservationBody<'a> {
    /// The decision.
    #[serde(flatten)]
    pub decision: DecisionBody<'a>,
    /// What to commit, release or extend it by. It tells by itself who holds what, so keep it as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "rsv_WyIwMTlhYWI3Yy0uLi4")]
    pub reservation_id: Option<&'a str>,
    /// When the hold ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// The amount that is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<u64>,
}

/// What has become of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HoldState {
    /// The work is charged with what it took.
    Committed,
    /// Nothing is charged, and nothing held.
    Released,
    /// The units are held, until `expires_at`.
    Held,
}

/// A reservation that was committed, released or given more time.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Hold)]
pub struct HoldBody<'a> {
    /// The reservation.
    pub reservation_id: &'a str,
    /// The event in the message log.
    pub event_id: Uuid,
    /// What has become of it.
    pub state: HoldState,
    /// The amount that was charged; 0 unless it was committed.
    pub amount: u64,
    /// The amount that was held, or still is.
    pub reserved: u64,
    /// What of `reserved` was given back by this.
    pub returned: u64,
    /// Whether the charge passed a limit.
    pub overage: bool,
    /// Whether the hold had ended by itself before it was committed.
    pub late: bool,
    /// When the hold ends, or would have ended.
    #[schema(required)]
    pub expires_at: Option<DateTime<Utc>>,
    /// Every limit that the hold was measured against, in the windows in which it was made.
    pub limits: Vec<LimitBody<'a>>,
    /// The plan that the limits came from when it was made.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub plan: &'a str,
    /// The id of the request: the earlier one's for a replay.
    pub request_id: &'a str,
}

impl<'a> ReservationBody<'a> {
    /// A decision with the hold that was made.
    #[must_use]
    pub fn of(decision: DecisionBody<'a>, hold: &'a Hold) -> Self {
        Self {
            decision,
            reservation_id: Some(&hold.id),
            expires_at: instant(hold.until_s),
            amount: Some(hold.amount.get()),
        }
    }
}

/// Writes what has become of a reservation, with the headers of a decision.
#[must_use]
pub fn response(
    id: &str,
    ended: &HoldEnded,
    state: HoldState,
    amount: Units,
    legacy_headers: bool,
) -> Response {
    let texts = LimitTexts::of(&ended.limits);
    let is_given_back = state != HoldState::Held && !ended.late;
    let returned = ended.held.saturating_sub(amount);
    let mut response = reply(&HoldBody {
        reservation_id: id,
        event_id: ended.event_id,
        state,
        amount: amount.get(),
        reserved: ended.held.get(),
        returned: if is_given_back { returned.get() } else { 0 },
        overage: ended.overage,
        late: ended.late,
        expires_at: instant(ended.until_s),
        limits: LimitBody::list(&ended.limits, &texts.names),
        plan: &ended.plan,
        request_id: &ended.request_id,
    });
    let headers = response.headers_mut();
    rate_limit_headers::insert(headers, &ended.limits, &texts, ended.decided_at_ms);
    if legacy_headers {
        rate_limit_headers::insert_legacy(headers, &ended.limits);
    }
    if ended.replayed {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// An instant in Unix seconds; `None` is out of the calendar.
fn instant(unix_s: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(unix_s, 0)
}
