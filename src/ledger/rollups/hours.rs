//! The table `usage_hours`: totals by the hour, metric and model.

use std::collections::BTreeMap;

use super::super::convert::instant_s;
use super::super::error::LedgerError;
use super::super::tx::Tx;
use super::tally::HourKey;
use super::tally::Sum;

const ADD_TO_HOURS: &str = "-- add_to_hours
INSERT INTO usage_hours (hour, shard, metric, model, events, units)
SELECT sum.hour, $1, sum.metric, sum.model, sum.events, sum.units
FROM unnest($2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
    AS sum (hour, metric, model, events, units)
ON CONFLICT (hour, shard, metric, model) DO UPDATE SET
    events = usage_hours.events + excluded.events,
    units = usage_hours.units + excluded.units";

pub(super) async fn add(
    tx: &Tx,
    shard: u16,
    sums: &BTreeMap<HourKey<'_>, Sum>,
) -> Result<(), LedgerError> {
    let hours: Vec<_> =
        sums.keys().map(|key| instant_s(key.0 * 3_600)).collect::<Result<_, _>>()?;
    let metrics: Vec<_> = sums.keys().map(|key| key.1).collect();
    let models: Vec<_> = sums.keys().map(|key| key.2).collect();
    let events: Vec<_> = sums.values().map(|sum| sum.events).collect();
    let units: Vec<_> = sums.values().map(|sum| sum.units).collect();
    let params: super::super::tx::Params<'_> =
        &[&i64::from(shard), &hours, &metrics, &models, &events, &units];
    tx.execute(ADD_TO_HOURS, params).await?;
    Ok(())
}
