//! What happened.

use crate::ledger::LogFilter;
use crate::ledger::LogPage;

use super::Quota;
use super::error::QuotaError;

impl Quota {
    /// The events and refusals that fit the filter, the newest first; at most `limit` and at most 1,000. Events are there
    /// when they are flushed, refusals within a second.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when the analysts' store is away.
    pub async fn logs(&self, filter: &LogFilter<'_>, limit: u32) -> Result<LogPage, QuotaError> {
        self.ledger.log_page(filter, limit).await.map_err(QuotaError::of_ledger)
    }
}
