//! The rollups, which analysts' answers come from: `usage_hours`, `usage_days`, `subject_months` and `active_days`.
//!
//! The transaction that logs events adds their totals, and puts the sums of each subject into a queue as one row. A fold
//! moves what is in the queue into the tables of the subjects. So each event is in the rollups once, and the subjects that
//! write most change their rows once a fold, not once a flush.

mod fold;
mod hours;
mod queue;
mod tally;
mod used;

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
    queue::push(tx, &tally.days).await?;
    hours::add(tx, shard, &tally.hours).await
}
