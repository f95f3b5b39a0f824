//! The table `subject_months`: each subject's usage by the month, and the days on which it was active.

use std::collections::BTreeMap;

use chrono::Datelike;
use chrono::NaiveDate;

use super::super::convert::date;
use super::super::error::LedgerError;
use super::super::tx::Tx;
use super::super::tx::column;
use super::days::NewlyActive;
use super::tally::DayKey;
use super::tally::Sum;

// `new_days` is what was not there before, so that the answer says which days are to be counted as active.
const ADD_TO_MONTHS: &str = "-- add_to_months
INSERT INTO subject_months (month, metric, subject, events, units, days, new_days)
SELECT sum.*, sum.days FROM unnest(
    $1::date[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]
) AS sum (month, metric, subject, events, units, days)
ON CONFLICT (month, metric, subject) DO UPDATE SET
    events = subject_months.events + excluded.events,
    units = subject_months.units + excluded.units,
    days = subject_months.days | excluded.days,
    new_days = excluded.days & ~subject_months.days
RETURNING month, metric, new_days";

/// First day of the month, metric, subject.
type MonthKey<'a> = (NaiveDate, &'a str, &'a str);

#[derive(Default)]
struct MonthSum {
    sum: Sum,
    /// Bit 0 is the first of the month.
    days: i64,
}

/// Adds the sums, and answers how many subjects became active on which days.
pub(super) async fn add(
    tx: &Tx,
    days: &BTreeMap<DayKey<'_>, Sum>,
) -> Result<NewlyActive, LedgerError> {
    let sums = by_month(days)?;
    let months: Vec<_> = sums.keys().map(|key| key.0).collect();
    let metrics: Vec<_> = sums.keys().map(|key| key.1).collect();
    let subjects: Vec<_> = sums.keys().map(|key| key.2).collect();
    let events: Vec<_> = sums.values().map(|it| it.sum.events).collect();
    let units: Vec<_> = sums.values().map(|it| it.sum.units).collect();
    let active: Vec<_> = sums.values().map(|it| it.days).collect();
    let params: super::super::tx::Params<'_> =
        &[&months, &metrics, &subjects, &events, &units, &active];
    let rows = tx.rows(ADD_TO_MONTHS, params).await?;
    let mut newly_active = NewlyActive::new();
    for row in rows {
        let new_days: i64 = column(&row, "new_days")?;
        if new_days != 0 {
            count(&mut newly_active, column(&row, "month")?, column(&row, "metric")?, new_days);
        }
    }
    Ok(newly_active)
}

fn by_month<'a>(
    days: &BTreeMap<DayKey<'a>, Sum>,
) -> Result<BTreeMap<MonthKey<'a>, MonthSum>, LedgerError> {
    let mut sums: BTreeMap<MonthKey<'a>, MonthSum> = BTreeMap::new();
    for ((day, subject, metric, _model), sum) in days {
        let day = date(*day)?;
        let month = day.with_day(1).unwrap_or(day);
        let of_month = sums.entry((month, *metric, *subject)).or_default();
        of_month.sum.add(*sum)?;
        // A day that has only refunds is no day of activity.
        of_month.days |= i64::from(sum.events > 0) << day.day0();
    }
    Ok(sums)
}

fn count(newly_active: &mut NewlyActive, month: NaiveDate, metric: String, new_days: i64) {
    let days = (0..31).filter(|day| new_days & (1 << day) != 0);
    for day in days.filter_map(|day| month.with_day(day + 1)) {
        *newly_active.entry((day, metric.clone())).or_default() += 1;
    }
}
