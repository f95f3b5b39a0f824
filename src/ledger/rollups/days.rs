//! The tables `usage_days` and `active_days`: each subject's usage by the day, and how many subjects were active.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::super::convert::date;
use super::super::error::LedgerError;
use super::super::tx::Tx;
use super::tally::DayKey;
use super::tally::Sum;

const ADD_TO_DAYS: &str = "-- add_to_days
INSERT INTO usage_days (day, subject, metric, model, events, units)
SELECT sum.* FROM unnest(
    $1::date[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[]
) AS sum
ON CONFLICT (day, subject, metric, model) DO UPDATE SET
    events = usage_days.events + excluded.events,
    units = usage_days.units + excluded.units";

const ADD_TO_ACTIVE_DAYS: &str = "-- add_to_active_days
INSERT INTO active_days (day, shard, metric, subjects)
SELECT sum.day, $1, sum.metric, sum.subjects
FROM unnest($2::date[], $3::text[], $4::bigint[]) AS sum (day, metric, subjects)
ON CONFLICT (day, shard, metric) DO UPDATE SET
    subjects = active_days.subjects + excluded.subjects";

/// How many subjects became active, by day and metric.
pub(super) type NewlyActive = BTreeMap<(NaiveDate, String), i64>;

pub(super) async fn add(tx: &Tx, sums: &BTreeMap<DayKey<'_>, Sum>) -> Result<(), LedgerError> {
    let days: Vec<_> = sums.keys().map(|key| date(key.0)).collect::<Result<_, _>>()?;
    let subjects: Vec<_> = sums.keys().map(|key| key.1).collect();
    let metrics: Vec<_> = sums.keys().map(|key| key.2).collect();
    let models: Vec<_> = sums.keys().map(|key| key.3).collect();
    let events: Vec<_> = sums.values().map(|sum| sum.events).collect();
    let units: Vec<_> = sums.values().map(|sum| sum.units).collect();
    tx.execute(ADD_TO_DAYS, &[&days, &subjects, &metrics, &models, &events, &units]).await?;
    Ok(())
}

pub(super) async fn add_active(
    tx: &Tx,
    shard: u16,
    newly_active: &NewlyActive,
) -> Result<(), LedgerError> {
    if newly_active.is_empty() {
        return Ok(());
    }
    let days: Vec<_> = newly_active.keys().map(|key| key.0).collect();
    let metrics: Vec<_> = newly_active.keys().map(|key| key.1.as_str()).collect();
    let subjects: Vec<_> = newly_active.values().copied().collect();
    tx.execute(ADD_TO_ACTIVE_DAYS, &[&i64::from(shard), &days, &metrics, &subjects]).await?;
    Ok(())
}
