//! The rollups, which analysts' answers come from.

use super::Quota;
use super::error::QuotaError;

/// Folds in one call; the next one does the rest.
const FOLDS_MAX: usize = 100;

impl Quota {
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
