//! Periods and their windows.

use chrono::DateTime;
use chrono::Datelike;
use chrono::Days;
use chrono::Months;
use chrono::NaiveDate;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

/// How often a limit starts anew.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// A calendar day.
    Day,
    /// A calendar week, Monday first (ISO 8601).
    Week,
    /// A calendar month.
    Month,
    /// Never starts anew.
    Lifetime,
}

/// One instance of a period: from `start_s`, which is in it, to `end_s`, which is not. Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// First second of the window.
    pub start_s: i64,
    /// First second after the window.
    pub end_s: i64,
}

impl Period {
    /// Every period, shortest first.
    pub const ALL: [Self; 6] =
        [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Lifetime];

    /// The name in configuration, answers and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Lifetime => "lifetime",
        }
    }

    /// The period called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.as_str() == name)
    }

    /// The one letter that stands for the period in a counter's name; `n` is the minute, `m` the month.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Minute => 'n',
            Self::Hour => 'h',
            Self::Day => 'd',
            Self::Week => 'w',
            Self::Month => 'm',
            Self::Lifetime => 'l',
        }
    }

    /// The period with that letter.
    #[must_use]
    pub fn lettered(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.letter() == letter)
    }

    /// The window that holds the instant, by the UTC calendar with months from the 1st.
    ///
    /// Windows of one period tile the time line: each end is the next one's start.
    #[must_use]
    pub fn window_at(self, at: DateTime<Utc>) -> Window {
        let second = at.timestamp();
        match self {
            Self::Minute => fixed(second, 60),
            Self::Hour => fixed(second, 3_600),
            Self::Day => fixed(second, 86_400),
            Self::Week => calendar(monday_of(at.date_naive()), |day| day + Days::new(7)),
            Self::Month => calendar(first_of_month(at.date_naive()), |day| day + Months::new(1)),
            Self::Lifetime => Window::LIFETIME,
        }
    }
}

impl Window {
    /// The one window of [`Period::Lifetime`]: 1970-01-01 to 9999-12-31.
    pub const LIFETIME: Self = Self { start_s: 0, end_s: 253_402_214_400 };

    /// The window's length in seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.end_s - self.start_s
    }

    /// The first instant, as a date and time.
    #[must_use]
    pub fn start_at(self) -> DateTime<Utc> {
        at_second(self.start_s)
    }

    /// The first instant after the window, as a date and time.
    #[must_use]
    pub fn end_at(self) -> DateTime<Utc> {
        at_second(self.end_s)
    }
}

fn at_second(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).unwrap_or(DateTime::UNIX_EPOCH)
}

const fn fixed(second: i64, length_s: i64) -> Window {
    let start_s = second - second.rem_euclid(length_s);
    Window { start_s, end_s: start_s + length_s }
}

fn calendar(first: NaiveDate, next: impl Fn(NaiveDate) -> NaiveDate) -> Window {
    let midnight = |day: NaiveDate| day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp();
    Window { start_s: midnight(first), end_s: midnight(next(first)) }
}

fn monday_of(day: NaiveDate) -> NaiveDate {
    day - Days::new(u64::from(day.weekday().num_days_from_monday()))
}

fn first_of_month(day: NaiveDate) -> NaiveDate {
    day - Days::new(u64::from(day.day0()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_month_goes_from_the_first_to_the_first() {
        let window = Period::Month.window_at(at("2024-02-29T23:59:59Z"));
        assert_eq!(window.start_at(), at("2024-02-01T00:00:00Z"));
        assert_eq!(window.end_at(), at("2024-03-01T00:00:00Z"));
    }

    #[test]
    fn a_week_begins_on_monday() {
        let window = Period::Week.window_at(at("2026-11-22T12:00:00Z"));
        assert_eq!(window.start_at(), at("2026-11-16T00:00:00Z"));
        assert_eq!(window.seconds(), 7 * 86_400);
    }

    #[test]
    fn letters_and_names_are_one_to_one() {
        for period in Period::ALL {
            assert_eq!(Period::named(period.as_str()), Some(period));
            assert_eq!(Period::lettered(period.letter()), Some(period));
        }
    }

    proptest! {
        #[test]
        fn windows_tile_the_time_line(second in 0_i64..4_102_444_800, index in 0_usize..5) {
            let period = Period::ALL[index];
            let window = period.window_at(at_second(second));
            prop_assert!(window.start_s <= second && second < window.end_s);
            prop_assert_eq!(period.window_at(window.end_at()).start_s, window.end_s);
            prop_assert_eq!(period.window_at(at_second(window.end_s - 1)), window);
        }
    }
}
