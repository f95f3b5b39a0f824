//! The answer to "may this subject do that?".

use uuid::Uuid;

use super::limit::Mode;
use super::period::Period;
use super::period::Window;
use super::units::Metric;
use super::units::Units;

/// How near a counter is to its limit.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Warning {
    /// Below 80 %.
    None,
    /// 80 % or more.
    Warning,
    /// 95 % or more.
    Critical,
}

impl Warning {
    /// The name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The level at `used` of `max`: 80 % warns and 95 % is critical (the thresholds of most usage meters). An
    /// unlimited counter never warns; a blocked one is critical.
    #[must_use]
    pub fn of(used: Units, max: Option<Units>) -> Self {
        let Some(max) = max else { return Self::None };
        let (used, max) = (u128::from(used.get()), u128::from(max.get()));
        if used * 100 >= max * 95 {
            Self::Critical
        } else if used * 100 >= max * 80 {
            Self::Warning
        } else {
            Self::None
        }
    }
}

/// One limit after a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// The level that the limit belongs to, as a path.
    pub subject: String,
    /// What is counted.
    pub metric: Metric,
    /// How often the count starts anew.
    pub period: Period,
    /// The instance of the period.
    pub window: Window,
    /// The most units in the window; `None` is unlimited.
    pub max: Option<Units>,
    /// What happens past the limit.
    pub mode: Mode,
    /// Units used in the window, after the decision.
    pub used: Units,
    /// Units held for work in progress.
    pub reserved: Units,
    /// Whether this limit alone would refuse the request.
    pub violated: bool,
}

impl LimitState {
    /// The limit's name in headers and answers: `messages-month`.
    #[must_use]
    pub fn name(&self) -> String {
        [self.metric.as_str(), "-", self.period.as_str()].concat()
    }

    /// Units that are left in the window; `None` is unlimited.
    #[must_use]
    pub fn remaining(&self) -> Option<Units> {
        let taken = self.used.saturating_add(self.reserved.get());
        self.max.map(|max| max.saturating_sub(taken))
    }

    /// How near the counter is to its limit.
    #[must_use]
    pub fn warning(&self) -> Warning {
        Warning::of(self.used.saturating_add(self.reserved.get()), self.max)
    }
}

/// The answer to a consume or a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub allowed: bool,
    /// The event's id, when a charge was accepted.
    pub event_id: Option<Uuid>,
    /// Every limit that the request was measured against.
    pub limits: Vec<LimitState>,
    /// Whether the answer was given without the counters, because Redis was away.
    pub degraded: bool,
    /// Whether the answer repeats an earlier one with the same idempotency key.
    pub replayed: bool,
    /// The id of the request that was decided: the earlier one's for a replay.
    pub request_id: String,
    /// The plan that the limits come from.
    pub plan: String,
    /// Where the subject can get more, when the plan names it.
    pub upgrade_url: Option<String>,
    /// When Redis decided, in Unix milliseconds.
    pub decided_at_ms: i64,
}

impl Decision {
    /// Seconds until the latest of the violated windows ends, at least 1. `None` when nothing is violated or the
    /// violated limit never starts anew.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        let violated = self.limits.iter().filter(|state| state.violated);
        let end_s = violated.map(|state| state.window.end_s).max()?;
        if end_s == Window::LIFETIME.end_s {
            return None;
        }
        u64::try_from(end_s - self.decided_at_ms.div_euclid(1_000)).ok().map(|s| s.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_begin_at_80_and_95_percent() {
        let of = |used, max| Warning::of(Units::new(used).unwrap(), Units::new(max).ok());
        assert_eq!(of(79, 100), Warning::None);
        assert_eq!(of(80, 100), Warning::Warning);
        assert_eq!(of(95, 100), Warning::Critical);
        assert_eq!(of(0, 0), Warning::Critical);
        assert_eq!(Warning::of(Units::MAX, None), Warning::None);
    }
}
