//! What the checker asks: whether the tables agree with each other.

mod lives;

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;

use crate::ledger::Ledger;
use crate::ledger::convert::unsigned;
use crate::ledger::error::LedgerError;
use crate::ledger::tx::Connection;
use crate::ledger::tx::Params;
use crate::ledger::tx::Tx;
use crate::ledger::tx::column;

pub use lives::Disagreement;

/// A counter that is not the sum of the log (I1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The level of a subject.
    pub subject: String,
    /// What is counted.
    pub metric: String,
    /// The period's name.
    pub period: String,
    /// First second of the window, in Unix seconds.
    pub window_start_s: i64,
    /// Which of its counts differs: `used`, `carried` or `refunded`.
    pub tally: String,
    /// What the counter says; none when there is no counter.
    pub counted: Option<i64>,
    /// What the log adds up to; none when no event names the counter.
    pub logged: Option<i64>,
}

/// How much the ledger holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows in the log.
    pub events: u64,
    /// Counters.
    pub counters: u64,
    /// Incidents.
    pub incidents: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Rows in the log beyond the first of their id; always 0 (I7).
    pub duplicates: u64,
}

/// The most differences in one answer.
const DIFFERENCES_MAX: u32 = 10_000;

// A check reads whole tables, which takes longer than any other statement may.
const BEGIN_SNAPSHOT: &str = "-- begin_snapshot
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL statement_timeout = '10min'";

// Counters of minutes and hours live in Redis alone; a row of theirs was left by an older version.
const LOG_SUMS_DIFFER: &str = "-- log_sums_differ
WITH in_log AS (
    SELECT
        array_to_string((string_to_array(log.subject, '/'))[1:greatest((delta ->> 0)::integer, 1)], '/')
            AS subject,
        delta ->> 1 AS metric,
        delta ->> 2 AS period,
        to_timestamp((delta ->> 3)::bigint) AS window_start,
        coalesce(sum((delta ->> 5)::bigint) FILTER (WHERE delta ->> 6 IS NULL), 0)::bigint AS used,
        coalesce(sum((delta ->> 5)::bigint) FILTER (WHERE delta ->> 6 = 'carried'), 0)::bigint
            AS carried,
        coalesce(sum((delta ->> 5)::bigint) FILTER (WHERE delta ->> 6 = 'refunded'), 0)::bigint
            AS refunded
    FROM message_logs AS log CROSS JOIN LATERAL jsonb_array_elements(log.deltas) AS delta
    WHERE delta ->> 2 NOT IN ('minute', 'hour')
        AND (delta ->> 6 IS NULL OR delta ->> 6 IN ('carried', 'refunded'))
    GROUP BY 1, 2, 3, 4
),
-- What has left the log for an archive is in its sums.
logged AS (
    SELECT
        subject, metric, period, window_start, sum(used)::bigint AS used,
        sum(carried)::bigint AS carried, sum(refunded)::bigint AS refunded
    FROM (
        SELECT * FROM in_log
        UNION ALL
        SELECT subject, metric, period, window_start, used, carried, refunded FROM archived_sums
    ) AS every
    GROUP BY 1, 2, 3, 4
)
SELECT subject, metric, period, window_start, sums.tally, sums.counted, sums.logged
FROM (SELECT * FROM usage_counters WHERE period NOT IN ('minute', 'hour')) AS counter
FULL JOIN logged USING (subject, metric, period, window_start)
CROSS JOIN LATERAL (
    VALUES
        ('used', counter.used, logged.used),
        ('carried', counter.carried, logged.carried),
        ('refunded', counter.refunded, logged.refunded)
) AS sums (tally, counted, logged)
-- A counter that is missing, or that no event names, is told of once.
WHERE sums.counted IS DISTINCT FROM sums.logged
    AND (sums.tally = 'used' OR coalesce(sums.counted, 0) <> coalesce(sums.logged, 0))
ORDER BY subject, metric, period, window_start, sums.tally
LIMIT $1";

const TOTALS: &str = "-- totals
SELECT
    (SELECT count(*) FROM message_logs) AS events,
    (SELECT count(*) FROM usage_counters) AS counters,
    (SELECT count(*) FROM incidents) AS incidents,
    (SELECT count(*) FROM dead_letters) AS dead_letters,
    (SELECT count(*) - count(DISTINCT event_id) FROM message_logs) AS duplicates";

const WAS_SET: &str = "-- was_set
SELECT EXISTS (
    SELECT FROM message_logs
    WHERE
        occurred_at >= $2 AND (kind = 'set' OR overage)
        AND (subject = $1 OR starts_with(subject, $1 || '/'))
) AS found";

const LARGEST_CHARGE: &str = "-- largest_charge
SELECT coalesce(max((line ->> 5)::bigint), 0) AS units
FROM message_logs CROSS JOIN LATERAL jsonb_array_elements(deltas) AS line
WHERE kind IN ('consume', 'reserve', 'commit')";

impl Ledger {
    /// The most units that an event in the log added to a counter. Reads the log whole, for ten minutes at most.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn largest_charge(&self) -> Result<u64, LedgerError> {
        let rows = self.snapshot(LARGEST_CHARGE, &[]).await?;
        rows.first().map_or(Ok(0), |row| unsigned(column(row, "units")?))
    }

    /// Whether an admin gave counters of the subject, or of one below it, a value since an instant, or a commit passed a
    /// limit.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn was_set(&self, subject: &str, since: DateTime<Utc>) -> Result<bool, LedgerError> {
        let row = self.connection().await?.row(WAS_SET, &[&subject, &since]).await?;
        column(&row, "found")
    }

    /// The counters that are not the sums of the log (I1), in one snapshot; at most `limit` and at most 10,000. Those of
    /// minutes and hours are not looked at. Reads both tables whole, for ten minutes at most.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn log_sums_differ(&self, limit: u32) -> Result<Vec<Difference>, LedgerError> {
        let limit = i64::from(limit.min(DIFFERENCES_MAX));
        let rows = self.snapshot(LOG_SUMS_DIFFER, &[&limit]).await?;
        rows.iter().map(difference).collect()
    }

    /// How much the ledger holds, in one snapshot. Reads the tables whole, for ten minutes at most.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn totals(&self) -> Result<Totals, LedgerError> {
        let rows = self.snapshot(TOTALS, &[]).await?;
        let row = rows.first().ok_or_else(|| LedgerError::Internal("no totals".into()))?;
        let total = |name| column(row, name).and_then(unsigned);
        Ok(Totals {
            events: total("events")?,
            counters: total("counters")?,
            incidents: total("incidents")?,
            dead_letters: total("dead_letters")?,
            duplicates: total("duplicates")?,
        })
    }

    async fn snapshot(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, LedgerError> {
        let connection = Connection::take(&self.pool, crate::ledger::pool::SNAPSHOT_WITHIN).await?;
        let tx = Tx::begin(connection, BEGIN_SNAPSHOT).await?;
        let outcome = tx.rows(sql, params).await;
        tx.end(outcome).await
    }
}

fn difference(row: &Row) -> Result<Difference, LedgerError> {
    Ok(Difference {
        subject: column(row, "subject")?,
        metric: column(row, "metric")?,
        period: column(row, "period")?,
        window_start_s: column::<DateTime<Utc>>(row, "window_start")?.timestamp(),
        tally: column(row, "tally")?,
        counted: column(row, "counted")?,
        logged: column(row, "logged")?,
    })
}
