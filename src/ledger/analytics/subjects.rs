//! Sums by subject, of a month or of days.

use chrono::NaiveDate;
use tokio_postgres::Row;

use super::super::Ledger;
use super::super::error::LedgerError;
use super::super::tx::column;
use crate::domain::analytics::Bucket;
use crate::domain::analytics::Distribution;
use crate::domain::analytics::SubjectUsage;
use crate::domain::analytics::TopSubjects;
use crate::domain::analytics::permille;

/// The most subjects in one answer.
const SUBJECTS_MAX: u32 = 1_000;
/// Where buckets begin.
const BUCKETS: [i64; 15] =
    [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000, 1_000_000, 1_000_000_000];

/// What a subject used on a day with a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectDay {
    /// The day in UTC.
    pub day: NaiveDate,
    /// The model; empty when a metric was named.
    pub model: String,
    /// Units charged.
    pub units: i64,
}

// What all used is a sum of a few rows an hour. It may be ahead of the subjects' by what is not folded yet.
const TOP_SUBJECTS: &str = "-- top_subjects
SELECT top.subject, top.events, top.own, total.units AS total
FROM (
    SELECT coalesce(sum(units), 0)::bigint AS units FROM usage_hours
    WHERE hour >= $1::date::timestamp AT TIME ZONE 'UTC'
        AND hour < ($1::date + interval '1 month') AT TIME ZONE 'UTC' AND metric = $2
) AS total
CROSS JOIN LATERAL (
    SELECT subject, events, units FROM subject_months
    WHERE month = $1 AND metric = $2
    ORDER BY units DESC, subject LIMIT $3
) AS top (subject, events, own)
ORDER BY top.own DESC, top.subject";

// One look at the subjects: all else is about how many have the same units. A row a bucket, each with what is true of all.
const DISTRIBUTION: &str = "-- distribution
WITH counts AS MATERIALIZED (
    SELECT units, count(*) AS subjects FROM subject_months
    WHERE month = $1 AND metric = $2 GROUP BY units
),
placed AS (
    SELECT
        units, subjects, sum(subjects) OVER (ORDER BY units) AS up_to,
        sum(subjects) OVER () AS total
    FROM counts
),
whole AS (
    SELECT
        sum(subjects)::bigint AS subjects, sum(units * subjects)::bigint AS units,
        max(units) AS max, min(units) FILTER (WHERE up_to * 100 >= total * 50) AS p50,
        min(units) FILTER (WHERE up_to * 100 >= total * 90) AS p90,
        min(units) FILTER (WHERE up_to * 100 >= total * 99) AS p99
    FROM placed
),
buckets AS (
    SELECT
        width_bucket(units, $3::bigint[])::bigint AS bucket, sum(subjects)::bigint AS in_bucket
    FROM counts GROUP BY 1
)
SELECT whole.*, buckets.* FROM buckets CROSS JOIN whole ORDER BY bucket";

const SUBJECT_USAGE: &str = "-- subject_usage
SELECT day, model, units FROM usage_days
WHERE day = ANY (ARRAY(SELECT generate_series($1::date, $2::date, interval '1 day')::date))
    AND subject = $3 AND metric = $4
ORDER BY day, model LIMIT 10000";

// What lies below a root has no rollup of its own.
const SUBJECT_USAGE_LOGGED: &str = "-- subject_usage_logged
SELECT
    (occurred_at AT TIME ZONE 'UTC')::date AS day, coalesce(model, '') AS model,
    sum((charges ->> $4)::bigint)::bigint AS units
FROM message_logs
WHERE subject = $3 AND occurred_at >= $1::date::timestamp AT TIME ZONE 'UTC'
    AND occurred_at < ($2::date + 1)::timestamp AT TIME ZONE 'UTC'
    AND kind IN ('consume', 'commit') AND jsonb_exists(charges, $4)
GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 10000";

impl Ledger {
    /// The root subjects that used most of the metric in the month, which is a first day; at most `limit` and at most
    /// 1,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn top_subjects(
        &self,
        month: NaiveDate,
        metric: &str,
        limit: u32,
    ) -> Result<TopSubjects, LedgerError> {
        let limit = i64::from(limit.min(SUBJECTS_MAX));
        let rows = self.analyst().await?.rows(TOP_SUBJECTS, &[&month, &metric, &limit]).await?;
        let subjects = rows.iter().map(subject).collect::<Result<_, _>>()?;
        Ok(TopSubjects { month, metric: metric.to_owned(), subjects })
    }

    /// How the units of the metric are spread over root subjects in the month, which is a first day.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn distribution(
        &self,
        month: NaiveDate,
        metric: &str,
    ) -> Result<Distribution, LedgerError> {
        let bounds = BUCKETS.as_slice();
        let rows = self.analyst().await?.rows(DISTRIBUTION, &[&month, &metric, &bounds]).await?;
        // Nobody used anything when there is no row.
        let whole = |name| rows.first().map_or(Ok(0), |row| column(row, name));
        Ok(Distribution {
            month,
            metric: metric.to_owned(),
            subjects: whole("subjects")?,
            units: whole("units")?,
            p50: whole("p50")?,
            p90: whole("p90")?,
            p99: whole("p99")?,
            max: whole("max")?,
            buckets: rows.iter().map(bucket).collect::<Result<_, _>>()?,
        })
    }

    /// What a subject used of the metric, by model, on each of the days from `from` to `to` with usage; at most 10,000
    /// lines. Of a root that is a look into the rollups; a deeper subject's own events are read in the log.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn subject_usage(
        &self,
        from: NaiveDate,
        to: NaiveDate,
        subject: &str,
        metric: &str,
    ) -> Result<Vec<SubjectDay>, LedgerError> {
        let sql = if subject.contains('/') { SUBJECT_USAGE_LOGGED } else { SUBJECT_USAGE };
        let params: super::super::tx::Params<'_> = &[&from, &to, &subject, &metric];
        let rows = self.analyst().await?.rows(sql, params).await?;
        let read = |row| {
            let (day, model) = (column(row, "day")?, column(row, "model")?);
            Ok(SubjectDay { day, model, units: column(row, "units")? })
        };
        rows.iter().map(read).collect()
    }
}

fn subject(row: &Row) -> Result<SubjectUsage, LedgerError> {
    let units = column(row, "own")?;
    Ok(SubjectUsage {
        subject: column(row, "subject")?,
        events: column(row, "events")?,
        units,
        share_permille: permille(units, column(row, "total")?),
    })
}

/// Bucket 0 is what lies below the first bound, where refunds of an earlier month may have taken a sum.
fn bucket(row: &Row) -> Result<Bucket, LedgerError> {
    let number: i64 = column(row, "bucket")?;
    let place = usize::try_from(number.max(1)).unwrap_or(1);
    let from = BUCKETS.get(place - 1).copied().unwrap_or_default();
    let from = if number < 1 { i64::MIN } else { from };
    let below = if number < 1 { Some(0) } else { BUCKETS.get(place).copied() };
    Ok(Bucket { from, below, subjects: column(row, "in_bucket")? })
}
