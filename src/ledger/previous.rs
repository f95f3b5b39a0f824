//! What a window that ended leaves to the next.

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;

use crate::domain::Metric;
use crate::domain::Period;

use super::Ledger;
use super::convert::instant_s;
use super::error::LedgerError;
use super::tx::Params;
use super::tx::column;

/// What a subject did in windows that ended, as far as the log has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Previous {
    /// When something was first configured for the subject; `None` when nothing ever was.
    pub created_at: Option<DateTime<Utc>>,
    /// Those of the windows that were counted in, or in which something is held, in no order.
    pub counters: Vec<PreviousCounter>,
}

/// The counter of a window that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousCounter {
    /// What is counted.
    pub metric: String,
    /// The period's name.
    pub period: String,
    /// First second of the window, in Unix seconds.
    pub window_start_s: i64,
    /// Units used.
    pub used: i64,
    /// Units that were carried into it.
    pub carried: i64,
    /// Units that open reservations hold in it.
    pub held: i64,
}

// A row carries a counter or, when there is none, the subject alone.
const PREVIOUS_COUNTERS: &str = "-- previous_counters
SELECT
    (SELECT created_at FROM subjects WHERE subjects.subject = $1) AS created_at,
    counter.metric, counter.period, counter.window_start, counter.used, counter.carried,
    counter.held
FROM (VALUES (true)) AS one_row
LEFT JOIN (
    SELECT
        wanted.metric, wanted.period, wanted.window_start, coalesce(counted.used, 0) AS used,
        coalesce(counted.carried, 0) AS carried, coalesce(open.held, 0) AS held
    FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS wanted (metric, period, window_start)
    LEFT JOIN usage_counters AS counted
        ON counted.subject = $1 AND counted.metric = wanted.metric
        AND counted.period = wanted.period AND counted.window_start = wanted.window_start
    CROSS JOIN LATERAL (
        SELECT sum(units)::bigint AS held FROM reservation_holds
        WHERE level = $1 AND metric = wanted.metric AND period = wanted.period
            AND window_start = wanted.window_start AND grant_id IS NULL AND until > $5
    ) AS open
    WHERE counted.subject IS NOT NULL OR open.held > 0
) AS counter ON true";

impl Ledger {
    /// What the subject at `path` itself did in the given windows, each a metric, a period and the first second of the window,
    /// what it holds in them at the instant `at`, and since when it is known; in one snapshot. What is still in the outbox is
    /// not counted.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn previous_counters(
        &self,
        path: &str,
        windows: &[(Metric, Period, i64)],
        at: DateTime<Utc>,
    ) -> Result<Previous, LedgerError> {
        let metrics: Vec<&str> = windows.iter().map(|window| window.0.as_str()).collect();
        let periods: Vec<&str> = windows.iter().map(|window| window.1.as_str()).collect();
        let starts = windows.iter().map(|window| instant_s(window.2));
        let starts: Vec<DateTime<Utc>> = starts.collect::<Result<_, _>>()?;
        let params: Params<'_> = &[&path, &metrics, &periods, &starts, &at];
        let rows = self.connection().await?.rows(PREVIOUS_COUNTERS, params).await?;
        let created_at = rows.first().map(|row| column(row, "created_at")).transpose()?;
        let counters = rows.iter().filter_map(|row| counter(row).transpose());
        Ok(Previous {
            created_at: created_at.flatten(),
            counters: counters.collect::<Result<_, _>>()?,
        })
    }
}

/// The counter in a row, if it carries one.
fn counter(row: &Row) -> Result<Option<PreviousCounter>, LedgerError> {
    let Some(metric) = column(row, "metric")? else { return Ok(None) };
    Ok(Some(PreviousCounter {
        metric,
        period: column(row, "period")?,
        window_start_s: column::<DateTime<Utc>>(row, "window_start")?.timestamp(),
        used: column(row, "used")?,
        carried: column(row, "carried")?,
        held: column(row, "held")?,
    }))
}
