//! What a load starts from: counters, profiles and cursor of one instant.

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;

use super::Ledger;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::column;

/// The counters and profiles of some subjects, and the cursor up to which the counters include the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The shard's epoch.
    pub epoch: u64,
    /// The last event that is in the counters.
    pub seq: u64,
    /// Counters whose windows have not ended, in the order of their keys.
    pub counters: Vec<Counter>,
    /// The last version that a profile of any subject was given; 0 before the first.
    pub profile_version: u64,
    /// Profiles of the subjects that have, or once had, one, in the order of their paths.
    pub profiles: Vec<LevelProfile>,
}

/// What is configured for one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelProfile {
    /// The level of a subject.
    pub subject: String,
    /// The profile's version, from 1.
    pub version: u64,
    /// The profile: JSON text, an object; empty when it was deleted.
    pub profile: String,
}

/// What is used of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The level of a subject.
    pub subject: String,
    /// What is counted.
    pub metric: String,
    /// The period's name.
    pub period: String,
    /// First second of the window, in Unix seconds.
    pub window_start_s: i64,
    /// First second after the window, in Unix seconds.
    pub window_end_s: i64,
    /// Units used; negative only when something is wrong.
    pub used: i64,
    /// When an admin last cleared the counter, in Unix milliseconds.
    pub reset_at_ms: Option<i64>,
}

/// One statement is one snapshot: the counters hold exactly the events up to the cursor, and the profiles are those of
/// that instant. A row carries a counter, a profile or, when there is neither, the cursor alone.
#[doc(hidden)]
pub const BASE: &str = "-- base
SELECT
    cursor.epoch, cursor.seq, drawn.profile_version,
    level.subject, level.metric, level.period, level.window_start, level.window_end,
    level.used, level.reset_at, level.version, level.profile
FROM outbox_cursors AS cursor
CROSS JOIN profile_versions AS drawn
LEFT JOIN (
    SELECT
        counter.subject COLLATE \"C\" AS subject, counter.metric, counter.period,
        counter.window_start, counter.window_end, counter.used, counter.reset_at,
        NULL::bigint AS version, NULL::text AS profile
    FROM usage_counters AS counter
    WHERE counter.subject COLLATE \"C\" = ANY ($2) AND counter.window_end > $3
    UNION ALL
    SELECT
        configured.subject, NULL, NULL, NULL, NULL, NULL, NULL,
        configured.version, configured.profile::text
    FROM subjects AS configured WHERE configured.subject = ANY ($2)
) AS level ON true
WHERE cursor.shard = $1
ORDER BY level.subject, level.metric, level.period, level.window_start";

impl Ledger {
    /// The counters of `subjects`, all of `shard`, whose windows end after `ended_after`, with the cursor that they
    /// belong to, and the profiles of `subjects`, in one snapshot.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Internal`] when there is no such shard.
    pub async fn base(
        &self,
        shard: u16,
        subjects: &[&str],
        ended_after: DateTime<Utc>,
    ) -> Result<Base, LedgerError> {
        let connection = self.connection().await?;
        let rows = connection.rows(BASE, &[&i64::from(shard), &subjects, &ended_after]).await?;
        let first = rows.first().ok_or_else(|| LedgerError::Internal("no such shard".into()))?;
        let counters = rows.iter().filter_map(|row| counter(row).transpose());
        let profiles = rows.iter().filter_map(|row| profile(row).transpose());
        Ok(Base {
            epoch: unsigned(column(first, "epoch")?)?,
            seq: unsigned(column(first, "seq")?)?,
            counters: counters.collect::<Result<_, _>>()?,
            profile_version: unsigned(column(first, "profile_version")?)?,
            profiles: profiles.collect::<Result<_, _>>()?,
        })
    }
}

/// The counter in a row, if it carries one.
fn counter(row: &Row) -> Result<Option<Counter>, LedgerError> {
    let Some(metric) = column(row, "metric")? else { return Ok(None) };
    let reset_at: Option<DateTime<Utc>> = column(row, "reset_at")?;
    Ok(Some(Counter {
        subject: column(row, "subject")?,
        metric,
        period: column(row, "period")?,
        window_start_s: column::<DateTime<Utc>>(row, "window_start")?.timestamp(),
        window_end_s: column::<DateTime<Utc>>(row, "window_end")?.timestamp(),
        used: column(row, "used")?,
        reset_at_ms: reset_at.map(|at| at.timestamp_millis()),
    }))
}

/// The profile in a row, if it carries one.
fn profile(row: &Row) -> Result<Option<LevelProfile>, LedgerError> {
    let Some(profile) = column(row, "profile")? else { return Ok(None) };
    let version = unsigned(column(row, "version")?)?;
    Ok(Some(LevelProfile { subject: column(row, "subject")?, version, profile }))
}
