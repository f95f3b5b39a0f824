//! The rollups, which analysts' answers come from: `usage_hours`, `usage_days`, `subject_months` and `active_days`.
//!
//! The transaction that logs events adds their totals, and puts the sums of each subject into a queue as one row. A fold
//! moves what is in the queue into the tables of the subjects. So each event is in the rollups once, and the subjects that
//! write most change their rows once a fold, not once a flush.

mod active;
mod fold;
mod hours;
mod queue;
mod tally;
mod used;

use super::error::LedgerError;
use super::tx::Tx;

pub(super) use self::tally::Tally;

/// Adds usage of events of `shard` to the rollups.
pub(super) async fn add(tx: &Tx, shard: u16, tally: &Tally<'_>) -> Result<(), LedgerError> {
    if tally.days.is_empty() {
        return Ok(());
    }
    queue::push(tx, &tally.days).await?;
    hours::add(tx, shard, &tally.hours).await
}
