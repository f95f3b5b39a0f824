//! The rollups, which analysts' answers come from.

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
}
