//! The calendar by which a subject's days, weeks and months begin.

use chrono::DateTime;
use chrono::NaiveDate;
use chrono::NaiveTime;
use chrono::TimeZone;
use chrono::Utc;
use chrono_tz::GapInfo;
use chrono_tz::Tz;
use serde::Deserialize;
use serde::Serialize;

/// The day of the month on which a subject's months begin: 1–31, clamped to the length of each month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u8")]
pub struct AnchorDay(u8);

impl AnchorDay {
    /// The first of the month, the default.
    pub const FIRST: Self = Self(1);

    /// # Errors
    ///
    /// [`CalendarError::BadAnchorDay`] when `day` is not 1–31.
    pub fn new(day: i64) -> Result<Self, CalendarError> {
        match u8::try_from(day) {
            Ok(small @ 1..=31) => Ok(Self(small)),
            _ => Err(CalendarError::BadAnchorDay(day)),
        }
    }

    /// The day as a plain number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for AnchorDay {
    fn default() -> Self {
        Self::FIRST
    }
}

impl TryFrom<i64> for AnchorDay {
    type Error = CalendarError;

    fn try_from(day: i64) -> Result<Self, CalendarError> {
        Self::new(day)
    }
}

impl From<AnchorDay> for u8 {
    fn from(day: AnchorDay) -> Self {
        day.0
    }
}

/// A time zone and the day on which months begin. Days, weeks and months of a subject follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Calendar {
    /// The zone whose local dates count.
    pub zone: Tz,
    /// The day on which months begin.
    pub anchor_day: AnchorDay,
}

/// Why something is not a calendar. The message never repeats the name, which may be long or hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// A name that the IANA database does not hold. Names are told apart by case.
    #[error("time_zone must be an IANA time zone such as Europe/Berlin")]
    UnknownTimeZone,
    /// A day that no month has.
    #[error("anchor_day must be 1 to 31, got {0}")]
    BadAnchorDay(i64),
}

impl Calendar {
    /// Days from midnight UTC, months from the 1st: the default.
    pub const UTC: Self = Self { zone: Tz::UTC, anchor_day: AnchorDay::FIRST };

    /// The calendar of the zone with that IANA name, its months beginning on `anchor_day` (1–31).
    ///
    /// # Errors
    ///
    /// [`CalendarError`] naming the field that is wrong.
    pub fn parse(time_zone: &str, anchor_day: i64) -> Result<Self, CalendarError> {
        let zone = time_zone.parse().map_err(|_| CalendarError::UnknownTimeZone)?;
        Ok(Self { zone, anchor_day: AnchorDay::new(anchor_day)? })
    }

    /// The local date at an instant.
    #[must_use]
    pub fn date_at(&self, at: DateTime<Utc>) -> NaiveDate {
        match self.zone {
            Tz::UTC => at.date_naive(),
            zone => at.with_timezone(&zone).date_naive(),
        }
    }

    /// The first Unix second at which the local date is `date`, or a later one where the zone skipped `date`.
    #[must_use]
    pub fn first_second_of(&self, date: NaiveDate) -> i64 {
        let midnight = date.and_time(NaiveTime::MIN);
        if self.zone == Tz::UTC {
            return midnight.and_utc().timestamp();
        }
        let begin = self.zone.from_local_datetime(&midnight).earliest();
        // No clock of the zone ever showed this midnight: the date begins where the clocks were put forward to.
        let begin = begin.or_else(|| GapInfo::new(&midnight, &self.zone)?.end);
        begin.map_or_else(|| midnight.and_utc().timestamp(), |at| at.timestamp())
    }
}

impl Default for Calendar {
    fn default() -> Self {
        Self::UTC
    }
}

/// A zone by its IANA name, for serde.
pub(super) mod time_zone {
    use std::borrow::Cow;

    use serde::Deserializer;
    use serde::Serializer;
    use serde::de::Error as _;

    use super::CalendarError;
    use super::Deserialize;
    use super::Tz;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field")]
    pub(in crate::domain) fn serialize<S: Serializer>(
        zone: &Tz,
        output: S,
    ) -> Result<S::Ok, S::Error> {
        output.serialize_str(zone.name())
    }

    pub(in crate::domain) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Tz, D::Error> {
        let name = Cow::<str>::deserialize(input)?;
        name.parse().map_err(|_| D::Error::custom(CalendarError::UnknownTimeZone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_second(zone: &str, date: &str) -> String {
        let calendar = Calendar::parse(zone, 1).unwrap();
        let second = calendar.first_second_of(date.parse().unwrap());
        DateTime::from_timestamp(second, 0).unwrap().to_rfc3339()
    }

    #[test]
    fn a_date_begins_when_a_clock_of_the_zone_first_shows_it() {
        for (zone, date, begin) in [
            ("UTC", "2026-11-22", "2026-11-22T00:00:00+00:00"),
            ("Asia/Kolkata", "2026-11-22", "2026-11-21T18:30:00+00:00"),
            // The clocks went from 00:00 to 01:00.
            ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00+00:00"),
            // The clocks went back from 01:00 to 00:00: midnight came twice.
            ("America/Havana", "2026-11-01", "2026-11-01T04:00:00+00:00"),
            // The clocks went back from 00:01 to 23:01 of the day before: the date began twice.
            ("America/St_Johns", "2009-11-01", "2009-11-01T02:30:00+00:00"),
            // There was no 30th of December.
            ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00+00:00"),
            ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00+00:00"),
        ] {
            assert_eq!(first_second(zone, date), begin, "{zone} {date}");
        }
    }

    #[test]
    fn a_calendar_has_a_zone_of_the_database_and_a_day_of_a_month() {
        assert_eq!(Calendar::parse("UTC", 1), Ok(Calendar::UTC));
        assert_eq!(Calendar::parse("Pacific/Apia", 31).unwrap().anchor_day.get(), 31);
        for name in ["", "Mars/Olympus", "europe/berlin", "+02:00"] {
            assert_eq!(Calendar::parse(name, 1), Err(CalendarError::UnknownTimeZone), "{name}");
        }
        for day in [0, 32, -1, 257, i64::MAX] {
            assert_eq!(Calendar::parse("UTC", day), Err(CalendarError::BadAnchorDay(day)));
        }
    }

    #[test]
    fn an_anchor_day_reads_back_and_names_its_bound() {
        assert_eq!(serde_json::from_str::<AnchorDay>("31").unwrap(), AnchorDay(31));
        assert_eq!(serde_json::to_string(&AnchorDay(31)).unwrap(), "31");
        let error = serde_json::from_str::<AnchorDay>("256").unwrap_err().to_string();
        assert!(error.contains("anchor_day must be 1 to 31, got 256"), "{error}");
    }
}
