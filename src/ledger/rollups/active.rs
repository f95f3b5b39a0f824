//! The table `active_days`: how many subjects were active on a day, by the days since each was active before.
//!
//! A subject that was active on some of the days from `a` to `b` was so on exactly one day before which it was not active since
//! `a`. So the distinct subjects of any days are a sum over this table: no subject is looked at.

use std::collections::BTreeMap;

use chrono::Datelike;
use chrono::Days;
use chrono::NaiveDate;
use tokio_postgres::Row;

use super::super::error::LedgerError;
use super::super::tx::Params;
use super::super::tx::Tx;
use super::super::tx::column;

/// What is said of a subject that was away for longer than anybody asks for, or never there before.
const AWAY_MAX: i64 = 93;

const ADD_ACTIVE: &str = "-- add_active
INSERT INTO active_days (day, metric, away, subjects)
SELECT * FROM unnest($1::date[], $2::text[], $3::smallint[], $4::bigint[])
ON CONFLICT (day, metric, away) DO UPDATE SET subjects = active_days.subjects + excluded.subjects";

/// Months with their active days: bit 0 is the first of the month.
type Months = BTreeMap<NaiveDate, i64>;

/// Subjects to which a fold gave the same days: the months that are near, as they were and as they are.
pub(super) struct Came {
    metric: String,
    before: Months,
    after: Months,
    subjects: i64,
}

impl Came {
    pub(super) fn read(row: &Row) -> Result<Self, LedgerError> {
        let months = |months, days| -> Result<Months, LedgerError> {
            let (months, days): (Vec<NaiveDate>, Vec<i64>) =
                (column(row, months)?, column(row, days)?);
            Ok(months.into_iter().zip(days).collect())
        };
        let before = months("known_months", "known_days")?;
        let mut after = before.clone();
        after.extend(months("months", "days")?);
        Ok(Self {
            metric: column(row, "metric")?,
            before,
            after,
            subjects: column(row, "subjects")?,
        })
    }
}

/// How many subjects more were active: by day, metric and days away.
type Changes<'a> = BTreeMap<(NaiveDate, &'a str, i64), i64>;

/// Counts what subjects have become, and no longer what they were.
pub(super) async fn add(tx: &Tx, came: &[Came]) -> Result<(), LedgerError> {
    let changes = changes(came);
    if changes.is_empty() {
        return Ok(());
    }
    let days: Vec<NaiveDate> = changes.keys().map(|(day, ..)| *day).collect();
    let metrics: Vec<&str> = changes.keys().map(|(_, metric, _)| *metric).collect();
    let away: Vec<i16> =
        changes.keys().map(|(.., away)| i16::try_from(*away).unwrap_or(i16::MAX)).collect();
    let subjects: Vec<i64> = changes.values().copied().collect();
    let params: Params<'_> = &[&days, &metrics, &away, &subjects];
    tx.execute(ADD_ACTIVE, params).await.map(drop)
}

fn changes(came: &[Came]) -> Changes<'_> {
    let mut changes = Changes::new();
    for it in came {
        for (months, subjects) in [(&it.before, -it.subjects), (&it.after, it.subjects)] {
            for (day, away) in returns(months) {
                *changes.entry((day, it.metric.as_str(), away)).or_default() += subjects;
            }
        }
    }
    changes.retain(|_, subjects| *subjects != 0);
    changes
}

/// Each active day, and the days since the one before.
fn returns(months: &Months) -> Vec<(NaiveDate, i64)> {
    let mut last: Option<NaiveDate> = None;
    let mut returns = Vec::new();
    for day in months.iter().flat_map(|(month, days)| days_of(*month, *days)) {
        let away = last.map_or(AWAY_MAX, |last| (day - last).num_days().min(AWAY_MAX));
        returns.push((day, away));
        last = Some(day);
    }
    returns
}

fn days_of(month: NaiveDate, days: i64) -> impl Iterator<Item = NaiveDate> {
    let bits = (0..31_u64).filter(move |bit| days & (1 << bit) != 0);
    bits.filter_map(move |bit| month.checked_add_days(Days::new(bit)))
        .filter(move |day| day.month() == month.month())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn month(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn came(before: &[(&str, i64)], after: &[(&str, i64)], subjects: i64) -> Came {
        let months = |it: &[(&str, i64)]| it.iter().map(|(at, days)| (month(at), *days)).collect();
        Came {
            metric: "messages".to_owned(),
            before: months(before),
            after: months(after),
            subjects,
        }
    }

    #[test]
    fn a_day_between_two_others_changes_how_long_the_later_was_away_from() {
        let came = [came(
            &[("2027-01-01", 1 << 30), ("2027-02-01", 1 << 9)],
            &[("2027-01-01", 1 << 30), ("2027-02-01", 1 << 9 | 1 << 4)],
            3,
        )];

        let (fifth, tenth) = (month("2027-02-05"), month("2027-02-10"));
        let expected = [((fifth, "messages", 5), 3), ((tenth, "messages", 5), 3)];
        let expected: Changes<'_> =
            expected.into_iter().chain([((tenth, "messages", 10), -3)]).collect();
        assert_eq!(changes(&came), expected);
    }

    #[test]
    fn the_first_day_of_all_was_away_from_for_the_longest() {
        let came = [came(&[], &[("2027-03-01", 1)], 1)];

        assert_eq!(changes(&came), [((month("2027-03-01"), "messages", 93), 1)].into());
    }

    proptest! {
        /// The sum that answers how many subjects were active: one for each of which a day was, whatever the days.
        #[test]
        fn a_subject_is_counted_once_in_days_of_which_it_was_active_on_some(
            masks in proptest::collection::vec(0_i64..1 << 28, 4),
            from in 0_u64..90,
            length in 0_u64..92,
        ) {
            let months = ["2027-01-01", "2027-02-01", "2027-03-01", "2027-04-01"].map(month);
            let months: Months = months.into_iter().zip(masks).collect();
            let from = month("2027-01-01") + Days::new(from);
            let asked = from..=from + Days::new(length);

            let returns = returns(&months);

            let is_active = returns.iter().any(|(day, _)| asked.contains(day));
            let first = |(day, away): &&(NaiveDate, i64)| {
                asked.contains(day) && *away > (*day - from).num_days()
            };
            prop_assert_eq!(returns.iter().filter(first).count(), usize::from(is_active));
        }
    }
}
