//! Waiting until Postgres has what Redis has accepted.

use std::time::Duration;
use std::time::Instant;

use super::Quota;
use super::error::QuotaError;
use super::error::Store;
use super::event_ledger::EventLedger;

/// How often the cursors are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl<L: EventLedger> Quota<L> {
    /// Waits until the ledger has every event that the shards had given places to by now, for as long as a request may
    /// take.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away, or the flusher is too far behind.
    pub(super) async fn flushed(
        &self,
        shards: impl Iterator<Item = u16>,
    ) -> Result<(), QuotaError> {
        let mut places = Vec::new();
        for shard in shards {
            let cursor = self.ledger.cursor(shard).await.map_err(QuotaError::of_ledger)?;
            let page = self.counters.read_outbox(shard, cursor.epoch, cursor.seq, 1).await;
            let page = page.map_err(QuotaError::of_counters)?;
            places.extend(page.epoch.map(|epoch| (shard, epoch, page.seq)));
        }
        let deadline = Instant::now() + self.options.request_timeout;
        while !self.ledger.cursors_past(&places).await.map_err(QuotaError::of_ledger)? {
            if Instant::now() >= deadline {
                return Err(QuotaError::away(Store::Postgres));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}
