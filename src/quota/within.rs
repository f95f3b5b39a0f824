//! Which subjects there are at and below one.

use crate::domain::Subject;

use super::Quota;
use super::error::QuotaError;

impl Quota {
    /// The paths of `prefix` and of all that lies below it that have a counter or a profile or had one: those after `after`
    /// in the order of bytes, at most `subjects_max` and at most 1,000. The next page is the one after the last path of this
    /// one. What is still in the outbox, and subjects that were only ever counted by the minute or hour, are not known
    /// here.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn subjects_within(
        &self,
        prefix: &Subject,
        after: Option<&str>,
        subjects_max: u32,
    ) -> Result<Vec<String>, QuotaError> {
        let found = self.ledger.subjects_within(prefix.as_str(), after, subjects_max).await;
        found.map_err(QuotaError::of_ledger)
    }
}
