//! The tables `archives` and `archived_sums`, months that leave the log, and what else goes with age.

use chrono::DateTime;
use chrono::NaiveDate;
use chrono::Utc;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::logged::LoggedEvent;

use super::Ledger;
use super::convert::signed;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::column;

const LOG_MONTHS: &str = "-- log_months
SELECT to_date(substr(relname, 14), 'YYYY_MM') AS month
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'public.message_logs'::regclass AND relname ~ '^message_logs_\\d{4}_\\d{2}$'
    AND to_date(substr(relname, 14), 'YYYY_MM') < $1
ORDER BY 1";

// The bounds are those of the month's partition, whose rows are read in the order of its key.
const LOGGED_IN_MONTH: &str = "-- logged_in_month
SELECT
    event_id, occurred_at, epoch, seq, shard, subject, kind, model, plan, charges::text AS charges,
    deltas::text AS deltas, request_id, trace_id, metadata::text AS metadata
FROM message_logs
WHERE event_id >= message_log_bound($1::date::timestamp AT TIME ZONE 'UTC')
    AND event_id < message_log_bound(($1::date + interval '1 month') AT TIME ZONE 'UTC')
    AND event_id > $2
ORDER BY event_id LIMIT $3";

const ARCHIVED_PARTS: &str = "-- archived_parts
SELECT count(*) AS parts FROM archives WHERE month = $1 AND location IS NOT NULL";

const DROP_MONTH: &str = "-- drop_month
SELECT drop_message_log_partition($1, $2, $3, $4) AS dropped";

const DROP_OLD_FACTS: &str = "-- drop_old_facts
SELECT drop_old_facts($1, $2) AS dropped";

const DROP_OLD_RECORDS: &str = "-- drop_old_records
SELECT drop_old_records($1, $2) AS dropped";

/// Rows of each table that go at once.
const RECORDS_MAX: i32 = 10_000;

impl Ledger {
    /// The months before `before` that have a partition in the log, by their first days, in order.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn log_months(&self, before: NaiveDate) -> Result<Vec<NaiveDate>, LedgerError> {
        let rows = self.connection().await?.rows(LOG_MONTHS, &[&before]).await?;
        rows.iter().map(|row| column(row, "month")).collect()
    }

    /// Whether the month still has a partition in the log.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn has_log_month(&self, month: NaiveDate) -> Result<bool, LedgerError> {
        let next = month + chrono::Months::new(1);
        Ok(self.log_months(next).await?.contains(&month))
    }

    /// How many files hold events of the month that have left the log.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn archived_parts(&self, month: NaiveDate) -> Result<u64, LedgerError> {
        let row = self.connection().await?.row(ARCHIVED_PARTS, &[&month]).await?;
        unsigned(column(&row, "parts")?)
    }

    /// The events of a month in the order of their ids, after `after`; at most `limit`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn logged_in_month(
        &self,
        month: NaiveDate,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>, LedgerError> {
        let connection = self.connection().await?;
        let rows = connection.rows(LOGGED_IN_MONTH, &[&month, &after, &i64::from(limit)]).await?;
        rows.iter().map(event).collect()
    }

    /// Drops a month of the log that is archived at `location`, and keeps its sums, all or nothing. Answers `false`, and drops
    /// nothing, when the month does not have exactly `rows` rows (any more). For the owner of the tables.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Conflict`] when a lock was not given in time: nothing has changed.
    pub async fn drop_archived_month(
        &self,
        month: NaiveDate,
        rows: u64,
        location: &str,
        sha256: &[u8],
    ) -> Result<bool, LedgerError> {
        let connection = self.connection().await?;
        let row = connection.row(DROP_MONTH, &[&month, &signed(rows)?, &location, &sha256]).await?;
        Ok(column::<Option<i64>>(&row, "dropped")?.is_some())
    }

    /// Drops refusals older than `months_kept` whole months and, with `drop_unarchived`, the oldest such month of the log
    /// without an archive. Answers how many rows of the log that were.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Conflict`] when a lock was not given in time: the next call tries again.
    pub async fn drop_old_facts(
        &self,
        months_kept: u32,
        drop_unarchived: bool,
    ) -> Result<u64, LedgerError> {
        let months_kept = i32::try_from(months_kept).unwrap_or(i32::MAX);
        let connection = self.connection().await?;
        let row = connection.row(DROP_OLD_FACTS, &[&months_kept, &drop_unarchived]).await?;
        unsigned(column::<Option<i64>>(&row, "dropped")?.unwrap_or(0))
    }

    /// Drops reservations that have ended, levels that counters came to, and alerts, all older than `months_kept` whole months;
    /// at most 10,000 of each. Answers how many.
    ///
    /// # Errors
    ///
    /// As [`Ledger::drop_old_facts`].
    pub async fn drop_old_records(&self, months_kept: u32) -> Result<u64, LedgerError> {
        let months_kept = i32::try_from(months_kept).unwrap_or(i32::MAX);
        let connection = self.connection().await?;
        let row = connection.row(DROP_OLD_RECORDS, &[&months_kept, &RECORDS_MAX]).await?;
        unsigned(column(&row, "dropped")?)
    }
}

fn event(row: &Row) -> Result<LoggedEvent, LedgerError> {
    Ok(LoggedEvent {
        event_id: column(row, "event_id")?,
        occurred_at_us: column::<DateTime<Utc>>(row, "occurred_at")?.timestamp_micros(),
        epoch: column(row, "epoch")?,
        seq: column(row, "seq")?,
        shard: column(row, "shard")?,
        subject: column(row, "subject")?,
        kind: column(row, "kind")?,
        model: column(row, "model")?,
        plan: column(row, "plan")?,
        charges: column(row, "charges")?,
        deltas: column(row, "deltas")?,
        request_id: column(row, "request_id")?,
        trace_id: column(row, "trace_id")?,
        metadata: column(row, "metadata")?,
    })
}
