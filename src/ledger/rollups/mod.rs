//! The tables `usage_hours`, `usage_days`, `subject_months` and `active_days`: what analysts sum up, kept by the
//! transaction that logs the events, from the events that the log took.
//!
//! Rows of a subject are changed by its own shard's flushes alone, and totals are kept a shard; whoever flushes a shard
//! holds its cursor. So two flushes never wait for each other's rows, in whatever order they are.

mod days;
mod hours;
mod months;
mod tally;

use crate::domain::event::Event;

use super::error::LedgerError;
use super::tx::Tx;

use self::tally::Tally;

/// Adds the usage of `events`, all of `shard`, to the rollups.
pub(super) async fn add(tx: &Tx, shard: u16, events: &[&Event]) -> Result<(), LedgerError> {
    let tally = Tally::of(events)?;
    if tally.days.is_empty() {
        return Ok(());
    }
    days::add(tx, &tally.days).await?;
    let newly_active = months::add(tx, &tally.days).await?;
    days::add_active(tx, shard, &newly_active).await?;
    hours::add(tx, shard, &tally.hours).await
}
