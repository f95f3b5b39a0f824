//! Counters whose windows are open, those used most first.

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;

use super::super::Ledger;
use super::super::convert::unsigned;
use super::super::error::LedgerError;
use super::super::tx::column;

/// A counter whose window is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCounter {
    /// The level of a subject.
    pub subject: String,
    /// The period's name.
    pub period: String,
    /// Units used.
    pub used: u64,
    /// When the window ends.
    pub window_end: DateTime<Utc>,
}

const OPEN_COUNTERS: &str = "-- open_counters
SELECT subject, period, used, window_end FROM usage_counters
WHERE window_end > $1 AND window_start <= $1 AND metric = $2 AND used >= greatest($3::bigint, 1)
ORDER BY used DESC, subject LIMIT $4";

const PROFILES_OF: &str = "-- profiles_of
SELECT subject, profile::text AS profile FROM subjects WHERE subject = ANY ($1) AND NOT is_deleted";

const LOWEST_MAX: &str = "-- lowest_max
SELECT min((entry ->> 'max')::bigint) AS lowest
FROM subjects CROSS JOIN LATERAL jsonb_array_elements(profile -> 'limits') AS entry
WHERE jsonb_typeof(profile -> 'limits') = 'array' AND entry ->> 'metric' = $1
    AND jsonb_typeof(entry -> 'max') = 'number' AND (entry ->> 'max')::bigint > 0";

impl Ledger {
    /// The counters of the metric whose windows are open at an instant and hold at least `used_min` units, those used most
    /// first; at most `limit`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn open_counters(
        &self,
        at: DateTime<Utc>,
        metric: &str,
        used_min: i64,
        limit: u32,
    ) -> Result<Vec<OpenCounter>, LedgerError> {
        let params: super::super::tx::Params<'_> = &[&at, &metric, &used_min, &i64::from(limit)];
        let rows = self.analyst().await?.rows(OPEN_COUNTERS, params).await?;
        rows.iter().map(counter).collect()
    }

    /// The profiles of those of the subjects that have one, as JSON texts.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn profiles_of(
        &self,
        subjects: &[&str],
    ) -> Result<Vec<(String, String)>, LedgerError> {
        let rows = self.analyst().await?.rows(PROFILES_OF, &[&subjects]).await?;
        rows.iter().map(|row| Ok((column(row, "subject")?, column(row, "profile")?))).collect()
    }

    /// The lowest `max` above 0 that a profile sets for the metric; none when no profile does. Reads all profiles.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn lowest_max(&self, metric: &str) -> Result<Option<u64>, LedgerError> {
        let row = self.analyst().await?.row(LOWEST_MAX, &[&metric]).await?;
        column::<Option<i64>>(&row, "lowest")?.map(unsigned).transpose()
    }
}

fn counter(row: &Row) -> Result<OpenCounter, LedgerError> {
    Ok(OpenCounter {
        subject: column(row, "subject")?,
        period: column(row, "period")?,
        used: unsigned(column(row, "used")?)?,
        window_end: column(row, "window_end")?,
    })
}
