//! Recovery of a shard: fence, salvage in one Postgres transaction, open under a new epoch.
//!
//! Each step is idempotent, and the whole may be interrupted anywhere: whoever finds the fence goes on. Every counter of
//! the old epoch becomes stale by comparison; nothing is scanned or deleted.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::counters::Entry;
use crate::counters::Fenced;
use crate::counters::ShardFault;
use crate::domain::Event;
use crate::ledger::DeadLetter;
use crate::ledger::Incident;
use crate::ledger::LedgerError;
use crate::ledger::RecoveryTx;
use crate::telemetry::names;

use super::Quota;
use super::error::Chain;
use super::error::QuotaError;
use super::error::Store;

/// Times that a recovery begins again because another fence stands by the time it opens.
const ATTEMPTS_MAX: usize = 8;
/// Outbox entries salvaged at once.
const PAGE_ENTRIES: usize = 500;

/// Recoveries that may wait; each is a request or a flusher that waits for it.
const QUEUE_MAX: usize = 4_096;

/// A recovery that is asked for.
struct RecoveryOrder {
    shard: u16,
    fault: ShardFault,
    /// The epoch that the asker knew when it met the fault.
    seen_epoch: u64,
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
    pub async fn run(mut self, quota: Arc<Quota>, stop: CancellationToken) {
        while let Some(Some(order)) = stop.run_until_cancelled(self.0.recv()).await {
            let RecoveryOrder { shard, fault, seen_epoch, answer } = order;
            let recovery = Box::pin(quota.recover_now(shard, fault, seen_epoch));
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

/// What a salvage found.
#[derive(Clone, Copy, Debug, Default)]
struct Salvaged {
    /// Events that the log did not have.
    fresh: u64,
    /// Entries that cannot be decoded.
    dead: u64,
}

impl Quota {
    /// Opens the shard at start: at once when Redis and Postgres agree, by a recovery otherwise.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away.
    pub(super) async fn open_at_start(&self, shard: u16) -> Result<(), QuotaError> {
        if self.is_open_since(shard, 0).await? {
            return Ok(());
        }
        let seen_epoch = self.counters.sight(shard).epoch;
        self.recover_now(shard, ShardFault::Uninitialised, seen_epoch).await
    }

    /// Asks for the shard to be made to serve again after a fault, and waits for it.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away; the next asker goes on where this stopped.
    pub(super) async fn recover(&self, shard: u16, fault: ShardFault) -> Result<(), QuotaError> {
        let (answer, waiting) = oneshot::channel();
        let seen_epoch = self.counters.sight(shard).epoch;
        let order = RecoveryOrder { shard, fault, seen_epoch, answer };
        self.recoveries.0.try_send(order).map_err(|_| QuotaError::Overloaded)?;
        let stopping = |_| QuotaError::away(Store::Redis);
        waiting.await.map_err(stopping)?.map_err(QuotaError::away)
    }

    async fn recover_now(
        &self,
        shard: u16,
        fault: ShardFault,
        seen_epoch: u64,
    ) -> Result<(), QuotaError> {
        let is_newer = self.counters.sight(shard).epoch > seen_epoch;
        if is_newer || self.was_recovered(shard, fault, seen_epoch).await? {
            return Ok(());
        }
        tracing::warn!(shard, fault = fault.as_str(), "the shard has to be recovered");
        for _ in 0..ATTEMPTS_MAX {
            if self.try_recovery(shard, fault).await? {
                metrics::counter!(names::RECOVERIES_TOTAL).increment(1);
                return Ok(());
            }
        }
        Err(QuotaError::away(Store::Redis))
    }

    /// Whether another node recovered the shard since the fault was seen here.
    async fn was_recovered(
        &self,
        shard: u16,
        fault: ShardFault,
        seen_epoch: u64,
    ) -> Result<bool, QuotaError> {
        // A fence is a recovery under way; it may be over by now, under the epoch that this node knows or the next.
        let since = if fault == ShardFault::Fenced { seen_epoch } else { seen_epoch + 1 };
        self.is_open_since(shard, since).await
    }

    /// Whether Redis and Postgres agree on an epoch of at least `since_epoch`, on the cursor, and there is no fence.
    async fn is_open_since(&self, shard: u16, since_epoch: u64) -> Result<bool, QuotaError> {
        let cursor = self.ledger.cursor(shard).await.map_err(QuotaError::of_ledger)?;
        let page = self.counters.read_outbox(shard, cursor.epoch, cursor.seq, 1).await;
        let page = page.map_err(QuotaError::of_counters)?;
        let is_open = self.fault_of(&page, &cursor).is_none()
            && page.epoch.is_some_and(|epoch| epoch >= since_epoch);
        if is_open {
            self.counters.saw(shard, cursor.epoch, page.seq);
        }
        Ok(is_open)
    }

    /// One pass of the three steps. `false` when the shard was fenced anew before it was opened.
    async fn try_recovery(&self, shard: u16, fault: ShardFault) -> Result<bool, QuotaError> {
        let fenced = if self.options.guards.fence {
            self.counters.fence(shard, Uuid::now_v7()).await.map_err(QuotaError::of_counters)?
        } else {
            self.counters.unfenced(shard).await.map_err(QuotaError::of_counters)?
        };
        let tx = self.ledger.begin_recovery(shard).await.map_err(QuotaError::of_ledger)?;
        let epoch = if tx.cursor().fence == Some(fenced.token) {
            // Salvaged under this very fence; only the opening is left.
            let epoch = tx.cursor().epoch;
            tx.abandon().await;
            epoch
        } else {
            self.salvage(tx, fault, &fenced).await?
        };
        self.counters
            .open(shard, fenced.token, epoch, self.instance)
            .await
            .map_err(QuotaError::of_counters)
    }

    /// Logs what the outbox still holds, records the incident and commits the new epoch.
    async fn salvage(
        &self,
        mut tx: RecoveryTx,
        fault: ShardFault,
        fenced: &Fenced,
    ) -> Result<u64, QuotaError> {
        let cursor = tx.cursor().clone();
        let salvaged = if self.options.guards.salvage {
            self.salvage_pages(&mut tx).await?
        } else {
            Salvaged::default()
        };
        let is_first = cursor.fence.is_none() && cursor.seq == 0 && fenced.epoch.is_none();
        if is_first && salvaged.fresh == 0 && salvaged.dead == 0 {
            return tx.open_first(fenced.token).await.map_err(QuotaError::of_ledger);
        }
        let incident = self.incident(&cursor, fault, fenced, salvaged);
        tracing::error!(
            shard = cursor.shard,
            fault = fault.as_str(),
            salvaged = salvaged.fresh,
            lost_at_most = incident.lost_at_most,
            "a new epoch begins"
        );
        metrics::counter!(names::LOST_UNITS_BOUND_TOTAL).increment(incident.lost_at_most);
        tx.finish(incident, fenced.token).await.map_err(QuotaError::of_ledger)
    }

    async fn salvage_pages(&self, tx: &mut RecoveryTx) -> Result<Salvaged, QuotaError> {
        let shard = tx.cursor().shard;
        let mut salvaged = Salvaged::default();
        let mut after = None;
        loop {
            let entries = self.counters.read_entries(shard, after, PAGE_ENTRIES).await;
            let entries = entries.map_err(QuotaError::of_counters)?;
            let Some(last) = entries.last() else { return Ok(salvaged) };
            after = Some((last.epoch, last.last_seq));
            for entry in entries {
                salvage_entry(tx, entry, &mut salvaged).await.map_err(QuotaError::of_ledger)?;
            }
        }
    }

    /// What is known of the loss. Events up to the cursor are in the log; of those after it that were acknowledged, the
    /// salvaged ones are safe, unless Redis gave their places out twice, which cannot be told apart.
    fn incident(
        &self,
        cursor: &crate::ledger::Cursor,
        fault: ShardFault,
        fenced: &Fenced,
        salvaged: Salvaged,
    ) -> Incident {
        let sight = self.counters.sight(cursor.shard);
        let seen_seq = if sight.epoch == cursor.epoch { sight.seq } else { 0 };
        let found_seq =
            fenced.epoch.map(|epoch| if epoch == cursor.epoch { fenced.seq } else { 0 });
        let expected_seq = cursor.seq.max(seen_seq).max(found_seq.unwrap_or(0));
        let unlogged = expected_seq - cursor.seq;
        let places_given_twice =
            fault == ShardFault::Rollback && found_seq.is_some_and(|found| found >= seen_seq);
        let safe = if places_given_twice { 0 } else { salvaged.fresh };
        Incident {
            reason: fault.as_str(),
            redis_epoch: fenced.epoch,
            found_seq,
            expected_seq,
            lost_at_most: unlogged.saturating_sub(safe),
            detail: serde_json::json!({ "dead_letters": salvaged.dead, "floor": fenced.floor }),
        }
    }
}

async fn salvage_entry(
    tx: &mut RecoveryTx,
    entry: Entry,
    salvaged: &mut Salvaged,
) -> Result<(), LedgerError> {
    tx.found_epoch(entry.epoch);
    match entry.events {
        Ok(events) => salvage_events(tx, &events, salvaged).await,
        Err(undecodable) => {
            salvaged.dead += 1;
            let letter = DeadLetter {
                seq_first: entry.last_seq,
                seq_last: entry.last_seq,
                raw: undecodable.raw,
                reason: undecodable.reason,
            };
            tx.salvage_dead(&[letter]).await
        }
    }
}

/// Salvages the events of one entry, at most 64; when Postgres cannot take them together, one by one.
async fn salvage_events(
    tx: &mut RecoveryTx,
    events: &[Event],
    salvaged: &mut Salvaged,
) -> Result<(), LedgerError> {
    match tx.salvage(events).await {
        Ok(fresh) => {
            salvaged.fresh += fresh;
            return Ok(());
        }
        Err(LedgerError::BadData(_)) => {}
        Err(error) => return Err(error),
    }
    for event in events {
        match tx.salvage(std::slice::from_ref(event)).await {
            Ok(fresh) => salvaged.fresh += fresh,
            Err(LedgerError::BadData(cause)) => {
                salvaged.dead += 1;
                tx.salvage_dead(&[DeadLetter::of_event(event, &cause.to_string())]).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
