//! When a limit is reached if things go on as they do (docs/ANALYTICS.md has the method).

use chrono::DateTime;
use chrono::NaiveDate;
use chrono::TimeDelta;
use chrono::Utc;
use serde::Serialize;
use utoipa::ToSchema;

use super::limit::Limit;
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
            let of_day = found.iter().filter(|(found, _)| *found == day).map(|(_, units)| units.max(&0));
            of_day.fold(0_i64, |sum, units| sum.saturating_add(*units))
        };
        Self { units: first.iter_days().take_while(|day| *day < today).map(on).collect() }
    }

    /// The average of the last seven days, or of as many as there are, in thousandths of a unit a day.
    #[must_use]
    pub fn average_milliunits(&self) -> i64 {
        let days = self.last(0);
        let sum = days.iter().fold(0_i128, |sum, units| sum + i128::from(*units));
        let count = i128::try_from(days.len().max(1)).unwrap_or(1);
        i64::try_from(sum * 1_000 / count).unwrap_or(i64::MAX)
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
        let sum = |days: &[i64]| days.iter().fold(0_i128, |sum, units| sum + i128::from(*units));
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

    /// At most seven days, `weeks` weeks before the last.
    fn last(&self, weeks: usize) -> &[i64] {
        let end = self.units.len().saturating_sub(weeks * WEEK);
        &self.units[end.saturating_sub(WEEK)..end]
    }
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
        let left = self.ends_at()? - self.now;
        // A day that has begun counts as one.
        let days = left.num_milliseconds().max(1).div_euclid(DAY_MS) + 1;
        let whole = left.num_milliseconds().rem_euclid(DAY_MS) == 0;
        let days = u64::try_from(days - i64::from(whole)).unwrap_or(1).max(1);
        self.remaining.map(|remaining| remaining / days)
    }

    /// When the window ends; a lifetime's does not.
    fn ends_at(&self) -> Option<DateTime<Utc>> {
        (self.window != Window::LIFETIME).then(|| self.window.end_at())
    }

    /// Units that will be used until the window ends, when usage goes on as on average; `None` for a lifetime.
    #[must_use]
    pub fn expected(&self, usage: &DailyUsage) -> Option<u64> {
        let left_ms = (self.ends_at()? - self.now).num_milliseconds().max(0);
        let units = i128::from(usage.average_milliunits()) * i128::from(left_ms) / 1_000 / i128::from(DAY_MS);
        u64::try_from(units).ok()
    }
}

/// Whether a forecast makes sense for the limit: a minute and an hour are shorter than the days it goes by.
#[must_use]
pub const fn is_foretold(limit_window: Window) -> bool {
    limit_window.seconds() >= 82_800
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

/// The limit's own share from which hints are given, in percent: that of its warning.
#[must_use]
pub const fn hints_from_percent(limit: &Limit) -> u8 {
    limit.warning_percent
}
