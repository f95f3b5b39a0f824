//! The rollups, which analysts' answers come from.

use super::Quota;
use super::error::QuotaError;

/// Folds in one call; the next one does the rest.
const FOLDS_MAX: usize = 100;

impl Quota {
    /// Drops refusals older than `months_kept` whole months and, with `drop_unarchived`, such months of the log, whose sums
    /// are kept.
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
