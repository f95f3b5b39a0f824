//! Recovery of a shard: fence, salvage in one Postgres transaction, open under a new epoch.
//!
//! Each step is idempotent, and the whole may be interrupted anywhere: whoever finds the fence goes on. Every counter of
//! the old epoch becomes stale by comparison; nothing is scanned or deleted.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::counters::Counters;
use crate::counters::Ended;
use crate::counters::Fault;
use crate::counters::Fenced;
use crate::counters::Own;
use crate::counters::ShardFault;
use crate::ledger::Cursor;
use crate::ledger::Incident;
use crate::ledger::LedgerError;
use crate::ledger::OwnCall;
use crate::telemetry::Chain;
use crate::telemetry::names;

use super::Quota;
use super::error::QuotaError;
use super::error::Store;
use super::event_ledger::EventLedger;
use super::event_ledger::EventRecovery;
use super::salvage::Salvaged;

/// Times that a recovery begins again because another fence stands by the time it opens.
const ATTEMPTS_MAX: usize = 8;
/// Recoveries that may wait; each is a request or a flusher that waits for it.
const QUEUE_MAX: usize = 4_096;

/// A recovery that is asked for.
struct RecoveryOrder {
    shard: u16,
    fault: Fault,
    answer: oneshot::Sender<Result<(), Store>>,
}

/// Where recoveries are asked for.
pub(super) struct RecoveryEntrance(mpsc::Sender<RecoveryOrder>);

/// The task that recovers, one shard at a time in this node. It is not a request's own work, so that a request's
/// deadline never cuts a recovery off half-way.
pub struct Recoverer(mpsc::Receiver<RecoveryOrder>);

pub(super) fn new() -> (RecoveryEntrance, Recoverer) {
    let (entrance, queue) = mpsc::channel(QUEUE_MAX);
    (RecoveryEntrance(entrance), Recoverer(queue))
}

impl Recoverer {
    /// Recovers until the token is cancelled. A recovery that is cut off is taken up by whoever finds the fence.
    pub async fn run<L: EventLedger>(mut self, quota: Arc<Quota<L>>, stop: CancellationToken) {
        while let Some(Some(order)) = stop.run_until_cancelled(self.0.recv()).await {
            let RecoveryOrder { shard, fault, answer } = order;
            let recovery = Box::pin(quota.recover_now(shard, fault));
            let Some(recovered) = stop.run_until_cancelled(recovery).await else { return };
            // An asker that stopped waiting has no use for its answer.
            let _ = answer.send(recovered.map_err(|error| store_of(shard, &error)));
        }
    }
}

/// Says in the log why the shard is not recovered, and answers the store that it waits for.
fn store_of(shard: u16, error: &QuotaError) -> Store {
    tracing::warn!(shard, error = %Chain(error), "not recovered yet");
    match error {
        QuotaError::Unavailable { store, .. } => *store,
        _ => Store::Redis,
    }
}

impl<L: EventLedger> Quota<L> {
    /// Opens the shard at start: at once when Redis and Postgres agree, by a recovery otherwise.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away.
    pub(super) async fn open_at_start(&self, shard: u16) -> Result<(), QuotaError> {
        match self.look(shard).await? {
            Some(fault) => self.recover_now(shard, fault).await,
            None => Ok(()),
        }
    }

    /// Asks for the shard to be made to serve again after a fault, and waits for it.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away; the next asker goes on where this stopped.
    pub(super) async fn recover(&self, shard: u16, fault: Fault) -> Result<(), QuotaError> {
        let (answer, waiting) = oneshot::channel();
        let order = RecoveryOrder { shard, fault, answer };
        self.recoveries.0.try_send(order).map_err(|_| QuotaError::Overloaded)?;
        let stopping = |_| QuotaError::away(Store::Redis);
        waiting.await.map_err(stopping)?.map_err(QuotaError::away)
    }

    async fn recover_now(&self, shard: u16, mut fault: Fault) -> Result<(), QuotaError> {
        if self.is_left_behind(shard, fault).await? {
            return Ok(());
        }
        // Also the first start of an installation comes here; a loss is said louder, with its incident.
        tracing::info!(shard, fault = fault.kind.as_str(), "opening the shard");
        for _ in 0..ATTEMPTS_MAX {
            let Some(fenced) = self.fence(shard, fault).await? else {
                // Another node was faster. Its epoch may have a fault of its own.
                match self.look(shard).await? {
                    Some(another) => fault = another,
                    None => return Ok(()),
                }
                continue;
            };
            if self.salvage_and_open(shard, &fenced).await? {
                metrics::counter!(names::RECOVERIES_TOTAL).increment(1);
                return Ok(());
            }
        }
        Err(QuotaError::away(Store::Redis))
    }

    /// Whether the shard was recovered since the fault was met.
    async fn is_left_behind(&self, shard: u16, fault: Fault) -> Result<bool, QuotaError> {
        if self.counters.sight(shard).epoch > fault.epoch {
            return Ok(true);
        }
        if self.look(shard).await?.is_some() {
            return Ok(false);
        }
        // A fence is a recovery under way; it may be over by now, under the epoch that was known or the next.
        let epoch = self.counters.sight(shard).epoch;
        Ok(epoch > fault.epoch || fault.kind == ShardFault::Fenced)
    }

    /// What keeps the shard from serving, by its state in Redis and its cursor in Postgres. Takes in what it sees.
    async fn look(&self, shard: u16) -> Result<Option<Fault>, QuotaError> {
        let cursor = self.ledger.cursor(shard).await.map_err(QuotaError::of_ledger)?;
        let page = self.counters.read_outbox(shard, cursor.epoch, cursor.seq, 1).await;
        let page = page.map_err(QuotaError::of_counters)?;
        let fault = self.fault_of(&page, &cursor);
        if fault.is_none() {
            self.counters.saw(shard, cursor.epoch, page.seq);
        }
        Ok(fault)
    }

    async fn fence(&self, shard: u16, fault: Fault) -> Result<Option<Fenced>, QuotaError> {
        let fenced = if self.options.guards.fence {
            self.counters.fence(shard, Uuid::now_v7(), fault).await
        } else {
            self.counters.unfenced(shard, fault).await
        };
        fenced.map_err(QuotaError::of_counters)
    }

    /// The two steps after the fence. `false` when the shard was fenced anew before it was opened.
    async fn salvage_and_open(&self, shard: u16, fenced: &Fenced) -> Result<bool, QuotaError> {
        let tx = self.ledger.begin_recovery(shard).await.map_err(QuotaError::of_ledger)?;
        let epoch = if tx.cursor().fence == Some(fenced.token) {
            // Salvaged under this very fence; only the opening is left.
            let epoch = tx.cursor().epoch;
            tx.abandon().await;
            epoch
        } else if self.stands(shard, fenced).await? {
            self.salvage(tx, fenced).await?
        } else {
            tx.abandon().await;
            return Ok(false);
        };
        let opened = self.counters.open(shard, fenced.token, epoch, self.instance).await;
        opened.map_err(QuotaError::of_counters)
    }

    /// Whether the fence still stands once the cursor is held, from when on nobody else can take it away. Others may have
    /// opened it before: the shard then serves in a later epoch, which this recovery must not end.
    async fn stands(&self, shard: u16, fenced: &Fenced) -> Result<bool, QuotaError> {
        if !self.options.guards.fence {
            return Ok(true);
        }
        let now = self.fence(shard, fenced.fault).await?;
        Ok(now.is_some_and(|now| now.token == fenced.token))
    }

    /// Logs what the outbox still holds, records the incident and commits the new epoch.
    async fn salvage(&self, mut tx: L::Recovery, fenced: &Fenced) -> Result<u64, QuotaError> {
        let cursor = tx.cursor().clone();
        let salvaged = if self.options.guards.salvage {
            self.salvage_outbox(&mut tx).await?
        } else {
            Salvaged::default()
        };
        if is_first(&cursor, fenced) && salvaged.is_empty() {
            return tx.open_first(fenced.token).await.map_err(QuotaError::of_ledger);
        }
        let incident = incident(&cursor, fenced, &salvaged);
        tracing::error!(
            shard = cursor.shard,
            fault = incident.reason,
            salvaged = salvaged.events(),
            lost_at_most = incident.lost_at_most,
            "a new epoch begins"
        );
        metrics::counter!(names::LOST_UNITS_BOUND_TOTAL).increment(incident.lost_at_most);
        metrics::counter!(names::DEAD_LETTERS_TOTAL).increment(salvaged.dead);
        tx.finish(incident, fenced.token).await.map_err(QuotaError::of_ledger)
    }
}

/// Tells the ledger what this node saw of epochs that ended, if it has not yet: whoever recovered the shard may have seen
/// less, and then the incident's bound is too low. So it is when lost places were given again and flushed.
pub(super) async fn own_up(
    counters: &Counters,
    ledger: &impl EventLedger,
    shard: u16,
) -> Result<(), LedgerError> {
    let _telling = counters.telling(shard).await;
    while let Some(Ended { epoch, seq, own }) = counters.ended(shard) {
        let calls: Vec<_> = own.iter().map(call_of).collect();
        ledger.raise_loss(shard, epoch, seq, &calls).await?;
        counters.owned_up(shard, epoch);
    }
    Ok(())
}

fn call_of(own: &Own) -> OwnCall {
    let Own { first, seq: last, event_id: last_id, events } = *own;
    OwnCall { first, last, last_id, events }
}

/// Whether neither store knew the shard: Postgres was never recovered and has no event of it, and Redis has no epoch.
const fn is_first(cursor: &Cursor, fenced: &Fenced) -> bool {
    cursor.fence.is_none() && cursor.seq == 0 && fenced.epoch.is_none()
}

/// What is known of the loss. Events up to the cursor are in the log. Of those after it that were acknowledged, the
/// salvaged ones are safe; but after a rollback other nodes may have been given the lost places again before it was
/// noticed, so that what stands there proves nothing.
fn incident(cursor: &Cursor, fenced: &Fenced, salvaged: &Salvaged) -> Incident {
    let fault = fenced.fault;
    let is_of_epoch = fault.epoch == cursor.epoch;
    let seen_seq = if is_of_epoch { fault.seq } else { 0 };
    let found_seq = fenced.epoch.map(|epoch| if epoch == cursor.epoch { fenced.seq } else { 0 });
    let expected_seq = cursor.seq.max(seen_seq).max(found_seq.unwrap_or(0)).max(salvaged.last_seq);
    let is_rollback = is_of_epoch && fault.kind == ShardFault::Rollback;
    let safe = if is_rollback { 0 } else { salvaged.after_cursor };
    Incident {
        reason: fault.kind.as_str(),
        redis_epoch: fenced.epoch,
        found_seq,
        expected_seq,
        lost_at_most: (expected_seq - cursor.seq).saturating_sub(safe),
        detail: serde_json::json!({
            "dead_letters": salvaged.dead,
            "floor": fenced.floor,
            "cursor_seq": cursor.seq,
            "units_on_older_state": salvaged.units_on_older_state,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: Cursor = Cursor { shard: 0, epoch: 3, seq: 40, fence: None, forget: Vec::new() };

    /// The most that is lost when a fault of that kind was met at a place, and three events after the cursor are safe.
    fn lost(kind: ShardFault, epoch: u64, seq: u64) -> (u64, u64) {
        let fault = Fault { kind, epoch, seq };
        let fenced = Fenced { token: Uuid::nil(), epoch: Some(3), seq: 43, floor: 40, fault };
        let salvaged = Salvaged { after_cursor: 3, last_seq: 43, ..Salvaged::default() };
        let incident = incident(&CURSOR, &fenced, &salvaged);
        (incident.expected_seq, incident.lost_at_most)
    }

    /// Guards that a loss is an incident, also the first one: of the two stores one may be new, and not the other.
    #[test]
    fn a_shard_is_new_when_neither_store_knows_it() {
        let fault = Fault { kind: ShardFault::Uninitialised, epoch: 0, seq: 0 };
        let fenced = |epoch| Fenced { token: Uuid::from_u128(1), epoch, seq: 0, floor: 0, fault };
        let cursor = |fence, seq| Cursor { seq, fence, ..CURSOR };
        let before = Some(Uuid::nil());
        assert!(is_first(&cursor(None, 0), &fenced(None)));
        assert!(
            !is_first(&cursor(before, 0), &fenced(None)),
            "redis forgot it before its first event"
        );
        assert!(!is_first(&cursor(None, 0), &fenced(Some(1))), "a new postgres");
        assert!(!is_first(&cursor(None, 1), &fenced(None)));
        assert!(!is_first(&cursor(before, 1), &fenced(Some(1))));
    }

    /// Guards promise 4's bound: salvaged events are safe, except after a rollback of the cursor's epoch, whose places others
    /// may have been given again.
    #[test]
    fn the_bound_of_a_loss_counts_what_may_not_be_safe() {
        assert_eq!(lost(ShardFault::Gap, 3, 45), (45, 2));
        assert_eq!(lost(ShardFault::Rollback, 3, 45), (45, 5));
        assert_eq!(lost(ShardFault::Rollback, 2, 45), (43, 0), "a fault of an epoch that ended");
        assert_eq!(lost(ShardFault::Gap, 2, 45), (43, 0));
    }
}
