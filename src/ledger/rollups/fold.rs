//! The tables `usage_days`, `subject_months` and `active_days`: each subject's usage by the day and by the month, and how
//! many subjects were active.

use super::super::Ledger;
use super::super::convert::unsigned;
use super::super::error::LedgerError;
use super::super::tx::Params;
use super::super::tx::Tx;
use super::super::tx::column;

/// Flushes whose sums are folded at once.
const FLUSHES_MAX: i64 = 1_000;
/// Sums that are folded at once, and at most those of one flush more: a second or two of Postgres' time.
const LINES_MAX: i64 = 300_000;
/// Sums that are not worth a wait.
const LINES_FEW: i64 = 20_000;
/// The longest wait of more sums for others that change the same rows.
const WAIT_MAX_S: f64 = 60.0;

// One fold at a time: two would wait for each other's rows, and count an active subject twice.
const IS_FIRST: &str = "-- is_first_to_fold
SELECT pg_try_advisory_xact_lock(hashtextextended('headroom.rollups', 0)) AS found";

const SORT_IN_MEMORY: &str = "-- sort_in_memory
SET LOCAL work_mem = '64MB'";

// Many sums wait for more, since a row that changes once for all of them costs as much as for one.
const ARE_ROLLUPS_DUE: &str = "-- are_rollups_due
SELECT
    sum(lines) NOT BETWEEN $1::bigint AND $2::bigint OR min(queued_at) < now() - make_interval(secs => $3)
    AS due
FROM rollup_queue";

// `new_days` is what was not there before, so that the answer says which days are to be counted as active. A day on which a
// subject has only refunds is no day of activity. Sums come in the order of the rows, so that one page is changed after the
// other.
const FOLD: &str = "-- fold
WITH taken AS (
    DELETE FROM rollup_queue
    WHERE id IN (
        SELECT id FROM (
            SELECT id, sum(lines) OVER (ORDER BY id) - lines AS lines_before FROM rollup_queue
        ) AS queued
        WHERE lines_before < $2::bigint ORDER BY id LIMIT $1
    )
    RETURNING days, subjects, metrics, models, events, units
),
sums AS MATERIALIZED (
    SELECT
        line.day, line.subject, line.metric, line.model,
        sum(line.events)::bigint AS events, sum(line.units)::bigint AS units
    FROM taken
    CROSS JOIN LATERAL unnest(
        taken.days, taken.subjects, taken.metrics, taken.models, taken.events, taken.units
    ) AS line (day, subject, metric, model, events, units)
    GROUP BY 1, 2, 3, 4
    ORDER BY 1, 2, 3, 4
),
folded_days AS (
    INSERT INTO usage_days (day, subject, metric, model, events, units)
    SELECT * FROM sums
    ON CONFLICT (day, subject, metric, model) DO UPDATE SET
        events = usage_days.events + excluded.events,
        units = usage_days.units + excluded.units
),
folded_months AS (
    INSERT INTO subject_months (month, metric, subject, events, units, days, new_days)
    SELECT month.*, month.days FROM (
        SELECT
            date_trunc('month', sums.day)::date, sums.metric, sums.subject,
            sum(sums.events)::bigint, sum(sums.units)::bigint,
            bit_or((sums.events > 0)::integer::bigint << (extract(DAY FROM sums.day)::integer - 1))
                AS days
        FROM sums GROUP BY 1, 2, 3
        ORDER BY 1, 2, 3
    ) AS month
    ON CONFLICT (month, metric, subject) DO UPDATE SET
        events = subject_months.events + excluded.events,
        units = subject_months.units + excluded.units,
        days = subject_months.days | excluded.days,
        new_days = excluded.days & ~subject_months.days
    RETURNING month, metric, new_days
),
folded_active AS (
    INSERT INTO active_days (day, metric, subjects)
    SELECT month + bit, metric, count(*)
    FROM folded_months
    CROSS JOIN generate_series(0, 30) AS bit
    WHERE new_days <> 0 AND new_days & (1::bigint << bit) <> 0
    GROUP BY 1, 2
    ON CONFLICT (day, metric) DO UPDATE SET subjects = active_days.subjects + excluded.subjects
)
SELECT count(*) AS flushes FROM taken";

impl Ledger {
    /// Whether what waits to be folded is so little that a fold is cheap, so much that it fills one, or a minute old.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn are_rollups_due(&self) -> Result<bool, LedgerError> {
        let params: Params<'_> = &[&LINES_FEW, &LINES_MAX, &WAIT_MAX_S];
        let row = self.connection().await?.row(ARE_ROLLUPS_DUE, params).await?;
        Ok(column::<Option<bool>>(&row, "due")?.unwrap_or(false))
    }

    /// Moves sums of at most 1,000 flushes, about 300,000 sums, from the queue into the rollups; answers of how many flushes,
    /// 0 when nothing waits or somebody else is at it.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like; nothing has changed then.
    pub async fn fold_rollups(&self) -> Result<u64, LedgerError> {
        let tx = self.begin().await?;
        let outcome = fold(&tx).await;
        tx.end(outcome).await
    }
}

async fn fold(tx: &Tx) -> Result<u64, LedgerError> {
    if !column::<bool>(&tx.row(IS_FIRST, &[]).await?, "found")? {
        return Ok(0);
    }
    tx.run(SORT_IN_MEMORY).await?;
    unsigned(column(&tx.row(FOLD, &[&FLUSHES_MAX, &LINES_MAX]).await?, "flushes")?)
}
