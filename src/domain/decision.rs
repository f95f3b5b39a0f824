//! The answer to "may this subject do that?".

use std::sync::Arc;

use uuid::Uuid;

use super::limit::Mode;
use super::memo::Memo;
use super::period::Period;
use super::period::Slices;
use super::period::Window;
use super::units::Metric;
use super::units::Units;

/// How near a counter is to its limit.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Warning {
    /// Below the limit's `warning_percent`.
    None,
    /// At its `warning_percent` or more.
    Warning,
    /// At its `critical_percent` or more.
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

    /// The level at `used` of `max`, with the shares of `max` from which it warns and is critical. An unlimited counter
    /// never warns; a blocked one is critical.
    #[must_use]
    pub fn of(used: Units, max: Option<Units>, warning_percent: u8, critical_percent: u8) -> Self {
        let Some(max) = max else { return Self::None };
        let reaches = |percent: u8| {
            u128::from(used.get()) * 100 >= u128::from(max.get()) * u128::from(percent)
        };
        if reaches(critical_percent) {
            Self::Critical
        } else if reaches(warning_percent) {
            Self::Warning
        } else {
            Self::None
        }
    }
}

/// One limit after a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// The level that the limit belongs to, as a path. The limits of a level share it.
    pub subject: Arc<str>,
    /// What is counted.
    pub metric: Metric,
    /// How often the count starts anew.
    pub period: Period,
    /// The instance of the period; of a sliding limit the current slice.
    pub window: Window,
    /// Whether the trailing minute or hour counts, instead of the current one.
    pub sliding: bool,
    /// The most units in the window; `None` is unlimited.
    pub max: Option<Units>,
    /// What happens past the limit.
    pub mode: Mode,
    /// The share of `max` from which the counter warns, in percent.
    pub warning_percent: u8,
    /// The share of `max` from which the counter is critical, in percent.
    pub critical_percent: u8,
    /// Units used in the window, after the decision.
    pub used: Units,
    /// Units held for work in progress.
    pub reserved: Units,
    /// Units that the window before left to this one, beside `max`.
    pub carried: Units,
    /// Bonus units that are left, for when the limit is spent.
    pub granted: Units,
    /// Whether this limit alone would refuse the request.
    pub violated: bool,
    /// Whether this limit lets the request pass only because it is in shadow mode.
    pub would_deny: bool,
}

impl LimitState {
    /// The limit's name in headers and answers: `messages-month`.
    #[must_use]
    pub fn name(&self) -> String {
        [self.metric.as_str(), "-", self.period.as_str()].concat()
    }

    /// How long the time is whose units count together, in seconds.
    #[must_use]
    pub const fn counted_s(&self) -> i64 {
        let window_s = self.window.seconds();
        if self.sliding { window_s * Slices::A_PERIOD } else { window_s }
    }

    /// Units that are left in the window; `None` is unlimited.
    #[must_use]
    pub fn remaining(&self) -> Option<Units> {
        self.max.map(|max| max.saturating_add(self.carried.get()).saturating_sub(self.taken()))
    }

    /// Units above `max`, which soft and shadow limits let pass; 0 when there are none.
    #[must_use]
    pub fn overage(&self) -> Units {
        let above =
            |max: Units| self.taken().saturating_sub(max.saturating_add(self.carried.get()));
        self.max.map_or(Units::ZERO, above)
    }

    /// How near the counter is to its limit.
    #[must_use]
    pub fn warning(&self) -> Warning {
        let max = self.max.map(|max| max.saturating_add(self.carried.get()));
        Warning::of(self.taken(), max, self.warning_percent, self.critical_percent)
    }

    /// Units used or held.
    #[must_use]
    pub fn taken(&self) -> Units {
        self.used.saturating_add(self.reserved.get())
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
    /// What the edge makes of the limits once for all decisions on the same ones: of all that does not differ between the
    /// subjects and with what they used.
    pub memo: Arc<Memo>,
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
    /// After a refusal, the cheapest listed plan under which the request would have passed.
    pub recommended_plan: Option<String>,
    /// When Redis decided, in Unix milliseconds.
    pub decided_at_ms: i64,
    /// The hold that was made, when one was asked for.
    pub hold: Option<Hold>,
    /// After a refusal only because of what others hold, when the first of it is free again, in Unix seconds.
    pub free_at_s: Option<i64>,
    /// After a refusal by sliding limits, when as much as was asked for has left them all, in Unix seconds.
    pub room_at_s: Option<i64>,
}

/// Units that are held for work in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The reservation's id, which tells who holds what.
    pub id: String,
    /// The amount that is held.
    pub amount: Units,
    /// Until when, in Unix seconds.
    pub until_s: i64,
}

impl Decision {
    /// Seconds until all violated limits have room again if nothing is charged meanwhile, at least 1: until the latest of their
    /// windows ends, of those that slide until enough has left. `None` when nothing is violated or the violated limit never
    /// starts anew.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        if let Some(free_at_s) = self.free_at_s {
            return self.seconds_until(free_at_s);
        }
        let violated = self.limits.iter().filter(|state| state.violated);
        let room_at_s = |state: &LimitState| self.room_at_s.filter(|_| state.sliding);
        let end_s = violated.map(|state| room_at_s(state).unwrap_or(state.window.end_s)).max()?;
        if end_s == Window::LIFETIME.end_s {
            return None;
        }
        self.seconds_until(end_s)
    }

    /// Seconds from the decision to an instant, at least 1.
    fn seconds_until(&self, at_s: i64) -> Option<u64> {
        u64::try_from(at_s - self.decided_at_ms.div_euclid(1_000)).ok().map(|s| s.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(max: Option<u64>, used: u64, reserved: u64) -> LimitState {
        LimitState {
            subject: "user:u_1".into(),
            metric: Metric::new("messages").unwrap(),
            period: Period::Lifetime,
            window: Window::LIFETIME,
            sliding: false,
            max: max.map(|max| Units::new(max).unwrap()),
            mode: Mode::Soft,
            warning_percent: 50,
            critical_percent: 60,
            used: Units::new(used).unwrap(),
            reserved: Units::new(reserved).unwrap(),
            carried: Units::ZERO,
            granted: Units::ZERO,
            violated: false,
            would_deny: false,
        }
    }

    #[test]
    fn warnings_begin_at_the_percentages() {
        let of = |used, max| Warning::of(Units::new(used).unwrap(), Units::new(max).ok(), 80, 95);
        assert_eq!(of(79, 100), Warning::None);
        assert_eq!(of(80, 100), Warning::Warning);
        assert_eq!(of(95, 100), Warning::Critical);
        assert_eq!(of(0, 0), Warning::Critical);
        assert_eq!(Warning::of(Units::MAX, None, 1, 1), Warning::None);
        assert_eq!(state(Some(100), 30, 20).warning(), Warning::Warning);
        assert_eq!(state(Some(100), 30, 30).warning(), Warning::Critical);
    }

    #[test]
    fn what_is_taken_is_either_within_max_or_overage() {
        let of = |max, used, reserved| {
            let state = state(max, used, reserved);
            (state.remaining().map(Units::get), state.overage().get())
        };
        assert_eq!(of(Some(10), 4, 3), (Some(3), 0));
        assert_eq!(of(Some(10), 10, 0), (Some(0), 0));
        assert_eq!(of(Some(10), 10, 3), (Some(0), 3));
        assert_eq!(of(None, 10, 3), (None, 0));
    }

    #[test]
    fn a_warning_is_called_as_answers_have_it() {
        let names = [Warning::None, Warning::Warning, Warning::Critical].map(Warning::as_str);
        assert_eq!(names, ["none", "warning", "critical"]);
    }

    #[test]
    fn a_limit_is_called_by_its_metric_and_period() {
        assert_eq!(state(None, 0, 0).name(), "messages-lifetime");
    }

    #[test]
    fn a_sliding_limit_counts_as_long_as_all_of_its_slices() {
        let window = Window { start_s: 1_200, end_s: 1_800 };
        let whole = LimitState { window, ..state(None, 0, 0) };
        assert_eq!(whole.counted_s(), 600);
        assert_eq!(LimitState { sliding: true, ..whole }.counted_s(), 3_600);
    }

    #[test]
    fn a_refusal_lasts_until_the_last_violated_window_ends() {
        let violated = |end_s, violated| {
            let window = Window { start_s: 0, end_s };
            LimitState { window, violated, ..state(None, 0, 0) }
        };
        let at = |limits, free_at_s| {
            let decided_at_ms = 100_999;
            Decision { limits, decided_at_ms, free_at_s, ..Decision::default() }.retry_after_s()
        };
        assert_eq!(
            at(vec![violated(160, true), violated(130, true), violated(900, false)], None),
            Some(60)
        );
        assert_eq!(at(vec![violated(160, true)], Some(107)), Some(7));
        assert_eq!(at(vec![violated(100, true)], None), Some(1));
        assert_eq!(at(vec![violated(99, true)], None), None);
        assert_eq!(at(vec![violated(160, false)], None), None);
        let sliding = LimitState { sliding: true, ..violated(110, true) };
        let decision = |limits| Decision {
            limits,
            room_at_s: Some(155),
            decided_at_ms: 100_999,
            ..Decision::default()
        };
        assert_eq!(decision(vec![sliding.clone(), violated(150, true)]).retry_after_s(), Some(55));
        assert_eq!(decision(vec![sliding, violated(160, true)]).retry_after_s(), Some(60));
        let never = LimitState { violated: true, ..state(None, 0, 0) };
        assert_eq!(at(vec![never, violated(160, true)], None), None);
    }
}
