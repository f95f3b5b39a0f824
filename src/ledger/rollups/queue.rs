//! The table `rollup_queue`: sums of subjects on their way into the rollups.

use std::collections::BTreeMap;

use super::super::convert::date;
use super::super::error::LedgerError;
use super::super::tx::Tx;
use super::tally::DayKey;
use super::tally::Sum;

const QUEUE_SUMS: &str = "-- queue_sums
INSERT INTO rollup_queue (days, subjects, metrics, models, events, units, lines)
VALUES ($1, $2, $3, $4, $5, $6, cardinality($1::date[]))";

pub(super) async fn push(tx: &Tx, sums: &BTreeMap<DayKey<'_>, Sum>) -> Result<(), LedgerError> {
    let days: Vec<_> = sums.keys().map(|key| date(key.0)).collect::<Result<_, _>>()?;
    let subjects: Vec<_> = sums.keys().map(|key| key.1).collect();
    let metrics: Vec<_> = sums.keys().map(|key| key.2).collect();
    let models: Vec<_> = sums.keys().map(|key| key.3).collect();
    let events: Vec<_> = sums.values().map(|sum| sum.events).collect();
    let units: Vec<_> = sums.values().map(|sum| sum.units).collect();
    tx.execute(QUEUE_SUMS, &[&days, &subjects, &metrics, &models, &events, &units]).await?;
    Ok(())
}
