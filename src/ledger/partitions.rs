//! The monthly partitions of `message_logs`.

use super::Ledger;
use super::error::LedgerError;
use super::tx::column;

const ENSURE_PARTITIONS: &str = "-- ensure_partitions
SELECT ensure_message_log_partitions($1) AS made";

impl Ledger {
    /// Makes the partitions from last month to `months_ahead` (at most 24) months from now and moves what waits for
    /// them in the default partition. Answers how many were made. Any number of nodes may call it at once.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Conflict`] when a lock was not given in time; the next call tries again.
    pub async fn ensure_partitions(&self, months_ahead: u32) -> Result<u32, LedgerError> {
        let connection = self.connection().await?;
        let months_ahead = i32::try_from(months_ahead).unwrap_or(i32::MAX);
        let row = connection.row(ENSURE_PARTITIONS, &[&months_ahead]).await?;
        let made: i32 = column(&row, "made")?;
        u32::try_from(made).map_err(|error| LedgerError::Internal(error.into()))
    }
}
