//! Sums over all subjects.

use chrono::DateTime;
use chrono::Days;
use chrono::NaiveDate;
use chrono::NaiveTime;
use chrono::Utc;

use super::super::Ledger;
use super::super::error::LedgerError;
use super::super::tx::column;
use crate::domain::analytics::ModelUsage;
use crate::domain::analytics::permille;

/// What all subjects used of a metric on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayTotal {
    /// The day in UTC.
    pub day: NaiveDate,
    /// What was counted.
    pub metric: String,
    /// Units charged.
    pub units: i64,
    /// Root subjects with an event.
    pub active_subjects: i64,
}

/// What all subjects used of a metric in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourTotal {
    /// First instant of the hour.
    pub hour: DateTime<Utc>,
    /// Events that charged the metric.
    pub events: i64,
}

/// What all subjects used of a metric in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthTotal {
    /// First day of the month in UTC.
    pub month: NaiveDate,
    /// Events that charged the metric.
    pub events: i64,
    /// Units charged.
    pub units: i64,
    /// Root subjects with an event.
    pub active_subjects: i64,
}

const DAY_TOTALS: &str = "-- day_totals
SELECT usage.day, usage.metric, usage.units, coalesce(active.subjects, 0) AS active_subjects
FROM (
    SELECT (hour AT TIME ZONE 'UTC')::date AS day, metric, sum(units)::bigint AS units
    FROM usage_hours
    WHERE hour >= $1 AND hour < $2 AND metric = ANY ($3)
    GROUP BY 1, 2
) AS usage
LEFT JOIN (
    SELECT day, metric, sum(subjects)::bigint AS subjects
    FROM active_days WHERE metric = ANY ($3) GROUP BY 1, 2
) AS active USING (day, metric)
ORDER BY 1, 2";

const HOUR_TOTALS: &str = "-- hour_totals
SELECT hour, sum(events)::bigint AS events
FROM usage_hours WHERE hour >= $1 AND hour < $2 AND metric = $3
GROUP BY 1 ORDER BY 1";

const MONTH_TOTALS: &str = "-- month_totals
SELECT asked.month, usage.events, usage.units, active.subjects AS active_subjects
FROM unnest($1::date[]) AS asked (month)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(events), 0)::bigint AS events, coalesce(sum(units), 0)::bigint AS units
    FROM usage_hours
    WHERE hour >= asked.month::timestamp AT TIME ZONE 'UTC'
        AND hour < (asked.month + interval '1 month') AT TIME ZONE 'UTC' AND metric = $2
) AS usage
CROSS JOIN LATERAL (
    SELECT coalesce(sum(subjects), 0)::bigint AS subjects FROM active_days
    WHERE day >= asked.month AND day < asked.month + interval '1 month' AND metric = $2
        AND away > day - asked.month
) AS active
ORDER BY 1";

const MODEL_TOTALS: &str = "-- model_totals
SELECT model, sum(events)::bigint AS events, sum(units)::bigint AS units
FROM usage_hours WHERE hour >= $1 AND hour < $2 AND metric = $3
GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT 1000";

// Each subject counts on its first day of those: it was away since before them.
const ACTIVE_SUBJECTS: &str = "-- active_subjects
SELECT coalesce(sum(subjects), 0)::bigint AS subjects FROM active_days
WHERE day BETWEEN $1 AND $2 AND metric = $3 AND away > day - $1::date";

impl Ledger {
    /// What was used of the metrics on the days from `from` to `to`, each day and metric with usage.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn day_totals(
        &self,
        from: NaiveDate,
        to: NaiveDate,
        metrics: &[&str],
    ) -> Result<Vec<DayTotal>, LedgerError> {
        let rows = self
            .analyst()
            .await?
            .rows(DAY_TOTALS, &[&midnight(from), &midnight(next_day(to)), &metrics])
            .await?;
        let read = |row| {
            Ok(DayTotal {
                day: column(row, "day")?,
                metric: column(row, "metric")?,
                units: column(row, "units")?,
                active_subjects: column(row, "active_subjects")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// How many events charged the metric in each hour from `from` to `to`, each hour with one.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn hour_totals(
        &self,
        from: NaiveDate,
        to: NaiveDate,
        metric: &str,
    ) -> Result<Vec<HourTotal>, LedgerError> {
        let params: super::super::tx::Params<'_> =
            &[&midnight(from), &midnight(next_day(to)), &metric];
        let rows = self.analyst().await?.rows(HOUR_TOTALS, params).await?;
        let read =
            |row| Ok(HourTotal { hour: column(row, "hour")?, events: column(row, "events")? });
        rows.iter().map(read).collect()
    }

    /// What was used of the metric in each of `months`, which are first days of months.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn month_totals(
        &self,
        months: &[NaiveDate],
        metric: &str,
    ) -> Result<Vec<MonthTotal>, LedgerError> {
        let rows = self.analyst().await?.rows(MONTH_TOTALS, &[&months, &metric]).await?;
        let read = |row| {
            Ok(MonthTotal {
                month: column(row, "month")?,
                events: column(row, "events")?,
                units: column(row, "units")?,
                active_subjects: column(row, "active_subjects")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// What each model charged of the metric on the days from `from` to `to`, the most used first; at most 1,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn model_totals(
        &self,
        from: NaiveDate,
        to: NaiveDate,
        metric: &str,
    ) -> Result<Vec<ModelUsage>, LedgerError> {
        let params: super::super::tx::Params<'_> =
            &[&midnight(from), &midnight(next_day(to)), &metric];
        let rows = self.analyst().await?.rows(MODEL_TOTALS, params).await?;
        let read = |row| {
            Ok(ModelUsage {
                model: column(row, "model")?,
                events: column(row, "events")?,
                units: column(row, "units")?,
                share_permille: 0,
            })
        };
        let mut models: Vec<ModelUsage> =
            rows.iter().map(read).collect::<Result<_, LedgerError>>()?;
        let total = models.iter().map(|it| it.units).fold(0, i64::saturating_add);
        for model in &mut models {
            model.share_permille = permille(model.units, total);
        }
        Ok(models)
    }

    /// How many root subjects used the metric on any of the days from `from` to `to`, which are at most 93.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn active_subjects(
        &self,
        from: NaiveDate,
        to: NaiveDate,
        metric: &str,
    ) -> Result<i64, LedgerError> {
        let params: super::super::tx::Params<'_> = &[&from, &to, &metric];
        column(&self.analyst().await?.row(ACTIVE_SUBJECTS, params).await?, "subjects")
    }
}

/// The first instant of a day.
pub(super) fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

pub(super) fn next_day(day: NaiveDate) -> NaiveDate {
    day.checked_add_days(Days::new(1)).unwrap_or(day)
}
