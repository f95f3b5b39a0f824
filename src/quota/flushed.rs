//! Until Postgres has what Redis has accepted.

use std::time::Duration;
use std::time::Instant;

use super::Quota;
use super::error::QuotaError;
use super::error::Store;
use super::event_ledger::EventLedger;
use super::flush::FlushState;
use super::flush::FlushStep;

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
        let places = self.places(shards).await?;
        let deadline = Instant::now() + self.options.request_timeout;
        while !self.ledger.cursors_past(&places).await.map_err(QuotaError::of_ledger)? {
            if Instant::now() >= deadline {
                return Err(QuotaError::away(Store::Postgres));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Moves every event that the shard had given a place to by now into the ledger, beside the flushers or without any, for
    /// as long as a request may take.
    ///
    /// # Errors
    ///
    /// As [`Quota::flushed`].
    pub(super) async fn flush_now(&self, shard: u16) -> Result<(), QuotaError> {
        let places = self.places(std::iter::once(shard)).await?;
        let deadline = Instant::now() + self.options.request_timeout;
        let mut state = FlushState::default();
        while !self.ledger.cursors_past(&places).await.map_err(QuotaError::of_ledger)? {
            let flush = Box::pin(self.flush(shard, &mut state));
            let step = tokio::time::timeout_at(deadline.into(), flush).await;
            match step.map_err(|_late| QuotaError::away(Store::Postgres))?? {
                FlushStep::Flushed(_) => {}
                FlushStep::Idle | FlushStep::Again => self.clock.pause(LOOK_EVERY).await,
            }
        }
        Ok(())
    }

    /// The last places that the shards have given out, each with its epoch.
    async fn places(
        &self,
        shards: impl Iterator<Item = u16>,
    ) -> Result<Vec<(u16, u64, u64)>, QuotaError> {
        let mut places = Vec::new();
        for shard in shards {
            let cursor = self.ledger.cursor(shard).await.map_err(QuotaError::of_ledger)?;
            let page = self.counters.read_outbox(shard, cursor.epoch, cursor.seq, 1).await;
            let page = page.map_err(QuotaError::of_counters)?;
            places.extend(page.epoch.map(|epoch| (shard, epoch, page.seq)));
        }
        Ok(places)
    }
}
