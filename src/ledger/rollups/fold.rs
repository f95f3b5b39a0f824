//! The tables `usage_days`, `subject_months` and `active_days`: each subject's usage by the day and by the month, and how
//! many subjects were active.

use super::super::Ledger;
use super::super::convert::unsigned;
use super::super::error::LedgerError;
use super::super::tx::Tx;
use super::super::tx::column;

/// Rows of the queue folded at once, each the sums of a flush.
const FLUSHES_MAX: i64 = 50;

// One fold at a time: two would wait for each other's rows, and count an active subject twice.
const IS_FIRST: &str = "-- is_first_to_fold
SELECT pg_try_advisory_xact_lock(hashtextextended('headroom.rollups', 0)) AS found";

// `new_days` is what was not there before, so that the answer says which days are to be counted as active. A day on which a
// subject has only refunds is no day of activity.
const FOLD: &str = "-- fold
WITH taken AS (
    DELETE FROM rollup_queue
    WHERE id IN (SELECT id FROM rollup_queue ORDER BY id LIMIT $1)
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
    WHERE new_days & (1::bigint << bit) <> 0
    GROUP BY 1, 2
    ON CONFLICT (day, metric) DO UPDATE SET subjects = active_days.subjects + excluded.subjects
)
SELECT count(*) AS flushes FROM taken";

impl Ledger {
    /// Moves sums of at most 50 flushes from the queue into the rollups; answers of how many, 0 when nothing waits or
    /// somebody else is at it.
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
    unsigned(column(&tx.row(FOLD, &[&FLUSHES_MAX]).await?, "flushes")?)
}
