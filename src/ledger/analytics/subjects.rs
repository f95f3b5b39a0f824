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

const TOP_SUBJECTS: &str = "-- top_subjects
SELECT top.subject, top.events, top.own, total.units AS total
FROM (SELECT sum(units)::bigint AS units FROM subject_months WHERE month = $1 AND metric = $2) AS total
CROSS JOIN LATERAL (
    SELECT subject, events, units FROM subject_months
    WHERE month = $1 AND metric = $2
    ORDER BY units DESC, subject LIMIT $3
) AS top (subject, events, own)
ORDER BY top.own DESC, top.subject";

const DISTRIBUTION: &str = "-- distribution
SELECT
    count(*) AS subjects,
    coalesce(sum(units), 0)::bigint AS units,
    coalesce(max(units), 0) AS max,
    coalesce(percentile_disc(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY units), ARRAY[0, 0, 0]::bigint[])
        AS percentiles
FROM subject_months WHERE month = $1 AND metric = $2";

const BUCKET_COUNTS: &str = "-- bucket_counts
SELECT width_bucket(units, $3::bigint[])::bigint AS bucket, count(*) AS subjects
FROM subject_months WHERE month = $1 AND metric = $2
GROUP BY 1 ORDER BY 1";

const SUBJECT_DAYS: &str = "-- subject_days
SELECT day, sum(units)::bigint AS units FROM usage_days
WHERE day = ANY (ARRAY(SELECT generate_series($1::date, $2::date, interval '1 day')::date))
    AND subject = $3 AND metric = $4
GROUP BY 1 ORDER BY 1";

const SUBJECT_MODELS: &str = "-- subject_models
SELECT model, sum(units)::bigint AS units FROM usage_days
WHERE day = ANY (ARRAY(SELECT generate_series($1::date, $2::date, interval '1 day')::date))
    AND subject = $3 AND metric = $4 AND model <> ''
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000";

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
        let connection = self.analyst().await?;
        let row = connection.row(DISTRIBUTION, &[&month, &metric]).await?;
        let percentiles: Vec<i64> = column(&row, "percentiles")?;
        let percentile = |place: usize| percentiles.get(place).copied().unwrap_or_default();
        let buckets = BUCKETS.as_slice();
        let counted = connection.rows(BUCKET_COUNTS, &[&month, &metric, &buckets]).await?;
        Ok(Distribution {
            month,
            metric: metric.to_owned(),
            subjects: column(&row, "subjects")?,
            units: column(&row, "units")?,
            p50: percentile(0),
            p90: percentile(1),
            p99: percentile(2),
            max: column(&row, "max")?,
            buckets: counted.iter().map(bucket).collect::<Result<_, _>>()?,
        })
    }

    /// What a root subject used of the metric on each of the days from `from` to `to` with usage.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn subject_days(
        &self,
        from: NaiveDate,
        to: NaiveDate,
        subject: &str,
        metric: &str,
    ) -> Result<Vec<(NaiveDate, i64)>, LedgerError> {
        let params: super::super::tx::Params<'_> = &[&from, &to, &subject, &metric];
        let rows = self.analyst().await?.rows(SUBJECT_DAYS, params).await?;
        rows.iter().map(|row| Ok((column(row, "day")?, column(row, "units")?))).collect()
    }

    /// The models with which a root subject used the metric on the days from `from` to `to`, the most used first.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn subject_models(
        &self,
        from: NaiveDate,
        to: NaiveDate,
        subject: &str,
        metric: &str,
    ) -> Result<Vec<String>, LedgerError> {
        let params: super::super::tx::Params<'_> = &[&from, &to, &subject, &metric];
        let rows = self.analyst().await?.rows(SUBJECT_MODELS, params).await?;
        rows.iter().map(|row| column(row, "model")).collect()
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
    Ok(Bucket { from, below, subjects: column(row, "subjects")? })
}
