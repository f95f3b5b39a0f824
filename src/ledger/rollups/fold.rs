//! The tables `usage_days`, `subject_months` and `active_days`: each subject's usage by the day and by the month, and how
//! many subjects were active.

use chrono::NaiveDate;
use tokio_postgres::Row;

use super::super::Ledger;
use super::super::convert::unsigned;
use super::super::error::LedgerError;
use super::super::tx::Params;
use super::super::tx::Tx;
use super::super::tx::column;
use super::active;
use super::active::Came;

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

const IS_QUEUED_BEFORE: &str = "-- is_queued_before
SELECT EXISTS (
    SELECT FROM rollup_queue CROSS JOIN LATERAL unnest(days) AS line (day) WHERE line.day < $1
) AS found";

// `new_days` is what was not there before: who has some comes with its days, as the statement found them and as it left them, in
// the months that can matter to how long it was away. A day on which a subject has only refunds is no day of activity. Sums come
// in the order of the rows, so that one page is changed after the other.
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
    RETURNING month, metric, subject, days, new_days
),
span AS (
    SELECT array_agg(month::date) AS months
    FROM (SELECT min(month) AS first, max(month) AS last FROM folded_months) AS folded
    CROSS JOIN generate_series(
        folded.first - interval '4 months', folded.last + interval '4 months', interval '1 month'
    ) AS month
),
came AS (
    SELECT
        metric, subject, array_agg(month ORDER BY month) AS months,
        array_agg(days ORDER BY month) AS days
    FROM folded_months GROUP BY 1, 2 HAVING bool_or(new_days <> 0)
),
alike AS (
    SELECT
        came.metric, came.months, came.days, known.months AS known_months,
        known.days AS known_days, count(*) AS subjects
    FROM came
    CROSS JOIN LATERAL (
        SELECT
            coalesce(array_agg(month ORDER BY month), '{}') AS months,
            coalesce(array_agg(days ORDER BY month), '{}') AS days
        FROM subject_months
        WHERE month = ANY ((SELECT months FROM span)::date[])
            AND metric = came.metric AND subject = came.subject
    ) AS known
    GROUP BY 1, 2, 3, 4, 5
)
SELECT counted.flushes, alike.*
FROM (SELECT count(*) AS flushes FROM taken) AS counted LEFT JOIN alike ON true";

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

    /// Whether sums of days before `day` wait to be folded.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn is_queued_before(&self, day: NaiveDate) -> Result<bool, LedgerError> {
        column(&self.connection().await?.row(IS_QUEUED_BEFORE, &[&day]).await?, "found")
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
    let rows = tx.rows(FOLD, &[&FLUSHES_MAX, &LINES_MAX]).await?;
    let flushes = rows.first().map_or(Ok(0), |row| column::<i64>(row, "flushes"))?;
    let is_told = |row: &&Row| !matches!(column::<Option<i64>>(row, "subjects"), Ok(None));
    let came = rows.iter().filter(is_told);
    active::add(tx, &came.map(Came::read).collect::<Result<Vec<_>, _>>()?).await?;
    unsigned(flushes)
}
