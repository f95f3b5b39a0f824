//! What a load starts from: counters and cursor of one instant.

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;

use super::Ledger;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::column;

/// The counters of some subjects, and the cursor up to which they include the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The shard's epoch.
    pub epoch: u64,
    /// The last event that is in the counters.
    pub seq: u64,
    /// Counters whose windows have not ended, in the order of their keys.
    pub counters: Vec<Counter>,
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

// One statement is one snapshot: the counters hold exactly the events up to the cursor.
const BASE: &str = "-- base
SELECT
    cursor.epoch, cursor.seq,
    counter.subject, counter.metric, counter.period, counter.window_start, counter.window_end,
    counter.used, counter.reset_at
FROM outbox_cursors AS cursor
LEFT JOIN usage_counters AS counter
    ON counter.subject = ANY ($2) AND counter.window_end > $3
WHERE cursor.shard = $1
ORDER BY counter.subject, counter.metric, counter.period, counter.window_start";

impl Ledger {
    /// The counters of `subjects`, all of `shard`, whose windows end after `ended_after`, with the cursor that they
    /// belong to, in one snapshot.
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
        Ok(Base {
            epoch: unsigned(column(first, "epoch")?)?,
            seq: unsigned(column(first, "seq")?)?,
            counters: counters.collect::<Result<_, _>>()?,
        })
    }
}

/// The counter in a row; none in the row that only carries the cursor.
fn counter(row: &Row) -> Result<Option<Counter>, LedgerError> {
    let Some(subject) = column(row, "subject")? else { return Ok(None) };
    let reset_at: Option<DateTime<Utc>> = column(row, "reset_at")?;
    Ok(Some(Counter {
        subject,
        metric: column(row, "metric")?,
        period: column(row, "period")?,
        window_start_s: column::<DateTime<Utc>>(row, "window_start")?.timestamp(),
        window_end_s: column::<DateTime<Utc>>(row, "window_end")?.timestamp(),
        used: column(row, "used")?,
        reset_at_ms: reset_at.map(|at| at.timestamp_millis()),
    }))
}
