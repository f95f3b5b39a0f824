//! When a limit is reached if things go on as they do (docs/ANALYTICS.md has the method).

use chrono::DateTime;
use chrono::NaiveDate;
use chrono::TimeDelta;
use chrono::Utc;
use serde::Serialize;
use utoipa::ToSchema;

use super::period::Window;

const DAY_MS: i64 = 86_400_000;
/// Days that are averaged, so that every weekday counts once.
const WEEK: usize = 7;
/// Days with data without which nothing is foretold.
const DAYS_MIN: usize = 3;
/// A change of the weekly average from which there is a trend, in percent.
const TREND_PERCENT: i64 = 15;

/// Where usage goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trend {
    /// More than before.
    Increasing,
    /// Less than before.
    Decreasing,
    /// About as before, or too few days to tell.
    Stable,
}

/// Why no instant is foretold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoForecast {
    /// Fewer than three whole days since the first usage.
    TooFewDays,
    /// Nothing was used on the last seven days.
    NoUsage,
    /// The limit is not reached before it starts anew.
    ResetsBefore,
    /// There is no limit.
    Unlimited,
    /// The limit is so far away that the day has no date.
    TooFar,
}

/// The usage of whole days, one entry a day up to yesterday.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyUsage {
    /// Units a day from the first day with usage on, the oldest first; days without usage are 0.
    pub units: Vec<i64>,
}

impl DailyUsage {
    /// The whole days from the first of `found` to the day before `today`; `found` are days with usage, in order.
    #[must_use]
    pub fn before(today: NaiveDate, found: &[(NaiveDate, i64)]) -> Self {
        let Some((first, _)) = found.first() else { return Self { units: Vec::new() } };
        let on = |day: NaiveDate| {
            let of_day =
                found.iter().filter(|(found, _)| *found == day).map(|(_, units)| units.max(&0));
            of_day.fold(0_i64, |sum, units| sum.saturating_add(*units))
        };
        Self { units: first.iter_days().take_while(|day| *day < today).map(on).collect() }
    }

    /// The average of the last seven days, or of as many as there are, in thousandths of a unit a day.
    #[must_use]
    pub fn average_milliunits(&self) -> i64 {
        let days = &self.units[self.units.len().saturating_sub(WEEK)..];
        let count = i128::try_from(days.len().max(1)).unwrap_or(1);
        i64::try_from(sum(days) * 1_000 / count).unwrap_or(i64::MAX)
    }

    /// The last seven days beside the seven before; with fewer than 14 days, halves of those there are.
    #[must_use]
    pub fn trend(&self) -> Trend {
        let half = (self.units.len() / 2).min(WEEK);
        if half < DAYS_MIN {
            return Trend::Stable;
        }
        let (_, newest) = self.units.split_at(self.units.len() - 2 * half);
        let (before, after) = newest.split_at(half);
        let (before, after) = (sum(before), sum(after));
        let percent = i128::from(TREND_PERCENT);
        if after * 100 > before * (100 + percent) {
            Trend::Increasing
        } else if after * 100 < before * (100 - percent) {
            Trend::Decreasing
        } else {
            Trend::Stable
        }
    }
}

fn sum(days: &[i64]) -> i128 {
    days.iter().map(|units| i128::from(*units)).sum()
}

/// A limit and what is used of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What is left; `None` is unlimited.
    pub remaining: Option<u64>,
    /// The window that is counted.
    pub window: Window,
    /// Now.
    pub now: DateTime<Utc>,
}

/// What is foretold of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// When the limit is reached, or why that is not foretold.
    pub exhausts_at: Result<DateTime<Utc>, NoForecast>,
    /// Whole days from now until then.
    pub days_until_limit: Option<u64>,
    /// Units a day with which what is left lasts until the window ends; `None` without a limit or an end.
    pub recommended_daily: Option<u64>,
}

impl Reading {
    /// What is foretold when usage goes on as on average.
    #[must_use]
    pub fn forecast(&self, usage: &DailyUsage) -> Forecast {
        let exhausts_at = self.exhausts_at(usage);
        let until = exhausts_at.ok().map(|at| at - self.now);
        Forecast {
            exhausts_at,
            days_until_limit: until.and_then(|until| u64::try_from(until.num_days()).ok()),
            recommended_daily: self.recommended_daily(),
        }
    }

    fn exhausts_at(&self, usage: &DailyUsage) -> Result<DateTime<Utc>, NoForecast> {
        let remaining = self.remaining.ok_or(NoForecast::Unlimited)?;
        if remaining == 0 {
            return Ok(self.now);
        }
        if usage.units.len() < DAYS_MIN {
            return Err(NoForecast::TooFewDays);
        }
        let average = usage.average_milliunits();
        if average == 0 {
            return Err(NoForecast::NoUsage);
        }
        let wait_ms = i128::from(remaining) * 1_000 * i128::from(DAY_MS) / i128::from(average);
        let wait = i64::try_from(wait_ms).ok().and_then(TimeDelta::try_milliseconds);
        let at = wait.and_then(|wait| self.now.checked_add_signed(wait));
        let at = at.ok_or(NoForecast::TooFar)?;
        match self.ends_at() {
            Some(end) if at >= end => Err(NoForecast::ResetsBefore),
            _ => Ok(at),
        }
    }

    fn recommended_daily(&self) -> Option<u64> {
        let left_ms = (self.ends_at()? - self.now).num_milliseconds();
        // A day that has begun counts as one.
        let days = u64::try_from(left_ms).unwrap_or(0).div_ceil(DAY_MS.unsigned_abs());
        self.remaining.map(|remaining| remaining / days.max(1))
    }

    /// When the window ends; a lifetime's does not.
    fn ends_at(&self) -> Option<DateTime<Utc>> {
        (self.window != Window::LIFETIME).then(|| self.window.end_at())
    }

    /// Units that will be used until the window ends, when usage goes on as on average; `None` for a lifetime.
    #[must_use]
    pub fn expected(&self, usage: &DailyUsage) -> Option<u64> {
        let left_ms = (self.ends_at()? - self.now).num_milliseconds().max(0);
        let units = i128::from(usage.average_milliunits()) * i128::from(left_ms)
            / 1_000
            / i128::from(DAY_MS);
        u64::try_from(units).ok()
    }
}

/// Something that would make the limit last longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Hint {
    /// The cheapest listed plan that has room for what is expected.
    Plan {
        /// Its name.
        plan: String,
    },
    /// A model that charges less of the metric than one that was used.
    Model {
        /// The model that was used.
        model: String,
        /// Units that it charges a use.
        charges: u32,
        /// A model that charges less.
        cheaper: String,
        /// Units that this one charges a use.
        cheaper_charges: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(units: &[i64]) -> DailyUsage {
        DailyUsage { units: units.to_vec() }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// A limit of November, looked at in the evening of the 10th: 20 days and six hours are left.
    fn november(remaining: Option<u64>) -> Reading {
        let (start_s, end_s) =
            (at("2026-11-01T00:00:00Z").timestamp(), at("2026-12-01T00:00:00Z").timestamp());
        let window = Window { start_s, end_s };
        Reading { remaining, window, now: at("2026-11-10T18:00:00Z") }
    }

    #[test]
    fn a_constant_series_reaches_the_limit_when_arithmetic_says_so() {
        let usage = usage(&[4; 14]);
        assert_eq!((usage.average_milliunits(), usage.trend()), (4_000, Trend::Stable));
        let forecast = november(Some(42)).forecast(&usage);
        assert_eq!(forecast.exhausts_at, Ok(at("2026-11-21T06:00:00Z")));
        assert_eq!((forecast.days_until_limit, forecast.recommended_daily), (Some(10), Some(2)));
        assert_eq!(november(Some(42)).expected(&usage), Some(81));
    }

    #[test]
    fn the_average_is_that_of_the_last_week_and_of_its_days_without_usage_too() {
        assert_eq!(usage(&[100, 0, 0, 0, 0, 0, 0, 1]).average_milliunits(), 142);
        assert_eq!(usage(&[3, 4, 5]).average_milliunits(), 4_000);
        assert_eq!(usage(&[]).average_milliunits(), 0);
        assert_eq!(usage(&[i64::MAX; 7]).average_milliunits(), i64::MAX);
    }

    #[test]
    fn a_week_that_differs_by_more_than_15_percent_is_a_trend() {
        let of = |before, after| usage(&[[before; 7], [after; 7]].concat()).trend();
        assert_eq!(of(100, 116), Trend::Increasing);
        assert_eq!((of(100, 115), of(100, 85)), (Trend::Stable, Trend::Stable));
        assert_eq!(of(100, 84), Trend::Decreasing);
        assert_eq!(
            (of(0, 1), of(1, 0), of(0, 0)),
            (Trend::Increasing, Trend::Decreasing, Trend::Stable)
        );
        assert_eq!(usage(&[1, 1, 1, 5, 5, 5]).trend(), Trend::Increasing);
        assert_eq!(usage(&[1, 1, 5, 5, 5]).trend(), Trend::Stable);
    }

    #[test]
    fn the_rhythm_of_the_week_is_no_trend() {
        let week = [10, 12, 11, 13, 9, 1, 0];
        let fortnight = usage(&[week, week].concat());
        assert_eq!(fortnight.trend(), Trend::Stable);
        let shifted: Vec<i64> = (0..14).map(|day| week[(day + 3) % 7]).collect();
        assert_eq!(usage(&shifted).trend(), Trend::Stable);
    }

    #[test]
    fn where_nothing_can_be_foretold_the_reason_is_told() {
        let reason = |reading: &Reading, units: &[i64]| reading.forecast(&usage(units)).exhausts_at;
        assert_eq!(reason(&november(Some(9)), &[5, 5]), Err(NoForecast::TooFewDays));
        assert_eq!(reason(&november(Some(9)), &[5, 0, 0, 0, 0, 0, 0, 0]), Err(NoForecast::NoUsage));
        assert_eq!(reason(&november(Some(900)), &[5; 7]), Err(NoForecast::ResetsBefore));
        assert_eq!(reason(&november(None), &[5; 7]), Err(NoForecast::Unlimited));
        let lifetime = Reading { window: Window::LIFETIME, ..november(Some(u64::MAX)) };
        assert_eq!(reason(&lifetime, &[1; 7]), Err(NoForecast::TooFar));
        assert_eq!(lifetime.forecast(&usage(&[1; 7])).recommended_daily, None);
        assert_eq!(lifetime.expected(&usage(&[1; 7])), None);
    }

    #[test]
    fn a_spent_limit_is_reached_now_and_leaves_nothing_a_day() {
        let forecast = november(Some(0)).forecast(&usage(&[]));
        assert_eq!(forecast.exhausts_at, Ok(at("2026-11-10T18:00:00Z")));
        assert_eq!((forecast.days_until_limit, forecast.recommended_daily), (Some(0), Some(0)));
    }

    #[test]
    fn days_are_counted_from_the_first_with_usage_and_today_is_not_whole() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let found = [
            (day("2026-11-06"), 2),
            (day("2026-11-06"), 3),
            (day("2026-11-09"), -7),
            (day("2026-11-10"), 50),
        ];
        assert_eq!(DailyUsage::before(day("2026-11-10"), &found).units, [5, 0, 0, 0]);
        assert_eq!(DailyUsage::before(day("2026-11-10"), &[]).units, Vec::<i64>::new());
    }

    #[test]
    fn three_days_are_enough_for_a_forecast_and_two_are_not() {
        assert_eq!(
            november(Some(8)).forecast(&usage(&[4; 2])).exhausts_at,
            Err(NoForecast::TooFewDays)
        );
        let three = november(Some(8)).forecast(&usage(&[4; 3]));
        assert_eq!(three.exhausts_at, Ok(at("2026-11-12T18:00:00Z")));
    }
}
