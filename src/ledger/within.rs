//! Which subjects there are at and below a subject.

use super::Ledger;
use super::error::LedgerError;
use super::tx::Params;
use super::tx::column;

/// The most subjects in one answer.
const SUBJECTS_MAX: u32 = 1_000;

/// In the order of bytes all that lies below a subject is one range: from its path with a `/`, which nothing equals, to its
/// path with the byte after `/`. One look into the index of each table finds the next path, so a page costs what it holds,
/// however many counters a subject has.
#[doc(hidden)]
pub const SUBJECTS_WITHIN: &str = "-- subjects_within
WITH RECURSIVE step (subject, number) AS (
    SELECT greatest($2::text COLLATE \"C\", $1::text || '/'), 0::bigint
    UNION ALL
    SELECT next.subject, step.number + 1
    FROM step
    CROSS JOIN LATERAL (
        SELECT least(
            (
                SELECT counter.subject COLLATE \"C\" FROM usage_counters AS counter
                WHERE counter.subject COLLATE \"C\" > step.subject
                    AND counter.subject COLLATE \"C\" < $1 || '0'
                ORDER BY counter.subject COLLATE \"C\" LIMIT 1
            ),
            (
                SELECT configured.subject FROM subjects AS configured
                WHERE configured.subject > step.subject AND configured.subject < $1 || '0'
                ORDER BY configured.subject LIMIT 1
            )
        ) AS subject
    ) AS next
    WHERE next.subject IS NOT NULL AND step.number < $3::bigint
)
SELECT $1 COLLATE \"C\" AS subject
WHERE $2 IS NULL AND (
    EXISTS (SELECT FROM usage_counters AS counter WHERE counter.subject COLLATE \"C\" = $1)
    OR EXISTS (SELECT FROM subjects AS configured WHERE configured.subject = $1)
)
UNION ALL
SELECT step.subject FROM step WHERE step.number > 0
ORDER BY subject LIMIT $3";

impl Ledger {
    /// The paths that equal `prefix`, a whole path, or lie below it, that have a counter or a profile or had one; those
    /// after `after` in the order of bytes, at most `limit` and at most 1,000. The next page is the one after the last path
    /// of this one. What is still in the outbox, and subjects that were only ever counted by the minute or hour, are not
    /// known here.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn subjects_within(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, LedgerError> {
        let limit = i64::from(limit.min(SUBJECTS_MAX));
        let params: Params<'_> = &[&prefix, &after, &limit];
        let rows = self.connection().await?.rows(SUBJECTS_WITHIN, params).await?;
        rows.iter().map(|row| column(row, "subject")).collect()
    }
}
