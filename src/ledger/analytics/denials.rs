//! Refusals by hour, code and model.

use chrono::DateTime;
use chrono::NaiveDate;
use chrono::Utc;

use super::super::Ledger;
use super::super::error::LedgerError;
use super::super::tx::column;
use super::totals::midnight;
use super::totals::next_day;
use crate::domain::analytics::DenialCount;

const DENIAL_HOURS: &str = "-- denial_hours
SELECT hour, sum(denials)::bigint AS denied FROM denial_hours
WHERE hour >= $1 AND hour < $2 AND metric IN ($3, '')
GROUP BY 1 ORDER BY 1";

const DENIAL_CODES: &str = "-- denial_codes
SELECT code AS name, sum(denials)::bigint AS denied FROM denial_hours
WHERE hour >= $1 AND hour < $2 AND metric IN ($3, '')
GROUP BY 1 ORDER BY 2 DESC, 1";

const DENIAL_MODELS: &str = "-- denial_models
SELECT model AS name, sum(denials)::bigint AS denied FROM denial_hours
WHERE hour >= $1 AND hour < $2 AND metric IN ($3, '')
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000";

/// Refusals by the limits of a metric, and of requests that reached no limit: by a model or feature, without a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenialTotals {
    /// Each hour with a refusal, and how many.
    pub hours: Vec<(DateTime<Utc>, i64)>,
    /// By code, the most frequent first.
    pub codes: Vec<DenialCount>,
    /// By model, the most frequent first; at most 1,000.
    pub models: Vec<DenialCount>,
}

impl Ledger {
    /// Refusals that name the metric or none, on the days from `from` to `to`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn denial_totals(
        &self,
        from: NaiveDate,
        to: NaiveDate,
        metric: &str,
    ) -> Result<DenialTotals, LedgerError> {
        let connection = self.analyst().await?;
        let (from, to) = (midnight(from), midnight(next_day(to)));
        let params: super::super::tx::Params<'_> = &[&from, &to, &metric];
        let hours = connection.rows(DENIAL_HOURS, params).await?;
        let codes = connection.rows(DENIAL_CODES, params).await?;
        let models = connection.rows(DENIAL_MODELS, params).await?;
        let hour = |row| Ok((column(row, "hour")?, column(row, "denied")?));
        let count =
            |row| Ok(DenialCount { name: column(row, "name")?, denied: column(row, "denied")? });
        Ok(DenialTotals {
            hours: hours.iter().map(hour).collect::<Result<_, LedgerError>>()?,
            codes: codes.iter().map(count).collect::<Result<_, LedgerError>>()?,
            models: models.iter().map(count).collect::<Result<_, LedgerError>>()?,
        })
    }
}
