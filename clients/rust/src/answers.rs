//! What the service answers. Fields that a newer service adds are passed over.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::HeaderName;
use http::header::RETRY_AFTER;
use serde::Deserialize;

/// Headers of a decision that a backend passes on to its own caller.
const PASSED_ON: [HeaderName; 3] = [
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    RETRY_AFTER,
];

/// One limit of a subject, after the decision.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Limit {
    /// As `messages-month`.
    pub name: String,
    /// The level of the subject that it belongs to.
    pub subject: String,
    /// What is counted.
    pub metric: String,
    /// How often the count starts anew.
    pub period: String,
    /// The most units in a window; `None` is unlimited.
    pub limit: Option<u64>,
    /// Units used in the window.
    pub used: u64,
    /// Units held for work in progress.
    pub reserved: u64,
    /// Units left in the window; `None` is unlimited.
    pub remaining: Option<u64>,
    /// When the window ends (RFC 3339, UTC); `None` for a lifetime limit.
    pub resets_at: Option<String>,
    /// `none`, `warning` or `critical`.
    pub warning: String,
}

/// May the request go on, and what is left.
#[derive(Clone, Debug, Default, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// Whether it may.
    pub allowed: bool,
    /// The event that was charged; `None` when nothing was.
    pub event_id: Option<String>,
    /// Every limit that the request was measured against.
    pub limits: Vec<Limit>,
    /// Whether the answer was given without the counters. Also true when the client itself let the request pass,
    /// because the service was away and the client fails open.
    pub degraded: bool,
    /// The id of the request, as in the service's log.
    pub request_id: String,
    /// The plan that the limits come from.
    #[serde(default)]
    pub plan: String,
    /// Where the subject can get more.
    pub upgrade_url: Option<String>,
    /// `RateLimit`, `RateLimit-Policy` and `Retry-After`, as far as they were sent.
    #[serde(skip)]
    pub headers: HeaderMap,
    /// Whether the answer repeats that of an earlier request with the same idempotency key.
    #[serde(skip)]
    pub replayed: bool,
}

impl Decision {
    /// The limit of that name, as `messages-month`.
    #[must_use]
    pub fn limit(&self, name: &str) -> Option<&Limit> {
        self.limits.iter().find(|limit| limit.name == name)
    }

    /// The decision of a client that fails open: nothing is known and nothing is charged.
    pub(crate) fn without_asking() -> Self {
        Self { allowed: true, degraded: true, ..Self::default() }
    }

    pub(crate) fn with(self, headers: &HeaderMap) -> Self {
        let passed = PASSED_ON
            .into_iter()
            .filter_map(|name| Some((name.clone(), headers.get(&name)?.clone())));
        Self { headers: passed.collect(), replayed: is_replay(headers), ..self }
    }
}

/// Units that are held for work in progress.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Reservation {
    /// What to settle it by; `None` when the work passes without a hold, because a store or the service was away.
    pub reservation_id: Option<String>,
    /// The amount that is held.
    #[serde(default)]
    pub amount: u64,
    /// When the hold ends by itself (RFC 3339, UTC).
    pub expires_at: Option<String>,
    /// The decision that allowed it.
    #[serde(flatten)]
    pub decision: Decision,
}

/// What has become of a reservation.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Settled {
    /// The reservation.
    pub reservation_id: String,
    /// The event in the message log.
    pub event_id: String,
    /// `committed`, `released` or `held`.
    pub state: String,
    /// The amount that was charged.
    pub amount: u64,
    /// The amount that was held, or still is.
    pub reserved: u64,
    /// What of it was given back.
    pub returned: u64,
    /// Whether the charge passed a limit.
    pub overage: bool,
    /// Whether the hold had ended by itself before.
    pub late: bool,
    /// When the hold ends, or would have ended (RFC 3339, UTC).
    pub expires_at: Option<String>,
    /// Whether the answer repeats an earlier one.
    #[serde(skip)]
    pub replayed: bool,
}

/// What a refund gave back.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Refund {
    /// The refund's event in the message log.
    pub event_id: String,
    /// The event that was given back.
    pub refunds: String,
}

/// What a subject has used.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Who.
    pub subject: String,
    /// The plan that the limits come from.
    pub plan: String,
    /// Every limit.
    pub limits: Vec<Limit>,
    /// Every feature of the catalogue: whether the subject has it.
    pub features: BTreeMap<String, bool>,
    /// Whether every request of the subject is refused.
    pub blocked: bool,
}

pub(crate) fn is_replay(headers: &HeaderMap) -> bool {
    headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}
