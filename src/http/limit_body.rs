//! Limits in answers.

use chrono::DateTime;
use chrono::Utc;
use serde::Serialize;

use crate::domain::LimitState;
use crate::domain::Mode;
use crate::domain::Period;
use crate::domain::Units;
use crate::domain::Warning;

/// One limit. It has either `limit` and `remaining`, or `unlimited`.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = LimitState)]
pub struct LimitBody<'a> {
    /// The name in the `RateLimit` headers, each once in an answer.
    #[schema(example = "messages-month")]
    pub name: &'a str,
    /// The level of the subject that the limit belongs to.
    #[schema(example = "user:u_1")]
    pub subject: &'a str,
    /// What is counted.
    #[schema(example = "messages")]
    pub metric: &'a str,
    /// How often the count starts anew.
    pub period: Period,
    /// The most units in a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// `true` when there is no such number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unlimited: Option<bool>,
    /// Units used in the window.
    pub used: u64,
    /// Units held for work in progress.
    pub reserved: u64,
    /// Units left in the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
    /// Units that the window before left to this one, beside `limit`; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carried: Option<u64>,
    /// Units above the limit, which soft and shadow limits let pass; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overage: Option<u64>,
    /// Bonus units that are left.
    pub granted_remaining: u64,
    /// When the window began, or the current slice of a sliding limit; `null` for a lifetime limit.
    #[schema(required)]
    pub window_start: Option<DateTime<Utc>>,
    /// When the window ends, or the current slice of a sliding limit; `null` for a lifetime limit.
    #[schema(required)]
    pub resets_at: Option<DateTime<Utc>>,
    /// `true` when the trailing minute or hour counts, instead of the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding: Option<bool>,
    /// What happens past the limit.
    pub mode: Mode,
    /// `true` when the limit lets the request pass only because it is in shadow mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<bool>,
    /// How near the count is to the limit.
    pub warning: Warning,
}

impl<'a> LimitBody<'a> {
    /// A limit under the name that [`distinct_names`](super::rate_limit_headers::distinct_names) gave it.
    #[must_use]
    pub fn new(state: &'a LimitState, name: &'a str) -> Self {
        Self {
            name,
            subject: &state.subject,
            metric: state.metric.as_str(),
            period: state.period,
            limit: state.max.map(Units::get),
            unlimited: state.max.is_none().then_some(true),
            used: state.used.get(),
            reserved: state.reserved.get(),
            remaining: state.remaining().map(Units::get),
            carried: Some(state.carried.get()).filter(|units| *units > 0),
            overage: Some(state.overage().get()).filter(|units| *units > 0),
            granted_remaining: state.granted.get(),
            window_start: (state.period != Period::Lifetime).then(|| state.window.start_at()),
            resets_at: (state.period != Period::Lifetime).then(|| state.window.end_at()),
            sliding: state.sliding.then_some(true),
            mode: state.mode,
            would_deny: state.would_deny.then_some(true),
            warning: state.warning(),
        }
    }

    /// All limits of an answer.
    #[must_use]
    pub fn list(limits: &'a [LimitState], names: &'a [String]) -> Vec<Self> {
        limits.iter().zip(names).map(|(state, name)| Self::new(state, name)).collect()
    }
}
