//! Refusing a transfer of which nothing was taken, and taking that back when something was.

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

use crate::domain::Event;
use crate::domain::EventKind;
use crate::ledger::Ledger;
use crate::ledger::cursors;
use crate::ledger::error::LedgerError;
use crate::ledger::tx::Tx;

use super::LOCK_TRANSFER;
use super::TRANSFER;
use super::TransferRow;
use super::find;

const REFUSE_TRANSFER: &str = "-- refuse_transfer
UPDATE transfers SET state = 'refused', ended_at = $2
WHERE
    id = $1 AND state = 'pending'
    AND NOT EXISTS (SELECT FROM message_logs WHERE message_logs.event_id = transfers.id)";

// Also one that is pending is written, so that a refusal waits until this is over and sees the log.
const REOPEN_TRANSFERS: &str = "-- reopen_transfers
UPDATE transfers SET state = 'pending', ended_at = NULL WHERE id = ANY ($1) AND state <> 'done'";

/// Where Redis said that there is nothing to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedIn {
    /// The giver's shard.
    pub shard: u16,
    /// Its epoch, in which Redis says so to everybody.
    pub epoch: u64,
}

impl Ledger {
    /// Ends a pending transfer of which Redis took nothing, at the instant `at`, if Redis would still say so: its epoch is the
    /// cursor's. Answers the transfer as it is then: one that ended before stays as it ended; one whose units are taken by the
    /// log, or of whose shard another epoch has begun, stays pending. None when there is none with that id.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn refuse_transfer(
        &self,
        id: Uuid,
        refused: RefusedIn,
        at: DateTime<Utc>,
    ) -> Result<Option<TransferRow>, LedgerError> {
        let tx = self.begin().await?;
        let outcome = refuse(&tx, id, refused, at).await;
        tx.end(outcome).await
    }
}

async fn refuse(
    tx: &Tx,
    id: Uuid,
    refused: RefusedIn,
    at: DateTime<Utc>,
) -> Result<Option<TransferRow>, LedgerError> {
    // Statements of their own, in the order of a flush: the last one sees what was logged while these waited.
    let cursor = cursors::lock(tx, refused.shard).await?;
    find(tx, LOCK_TRANSFER, id).await?;
    if cursor.epoch == refused.epoch {
        tx.execute(REFUSE_TRANSFER, &[&id, &at]).await?;
    }
    find(tx, TRANSFER, id).await
}

/// Has transfers go on whose units these events took, also those that were refused meanwhile: whoever refused did not know.
pub(in crate::ledger) async fn reopen(tx: &Tx, events: &[&Event]) -> Result<(), LedgerError> {
    let taking = events.iter().filter(|event| event.kind == EventKind::Transfer);
    let ids: Vec<Uuid> = taking.map(|event| event.event_id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    tx.execute(REOPEN_TRANSFERS, &[&ids]).await.map(drop)
}
