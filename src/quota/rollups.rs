//! The rollups, which analysts' answers come from.

use chrono::NaiveDate;
use chrono::NaiveTime;

use super::Quota;
use super::error::QuotaError;

/// Folds in one call; the next one does the rest.
const FOLDS_MAX: usize = 100;
/// Takings away of old records in one call, of at most 10,000 rows of a table each.
const DROPS_MAX: usize = 20;

impl Quota {
    /// Drops what is older than `months_kept` whole months: refusals, reservations that have ended, levels that counters came to,
    /// alerts and, with `drop_unarchived`, the log, whose sums are kept.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn drop_old_facts(
        &self,
        months_kept: u32,
        drop_unarchived: bool,
    ) -> Result<(), QuotaError> {
        let dropped = self.ledger.drop_old_facts(months_kept, drop_unarchived).await;
        let events = dropped.map_err(QuotaError::of_ledger)?;
        if events > 0 {
            tracing::warn!(events, "a month of the log was dropped without an archive");
        }
        for _ in 0..DROPS_MAX {
            let dropped = self.ledger.drop_old_records(months_kept).await;
            if dropped.map_err(QuotaError::of_ledger)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Brings what was flushed into the rollups of the subjects when it is due, which it is after a minute at the latest.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn fold_due_rollups(&self) -> Result<(), QuotaError> {
        if self.ledger.are_rollups_due().await.map_err(QuotaError::of_ledger)? {
            self.fold_rollups().await?;
        }
        Ok(())
    }

    /// Brings what was flushed into the rollups of the subjects.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn fold_rollups(&self) -> Result<(), QuotaError> {
        for _ in 0..FOLDS_MAX {
            if self.ledger.fold_rollups().await.map_err(QuotaError::of_ledger)? == 0 {
                break;
            }
        }
        Ok(())
    }
    /// Whether the rollups have every event from before `day` (UTC). What is flushed is folded for it, as far as one call does.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away.
    pub(super) async fn are_rolled_up_before(&self, day: NaiveDate) -> Result<bool, QuotaError> {
        let day_start_ms = day.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
        // In this order: what is flushed by now waits in the queue, or is folded.
        for shard in 0..self.shard_count() {
            if !self.is_flushed_before(shard, day_start_ms).await? {
                return Ok(false);
            }
        }
        if self.ledger.is_queued_before(day).await.map_err(QuotaError::of_ledger)? {
            self.fold_rollups().await?;
            let is_queued = self.ledger.is_queued_before(day).await;
            return Ok(!is_queued.map_err(QuotaError::of_ledger)?);
        }
        Ok(true)
    }

    /// Whether nothing that a shard decided before the instant waits for a flush; not while the shard is being recovered.
    async fn is_flushed_before(&self, shard: u16, at_ms: i64) -> Result<bool, QuotaError> {
        let cursor = self.ledger.cursor(shard).await.map_err(QuotaError::of_ledger)?;
        let page = self.counters.read_outbox(shard, cursor.epoch, cursor.seq, 1).await;
        let page = page.map_err(QuotaError::of_counters)?;
        let is_later = page.entries.first().is_none_or(|entry| entry.written_at_ms >= at_ms);
        Ok(page.epoch == Some(cursor.epoch) && is_later)
    }
}
