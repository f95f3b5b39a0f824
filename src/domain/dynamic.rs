//! Limits that follow what was used: a share of the average day, between a floor and a ceiling.

use std::fmt;

use chrono::NaiveDate;
use serde::Deserialize;
use serde::Serialize;

use super::limit::Limit;
use super::period::Period;
use super::units::Units;

/// How a limit's `max` is computed anew every day from what was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Dynamic {
    /// The share of the average, 1–1000.
    #[schema(minimum = 1, maximum = 1000, example = 120)]
    pub percent: u16,
    /// The complete days (UTC) that are averaged, 1–90.
    #[schema(minimum = 1, maximum = 90, example = 30)]
    pub days: u8,
    /// The lowest `max`, in units.
    #[schema(value_type = u64, example = 10)]
    pub floor: Units,
    /// The highest `max`, in units, at least `floor`.
    #[schema(value_type = u64, example = 500)]
    pub ceiling: Units,
}

/// Which numbers of a [`Dynamic`], or of the limit that has it, do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DynamicError {
    /// No share of the average.
    #[error("dynamic.percent must be 1 to 1000, got {0}")]
    Percent(u16),
    /// Nothing to average, or more than anybody means.
    #[error("dynamic.days must be 1 to 90, got {0}")]
    Days(u8),
    /// No number lies between them.
    #[error("dynamic.floor must be at most dynamic.ceiling ({ceiling}), got {floor}")]
    FloorAboveCeiling {
        /// The lowest `max`.
        floor: Units,
        /// The highest `max`.
        ceiling: Units,
    },
    /// Days are averaged: nothing shorter follows from them, and a lifetime has no length.
    #[error("dynamic needs period \"day\", \"week\" or \"month\", got {:?}", .0.as_str())]
    Period(Period),
    /// Nothing would be in force until the first computation.
    #[error("dynamic needs max, which is in force until it is computed")]
    WithoutMax,
    /// Only the usage of roots is summed up by the day.
    #[error("dynamic does not go with each")]
    Each,
    /// A record of a computation without the rule that it goes by.
    #[error("reason, computed_on and of_plan need dynamic")]
    Missing,
    /// More than is kept of a reason.
    #[error("reason must be 1 to 200 bytes without control characters")]
    Reason,
}

/// What was used on complete days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DaysUsed {
    /// Units of all the days together.
    pub units: u64,
    /// How many days they are, never 0; days without usage count.
    pub days: u8,
    /// The last of the days, UTC.
    pub to: NaiveDate,
}

impl Dynamic {
    /// The most days that are averaged.
    pub const DAYS_MAX: u8 = 90;
    /// The longest reason, in bytes.
    pub const REASON_BYTES_MAX: usize = 200;

    /// Whether the numbers go together.
    ///
    /// # Errors
    ///
    /// [`DynamicError`] naming the first that does not fit, and its bound.
    pub fn check(&self) -> Result<(), DynamicError> {
        if !(1..=1_000).contains(&self.percent) {
            return Err(DynamicError::Percent(self.percent));
        }
        if !(1..=Self::DAYS_MAX).contains(&self.days) {
            return Err(DynamicError::Days(self.days));
        }
        let (floor, ceiling) = (self.floor, self.ceiling);
        if floor > ceiling {
            Err(DynamicError::FloorAboveCeiling { floor, ceiling })
        } else {
            Ok(())
        }
    }

    /// How many of the last complete days are averaged for a subject that first used the metric on `first`: all, or those
    /// of a younger subject. None before its first complete day.
    #[must_use]
    pub fn days_of(&self, first: NaiveDate, to: NaiveDate) -> Option<u8> {
        let own = (to - first).num_days() + 1;
        (own >= 1).then(|| u8::try_from(own).map_or(self.days, |own| own.min(self.days)))
    }

    /// The limit's `max` by what was used: `percent` of the average day, times 1, 7 or 30 days, rounded down once at the
    /// end, and held between floor and ceiling.
    #[must_use]
    pub fn max(&self, period: Period, used: &DaysUsed) -> Units {
        let share = u128::from(used.units) * u128::from(self.percent) * u128::from(days_in(period));
        let share = share / (100 * u128::from(used.days.max(1)));
        let share = Units::ZERO.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
        share.max(self.floor).min(self.ceiling)
    }

    /// Why the limit is what it is: `120 % of 41.3 a day over 30 days to 2026-11-25, between 10 and 500`. The average is
    /// rounded down to a tenth.
    #[must_use]
    pub fn reason(&self, period: Period, used: &DaysUsed) -> String {
        let tenths = u128::from(used.units) * 10 / u128::from(used.days.max(1));
        let times = match days_in(period) {
            1 => String::new(),
            days => format!(" times {days}"),
        };
        let Self { percent, floor, ceiling, .. } = self;
        format!(
            "{percent} % of {}.{} a day{times} over {} {} to {}, between {floor} and {ceiling}",
            tenths / 10,
            tenths % 10,
            used.days,
            if used.days == 1 { "day" } else { "days" },
            used.to,
        )
    }
}

impl Limit {
    /// Whether the limit can follow usage, when it is to.
    pub(super) fn check_dynamic(&self) -> Result<(), DynamicError> {
        let Some(dynamic) = &self.dynamic else {
            let has_record = self.reason.is_some() || self.computed_on.is_some() || self.of_plan;
            return if has_record { Err(DynamicError::Missing) } else { Ok(()) };
        };
        if !matches!(self.period, Period::Day | Period::Week | Period::Month) {
            return Err(DynamicError::Period(self.period));
        }
        if self.each.is_some() {
            return Err(DynamicError::Each);
        }
        let fits = |reason: &String| {
            let is_short = (1..=Dynamic::REASON_BYTES_MAX).contains(&reason.len());
            is_short && !reason.chars().any(char::is_control)
        };
        if !self.reason.as_ref().is_none_or(fits) {
            return Err(DynamicError::Reason);
        }
        self.max.ok_or(DynamicError::WithoutMax)?;
        dynamic.check()
    }
}

impl fmt::Display for Dynamic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { percent, days, floor, ceiling } = self;
        write!(f, "{percent} % of {days} days, between {floor} and {ceiling}")
    }
}

/// A month counts as 30 days, so that its limit does not change with the calendar.
const fn days_in(period: Period) -> u8 {
    match period {
        Period::Week => 7,
        Period::Month => 30,
        Period::Minute | Period::Hour | Period::Day | Period::Lifetime => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const PERIODS: [Period; 3] = [Period::Day, Period::Week, Period::Month];

    fn units(count: u64) -> Units {
        Units::new(count).unwrap()
    }

    fn dynamic(percent: u16, days: u8, floor: u64, ceiling: u64) -> Dynamic {
        Dynamic { percent, days, floor: units(floor), ceiling: units(ceiling) }
    }

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, day).unwrap()
    }

    fn used(units: u64, days: u8) -> DaysUsed {
        DaysUsed { units, days, to: day(25) }
    }

    #[test]
    fn a_limit_is_a_share_of_the_average_day_between_floor_and_ceiling() {
        let rule = dynamic(120, 30, 10, 500);
        for (period, sum, wanted) in [
            (Period::Day, 1_240, 49),
            (Period::Week, 1_240, 347),
            (Period::Month, 100, 120),
            (Period::Day, 249, 10),
            (Period::Day, 0, 10),
            (Period::Month, 1_240, 500),
            (Period::Month, u64::MAX, 500),
        ] {
            assert_eq!(rule.max(period, &used(sum, 30)).get(), wanted, "{period:?} {sum}");
        }
    }

    #[test]
    fn a_reason_says_all_that_the_limit_follows_from() {
        let rule = dynamic(120, 30, 10, 500);
        assert_eq!(
            rule.reason(Period::Day, &used(1_240, 30)),
            "120 % of 41.3 a day over 30 days to 2026-11-25, between 10 and 500"
        );
        assert_eq!(
            rule.reason(Period::Week, &used(7, 1)),
            "120 % of 7.0 a day times 7 over 1 day to 2026-11-25, between 10 and 500"
        );
    }

    #[test]
    fn a_younger_subject_is_averaged_over_its_own_days() {
        let rule = dynamic(120, 30, 10, 500);
        for (first, wanted) in [(day(26), None), (day(25), Some(1)), (day(20), Some(6))] {
            assert_eq!(rule.days_of(first, day(25)), wanted, "{first}");
        }
        let long_ago = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap();
        assert_eq!(rule.days_of(long_ago, day(25)), Some(30));
    }

    #[test]
    fn every_number_has_its_bounds() {
        for (rule, wanted) in [
            (dynamic(0, 30, 1, 2), DynamicError::Percent(0)),
            (dynamic(1_001, 30, 1, 2), DynamicError::Percent(1_001)),
            (dynamic(1, 0, 1, 2), DynamicError::Days(0)),
            (dynamic(1, 91, 1, 2), DynamicError::Days(91)),
            (
                dynamic(1, 90, 3, 2),
                DynamicError::FloorAboveCeiling { floor: units(3), ceiling: units(2) },
            ),
        ] {
            assert_eq!(rule.check(), Err(wanted));
        }
        assert_eq!(dynamic(1_000, 90, 2, 2).check(), Ok(()));
    }

    #[test]
    fn a_limit_follows_usage_only_where_there_is_a_day_to_go_by() {
        let metric = super::super::units::Metric::new("messages").unwrap();
        let daily = Limit {
            dynamic: Some(dynamic(120, 30, 10, 500)),
            reason: Some("r".repeat(200)),
            computed_on: Some(day(25)),
            ..Limit::new(metric, Period::Day, Some(units(100)))
        };
        assert_eq!(daily.check(), Ok(()));
        let scope = super::super::subject::Scope::new("user").ok();
        for (limit, wanted) in [
            (Limit { period: Period::Hour, ..daily.clone() }, DynamicError::Period(Period::Hour)),
            (Limit { max: None, ..daily.clone() }, DynamicError::WithoutMax),
            (Limit { each: scope, ..daily.clone() }, DynamicError::Each),
            (Limit { reason: Some("r".repeat(201)), ..daily.clone() }, DynamicError::Reason),
            (Limit { reason: Some("a\nb".to_owned()), ..daily.clone() }, DynamicError::Reason),
            (Limit { dynamic: None, ..daily.clone() }, DynamicError::Missing),
            (
                Limit { dynamic: Some(dynamic(0, 30, 10, 500)), ..daily.clone() },
                DynamicError::Percent(0),
            ),
        ] {
            assert_eq!(limit.check(), Err(wanted.into()));
        }
        let text = serde_json::to_string(&daily).unwrap();
        assert_eq!(serde_json::from_str::<Limit>(&text).unwrap(), daily);
    }

    proptest! {
        #[test]
        fn a_limit_never_leaves_its_bounds_and_never_falls_when_more_was_used(
            percent in 1_u16..=1_000,
            days in 1_u8..=90,
            bounds in (0..=Units::MAX.get(), 0..=Units::MAX.get()),
            sums in (any::<u64>(), any::<u64>()),
            period in select(PERIODS.to_vec()),
        ) {
            let rule = dynamic(percent, days, bounds.0.min(bounds.1), bounds.0.max(bounds.1));
            let (less, more) = (sums.0.min(sums.1), sums.0.max(sums.1));
            let of = |sum| rule.max(period, &used(sum, days));

            prop_assert!(rule.floor <= of(less) && of(more) <= rule.ceiling);
            prop_assert!(of(less) <= of(more));
            prop_assert!(rule.reason(period, &used(more, days)).len() <= Dynamic::REASON_BYTES_MAX);
        }

        #[test]
        fn constant_usage_at_100_percent_is_its_own_limit(
            a_day in 0_u64..=1_000_000,
            days in 1_u8..=90,
        ) {
            let rule = dynamic(100, days, 0, Units::MAX.get());
            let used = used(a_day * u64::from(days), days);

            prop_assert_eq!(rule.max(Period::Day, &used).get(), a_day);
            prop_assert_eq!(rule.max(Period::Week, &used).get(), 7 * a_day);
            prop_assert_eq!(rule.max(Period::Month, &used).get(), 30 * a_day);
        }
    }
}
