//! Sums over all subjects.

use chrono::DateTime;
use chrono::Datelike;
use chrono::Days;
use chrono::Months;
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
LEFT JOIN active_days AS active USING (day, metric)
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
    SELECT count(*) AS subjects FROM subject_months
    WHERE month = asked.month AND metric = $2 AND days <> 0
) AS active
ORDER BY 1";

const MODEL_TOTALS: &str = "-- model_totals
SELECT model, sum(events)::bigint AS events, sum(units)::bigint AS units
FROM usage_hours WHERE hour >= $1 AND hour < $2 AND metric = $3
GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT 1000";

// Of each month those days count that the mask has.
const ACTIVE_SUBJECTS: &str = "-- active_subjects
SELECT count(*) AS subjects FROM (
    SELECT month.subject
    FROM unnest($1::date[], $2::bigint[]) AS asked (month, mask)
    JOIN subject_months AS month ON month.month = asked.month AND month.metric = $3
    WHERE month.days & asked.mask <> 0
    GROUP BY 1
) AS active";

// A subject has one row a month, which spares the look for those that come again.
const ACTIVE_SUBJECTS_OF_MONTH: &str = "-- active_subjects_of_month
SELECT count(*) AS subjects FROM subject_months
WHERE month = ($1::date[])[1] AND metric = $3 AND days & ($2::bigint[])[1] <> 0";

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

    /// How many root subjects used the metric on any of the days from `from` to `to`.
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
        let (months, masks) = masks(from, to);
        let sql = if months.len() == 1 { ACTIVE_SUBJECTS_OF_MONTH } else { ACTIVE_SUBJECTS };
        let params: super::super::tx::Params<'_> = &[&months, &masks, &metric];
        column(&self.analyst().await?.row(sql, params).await?, "subjects")
    }
}

/// The first instant of a day.
pub(super) fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

pub(super) fn next_day(day: NaiveDate) -> NaiveDate {
    day.checked_add_days(Days::new(1)).unwrap_or(day)
}

/// The months that the days are in, and for each the bits of those days.
fn masks(from: NaiveDate, to: NaiveDate) -> (Vec<NaiveDate>, Vec<i64>) {
    let (mut months, mut masks) = (Vec::new(), Vec::new());
    let mut month = from.with_day(1).unwrap_or(from);
    while month <= to {
        let days = (0..31_u32)
            .filter(|bit| month.with_day(bit + 1).is_some_and(|day| from <= day && day <= to));
        months.push(month);
        masks.push(days.fold(0_i64, |mask, bit| mask | 1 << bit));
        match month.checked_add_months(Months::new(1)) {
            Some(next) => month = next,
            None => break,
        }
    }
    (months, masks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_the_days_and_no_others() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let (months, bits) = masks(day("2027-01-30"), day("2027-03-02"));
        assert_eq!(months, ["2027-01-01", "2027-02-01", "2027-03-01"].map(day));
        assert_eq!(bits, [0b11 << 29, (1 << 28) - 1, 0b11]);
        assert_eq!(masks(day("2027-01-05"), day("2027-01-05")).1, [1 << 4]);
    }
}
