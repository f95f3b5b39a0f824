//! What a node remembers, compared with what is there. By that it notices a loss that others have covered up, although nobody asks
//! it for anything, and by that Postgres hears of all that the node knows of losses.

use std::collections::HashMap;

use uuid::Uuid;

use super::Quota;
use super::error::QuotaError;
use super::event_ledger::EventLedger;
use super::recover;
use crate::counters::Fault;
use crate::counters::OutboxPage;
use crate::counters::ShardFault;
use crate::ledger::Cursor;

/// Of each shard the node's own last event that was found where it belongs: its epoch, its place and its id.
#[derive(Debug, Default)]
pub struct Found(HashMap<u16, (u64, u64, Uuid)>);

impl<L: EventLedger> Quota<L> {
    /// Looks whether the last event that was acknowledged to this node is still there, recovers a shard in which it is not, and
    /// tells the ledger what this node saw of epochs that ended. Decisions look after a new connection, and flushes and loads tell,
    /// too; a node that does none of these has no other occasion.
    ///
    /// # Errors
    ///
    /// Never because a store is away: what was not done is done the next time.
    pub async fn look_for_losses(&self, found: &mut Found) -> Result<(), QuotaError> {
        for shard in 0..self.shard_count() {
            match self.look_for_loss(shard, found).await {
                Err(QuotaError::Unavailable { .. }) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn look_for_loss(&self, shard: u16, found: &mut Found) -> Result<(), QuotaError> {
        self.miss_own(shard, found).await?;
        let told = recover::own_up(&self.counters, &*self.ledger, shard).await;
        told.map_err(QuotaError::of_ledger)
    }

    async fn miss_own(&self, shard: u16, found: &mut Found) -> Result<(), QuotaError> {
        let sight = self.counters.sight(shard);
        let Some((seq, event_id)) = sight.own else { return Ok(()) };
        let place = (sight.epoch, seq, event_id);
        if found.0.get(&shard) == Some(&place) || !self.options.guards.seq_check {
            return Ok(());
        }
        let page = self.counters.read_outbox(shard, sight.epoch, seq - 1, 1).await;
        let page = page.map_err(QuotaError::of_counters)?;
        // Whoever decides or flushes next meets that by itself.
        if page.is_fenced || page.epoch != Some(sight.epoch) {
            return Ok(());
        }
        if self.is_there(shard, &page, place).await? {
            found.0.insert(shard, place);
            return Ok(());
        }
        let (epoch, seq) = (sight.epoch, sight.seq.max(page.seq));
        self.recover(shard, Fault { kind: ShardFault::Rollback, epoch, seq }).await
    }

    /// Whether the event is in the outbox, at its place, or was trimmed after its commit.
    async fn is_there(
        &self,
        shard: u16,
        page: &OutboxPage,
        (epoch, seq, event_id): (u64, u64, Uuid),
    ) -> Result<bool, QuotaError> {
        if seq <= page.floor {
            let cursor = Cursor { shard, epoch, seq, fence: None, forget: Vec::new() };
            let known = self.ledger.has_event(&cursor, event_id).await;
            return known.map_err(QuotaError::of_ledger);
        }
        let Some(entry) = page.entries.first() else { return Ok(false) };
        // What cannot be decoded tells nothing.
        let Ok(events) = &entry.events else { return Ok(true) };
        Ok(events.iter().any(|event| event.seq == seq && event.event_id == event_id))
    }
}
