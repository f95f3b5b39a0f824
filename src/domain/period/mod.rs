//! Periods and their windows.

use chrono::DateTime;
use chrono::Datelike;
use chrono::Days;
use chrono::Months;
use chrono::NaiveDate;
use chrono::TimeDelta;
use chrono::Utc;
use chrono_tz::Tz;
use serde::Deserialize;
use serde::Serialize;

use super::calendar::AnchorDay;
use super::calendar::Calendar;

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

    /// The window that holds the instant.
    ///
    /// Days, weeks and months follow the calendar and begin at the first instant of a local date; minutes and hours are
    /// aligned to UTC in every zone. Windows of one period and calendar tile the time line: none is empty, and each end
    /// is the next one's start. A date that the zone skipped has no window of its own, and one that began twice has one
    /// from its first beginning. In UTC this costs some nanoseconds, elsewhere three or four look-ups of an offset.
    #[must_use]
    pub fn window_at(self, at: DateTime<Utc>, calendar: &Calendar) -> Window {
        let second = at.timestamp();
        let anchor = calendar.anchor_day;
        match self {
            Self::Minute => fixed(second, 60),
            Self::Hour => fixed(second, 3_600),
            Self::Day if calendar.zone == Tz::UTC => fixed(second, 86_400),
            Self::Day => dated(at, *calendar, |date| date, |day| day + Days::new(1)),
            Self::Week => dated(at, *calendar, monday_of, |monday| monday + Days::new(7)),
            Self::Month => dated(
                at,
                *calendar,
                |date| month_begin(date, anchor),
                |begin| anchored(first_of_month(begin) + Months::new(1), anchor),
            ),
            Self::Lifetime => Window::LIFETIME,
        }
    }

    /// How long a slice of a sliding limit lasts, in seconds; `None` but for the minute and the hour.
    #[must_use]
    pub const fn slice_s(self) -> Option<i64> {
        match self {
            Self::Minute => Some(10),
            Self::Hour => Some(600),
            Self::Day | Self::Week | Self::Month | Self::Lifetime => None,
        }
    }

    /// The slices that a sliding limit counts in, as of the instant; `None` but for the minute and the hour.
    ///
    /// A slice is a sixth of the period, aligned to UTC. The current one and the 6 before it cover the trailing period
    /// whole, wherever in the current slice the instant is.
    #[must_use]
    pub fn slices(self, at: DateTime<Utc>) -> Option<Slices> {
        let length_s = self.slice_s()?;
        let current = fixed(at.timestamp(), length_s);
        let earlier_s = [1, 2, 3, 4, 5, 6].map(|back| current.start_s - back * length_s);
        Some(Slices { current, earlier_s })
    }
}

/// The parts of a trailing minute or hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    /// The slice that holds the instant; what is charged now counts in it.
    pub current: Window,
    /// The first seconds of the slices before it that still count, the latest first. Unix seconds.
    pub earlier_s: [i64; 6],
}

impl Slices {
    /// How many slices make a period.
    pub const A_PERIOD: i64 = 6;
}

impl Window {
    /// The one window of [`Period::Lifetime`]: 1970-01-01 to 9999-12-31.
    pub const LIFETIME: Self = Self { start_s: 0, end_s: 253_402_214_400 };
    /// Two calendars may have windows of a period that begin together. They end less than this apart: months that are
    /// anchored on the 28th and the 31st begin together in February, and end three days apart in March.
    pub const ENDS_APART_MAX: TimeDelta = TimeDelta::days(4);

    /// Its start and its end in Unix milliseconds.
    #[must_use]
    pub const fn ms(&self) -> (i64, i64) {
        (self.start_s * 1_000, self.end_s * 1_000)
    }

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

/// The window of the period whose first date is `begin` of the local date, and which ends where the `next` first date
/// begins.
fn dated(
    at: DateTime<Utc>,
    calendar: Calendar,
    begin: impl Fn(NaiveDate) -> NaiveDate,
    next: impl Fn(NaiveDate) -> NaiveDate,
) -> Window {
    let first = begin(calendar.date_at(at));
    let following = next(first);
    let end_s = calendar.first_second_of(following);
    if at.timestamp() < end_s {
        return Window { start_s: calendar.first_second_of(first), end_s };
    }
    // The clocks went back across midnight: for a while they show the old date again, in the window of the new one.
    Window { start_s: end_s, end_s: calendar.first_second_of(next(following)) }
}

fn monday_of(day: NaiveDate) -> NaiveDate {
    day - Days::new(u64::from(day.weekday().num_days_from_monday()))
}

fn first_of_month(day: NaiveDate) -> NaiveDate {
    day - Days::new(u64::from(day.day0()))
}

/// The last `anchor` day that is not after `date`.
fn month_begin(date: NaiveDate, anchor: AnchorDay) -> NaiveDate {
    let first = first_of_month(date);
    let begin = anchored(first, anchor);
    if begin <= date { begin } else { anchored(first - Months::new(1), anchor) }
}

/// The anchor day of the month that begins on `first`, or the month's last day where it is shorter.
fn anchored(first: NaiveDate, anchor: AnchorDay) -> NaiveDate {
    let day = first.with_day(u32::from(anchor.get()));
    day.unwrap_or_else(|| first + Months::new(1) - Days::new(1))
}

#[cfg(test)]
mod tests;
