//! What usage adds up to.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Datelike;
use chrono::Days;
use chrono::Months;
use chrono::NaiveDate;
use chrono::Utc;

use crate::domain::analytics::DaySummary;
use crate::domain::analytics::DenialHour;
use crate::domain::analytics::DenialRate;
use crate::domain::analytics::Distribution;
use crate::domain::analytics::ModelShares;
use crate::domain::analytics::MonthOverMonth;
use crate::domain::analytics::MonthUsage;
use crate::domain::analytics::Summary;
use crate::domain::analytics::TopSubjects;
use crate::domain::analytics::permille;
use crate::ledger::MonthTotal;

use super::Quota;
use super::error::QuotaError;

/// The trailing days up to and with today, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrailingDays {
    /// The first.
    pub from: NaiveDate,
    /// Today.
    pub to: NaiveDate,
}

impl Quota {
    /// The last `days` days with today. At least one.
    #[must_use]
    pub fn trailing_days(&self, days: u32) -> TrailingDays {
        let to = self.counters.redis_now().date_naive();
        let before = Days::new(u64::from(days.max(1)) - 1);
        TrailingDays { from: to.checked_sub_days(before).unwrap_or(to), to }
    }

    /// The first day of this month, in UTC.
    #[must_use]
    pub fn this_month(&self) -> NaiveDate {
        first_of_month(self.counters.redis_now().date_naive())
    }

    /// Messages, premium messages and active subjects of each day.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when the analysts' store is away, here and below.
    pub async fn summary(
        &self,
        days: TrailingDays,
        metric: &str,
        premium_metric: &str,
    ) -> Result<Summary, QuotaError> {
        let TrailingDays { from, to } = days;
        let totals = self.ledger.day_totals(from, to, &[metric, premium_metric]).await;
        let totals = totals.map_err(QuotaError::of_ledger)?;
        let active = self.ledger.active_subjects(from, to, metric).await;
        let mut by_day: BTreeMap<NaiveDate, DaySummary> = from
            .iter_days()
            .take_while(|day| *day <= to)
            .map(|day| (day, nothing_on(day)))
            .collect();
        for total in totals {
            let Some(day) = by_day.get_mut(&total.day) else { continue };
            if total.metric == metric {
                (day.total_messages, day.active_users) = (total.units, total.active_subjects);
            }
            if total.metric == premium_metric {
                day.premium_messages = total.units;
            }
        }
        let days: Vec<DaySummary> = by_day.into_values().collect();
        let sum =
            |units: fn(&DaySummary) -> i64| days.iter().map(units).fold(0, i64::saturating_add);
        Ok(Summary {
            from,
            to,
            total_messages: sum(|day| day.total_messages),
            premium_messages: sum(|day| day.premium_messages),
            active_users: active.map_err(QuotaError::of_ledger)?,
            days,
        })
    }

    /// The root subjects that used most of the metric in the month; at most `limit` and at most 1,000.
    ///
    /// # Errors
    ///
    /// As [`Quota::summary`].
    pub async fn top_subjects(
        &self,
        month: NaiveDate,
        metric: &str,
        limit: u32,
    ) -> Result<TopSubjects, QuotaError> {
        self.ledger.top_subjects(month, metric, limit).await.map_err(QuotaError::of_ledger)
    }

    /// How the units of the metric are spread over root subjects in the month.
    ///
    /// # Errors
    ///
    /// As [`Quota::summary`].
    pub async fn distribution(
        &self,
        month: NaiveDate,
        metric: &str,
    ) -> Result<Distribution, QuotaError> {
        self.ledger.distribution(month, metric).await.map_err(QuotaError::of_ledger)
    }

    /// What each model charged of the metric.
    ///
    /// # Errors
    ///
    /// As [`Quota::summary`].
    pub async fn model_shares(
        &self,
        days: TrailingDays,
        metric: &str,
    ) -> Result<ModelShares, QuotaError> {
        let TrailingDays { from, to } = days;
        let models = self.ledger.model_totals(from, to, metric).await;
        let models = models.map_err(QuotaError::of_ledger)?;
        Ok(ModelShares { from, to, metric: metric.to_owned(), models })
    }

    /// How many requests the limits of the metric refused, and how many events charged it.
    ///
    /// # Errors
    ///
    /// As [`Quota::summary`].
    pub async fn denial_rate(
        &self,
        days: TrailingDays,
        metric: &str,
    ) -> Result<DenialRate, QuotaError> {
        let TrailingDays { from, to } = days;
        let accepted = self.ledger.hour_totals(from, to, metric).await;
        let accepted = accepted.map_err(QuotaError::of_ledger)?;
        let refused = self.ledger.denial_totals(from, to, metric).await;
        let refused = refused.map_err(QuotaError::of_ledger)?;
        let mut hours: BTreeMap<DateTime<Utc>, DenialHour> = BTreeMap::new();
        let none = |hour| DenialHour { hour, denied: 0, accepted: 0 };
        for total in accepted {
            hours.entry(total.hour).or_insert_with(|| none(total.hour)).accepted = total.events;
        }
        for (hour, denied) in refused.hours {
            hours.entry(hour).or_insert_with(|| none(hour)).denied = denied;
        }
        let hours: Vec<DenialHour> = hours.into_values().collect();
        let (denied, accepted) = hours.iter().fold((0_i64, 0_i64), |(denied, accepted), hour| {
            (denied.saturating_add(hour.denied), accepted.saturating_add(hour.accepted))
        });
        Ok(DenialRate {
            metric: metric.to_owned(),
            denied,
            accepted,
            denied_permille: permille(denied, denied.saturating_add(accepted)),
            hours,
            codes: refused.codes,
            models: refused.models,
        })
    }

    /// What was used of the metric in each of the last `count` months with this one. At least one.
    ///
    /// # Errors
    ///
    /// As [`Quota::summary`].
    pub async fn month_over_month(
        &self,
        count: u32,
        metric: &str,
    ) -> Result<MonthOverMonth, QuotaError> {
        let this = self.this_month();
        // One before the first, to which that is compared.
        let back = (0..=count.max(1)).rev();
        let months: Vec<NaiveDate> =
            back.filter_map(|back| this.checked_sub_months(Months::new(back))).collect();
        let totals = self.ledger.month_totals(&months, metric).await;
        let totals = totals.map_err(QuotaError::of_ledger)?;
        let months = totals.windows(2).map(|pair| changed(pair[0], pair[1])).collect();
        Ok(MonthOverMonth { metric: metric.to_owned(), months })
    }
}

const fn nothing_on(date: NaiveDate) -> DaySummary {
    DaySummary { date, total_messages: 0, premium_messages: 0, active_users: 0 }
}

fn changed(before: MonthTotal, total: MonthTotal) -> MonthUsage {
    let more = total.units.saturating_sub(before.units);
    MonthUsage {
        month: total.month,
        events: total.events,
        units: total.units,
        active_subjects: total.active_subjects,
        change_permille: (before.units > 0).then(|| permille(more, before.units)),
    }
}

fn first_of_month(day: NaiveDate) -> NaiveDate {
    day.with_day(1).unwrap_or(day)
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::changed;
    use crate::ledger::MonthTotal;

    #[test]
    fn a_month_after_one_without_units_has_no_change() {
        let month = |units| {
            let month = NaiveDate::from_ymd_opt(2027, 2, 1).unwrap();
            MonthTotal { month, events: 1, units, active_subjects: 1 }
        };
        let change = |before, units| changed(month(before), month(units)).change_permille;

        assert_eq!([change(0, 5), change(0, 0)], [None, None]);
        assert_eq!([change(10, 15), change(10, 5), change(10, 10)], [500, -500, 0].map(Some));
    }
}
