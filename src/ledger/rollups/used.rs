//! What a root used on some days, and since when: what limits that follow usage are computed from.

use chrono::Datelike;
use chrono::Days;
use chrono::NaiveDate;

use super::super::Ledger;
use super::super::convert::unsigned;
use super::super::error::LedgerError;
use super::super::tx::Params;
use super::super::tx::column;

/// The most subjects in one answer.
const SUBJECTS_MAX: u32 = 1_000;

const UNITS_USED: &str = "-- units_used
SELECT greatest(coalesce(sum(units), 0), 0)::bigint AS units FROM usage_days
WHERE day = ANY (ARRAY(SELECT generate_series($1::date, $2::date, interval '1 day')::date))
    AND subject = $3 AND metric = $4";

// One look into the index a month that there is.
const FIRST_MONTH: &str = "-- first_month
SELECT used.month, used.days
FROM generate_series((SELECT min(month) FROM subject_months), $1::date, interval '1 month') AS step (month)
INNER JOIN subject_months AS used
    ON used.month = step.month::date AND used.metric = $2 AND used.subject = $3
WHERE used.days <> 0
ORDER BY used.month LIMIT 1";

// Those that were erased have no counter; their sums go on under a name that is nobody's.
const UNCONFIGURED_USERS: &str = "-- unconfigured_users
SELECT used.subject FROM subject_months AS used
WHERE used.month = $1 AND used.metric = $2 AND used.subject > $3
    AND NOT EXISTS (
        SELECT FROM subjects AS configured
        WHERE configured.subject = used.subject AND NOT configured.is_deleted
    )
    AND EXISTS (
        SELECT FROM usage_counters AS counter
        WHERE counter.subject COLLATE \"C\" = used.subject AND counter.metric = $2
    )
ORDER BY used.subject LIMIT $4";

impl Ledger {
    /// Units of the metric that a root, with all below it, used on the days from `from` to `to`, less those refunded; 0 when
    /// more was refunded than used.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn units_used(
        &self,
        from: NaiveDate,
        to: NaiveDate,
        subject: &str,
        metric: &str,
    ) -> Result<u64, LedgerError> {
        let params: Params<'_> = &[&from, &to, &subject, &metric];
        let row = self.connection().await?.row(UNITS_USED, params).await?;
        unsigned(column(&row, "units")?)
    }

    /// The first day (UTC), up to the end of the month of `to`, on which a root used the metric, as far as months are kept;
    /// none before.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn first_used_on(
        &self,
        to: NaiveDate,
        subject: &str,
        metric: &str,
    ) -> Result<Option<NaiveDate>, LedgerError> {
        let rows = self.connection().await?.rows(FIRST_MONTH, &[&to, &metric, &subject]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (month, days): (NaiveDate, i64) = (column(row, "month")?, column(row, "days")?);
        Ok(month.checked_add_days(Days::new(days.trailing_zeros().into())))
    }

    /// The roots without a profile that used the metric in the month of `day` and have a counter of it; those after `after`
    /// in the order of bytes, at most `limit` and at most 1,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn unconfigured_users(
        &self,
        day: NaiveDate,
        metric: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, LedgerError> {
        let month = day.with_day(1).unwrap_or(day);
        let limit = i64::from(limit.min(SUBJECTS_MAX));
        let params: Params<'_> = &[&month, &metric, &after, &limit];
        let rows = self.connection().await?.rows(UNCONFIGURED_USERS, params).await?;
        rows.iter().map(|row| column(row, "subject")).collect()
    }
}
