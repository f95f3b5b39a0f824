//! When a subject reaches its limits if things go on as they do.

use std::collections::BTreeMap;

use chrono::Days;
use chrono::NaiveDate;

use crate::domain::Amount;
use crate::domain::Catalogue;
use crate::domain::LimitState;
use crate::domain::Metric;
use crate::domain::ModelRule;
use crate::domain::Period;
use crate::domain::Subject;
use crate::domain::Units;
use crate::domain::forecast::DailyUsage;
use crate::domain::forecast::Forecast;
use crate::domain::forecast::Hint;
use crate::domain::forecast::Reading;
use crate::ledger::SubjectDay;

use super::Quota;
use super::error::QuotaError;
use super::usage::Usage;

/// Whole days that a forecast goes by at most.
const DAYS: u64 = 28;

/// What is foretold of a subject's limits on a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForecastReport {
    /// The usage of whole days that it goes by, 28 at most.
    pub usage: DailyUsage,
    /// The subject's own limits on the metric with windows of a day or longer, and what is foretold of each.
    pub limits: Vec<(LimitState, Forecast)>,
    /// What would make them last longer.
    pub hints: Vec<Hint>,
}

impl Quota {
    /// Foretells when the subject reaches its own limits on the metric.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownMetric`], [`QuotaError::NoPlan`], and [`QuotaError::Unavailable`] when a store is away.
    pub async fn forecast(
        &self,
        subject: &Subject,
        metric: &Metric,
    ) -> Result<ForecastReport, QuotaError> {
        if !self.has_metric(metric) {
            return Err(QuotaError::UnknownMetric);
        }
        let state = self.usage(subject).await?;
        let (now, today) = (self.counters.redis_now(), self.counters.redis_now().date_naive());
        let days_before = |days| today.checked_sub_days(Days::new(days)).unwrap_or(today);
        let (from, to) = (days_before(DAYS), days_before(1));
        let found = self.ledger.subject_usage(from, to, subject.as_str(), metric.as_str()).await;
        let found = found.map_err(QuotaError::of_ledger)?;
        let days: Vec<(NaiveDate, i64)> = found.iter().map(|it| (it.day, it.units)).collect();
        let usage = DailyUsage::before(today, &days);
        let own = |it: &&LimitState| *it.subject == *subject.as_str() && is_of(it, metric);
        let limits: Vec<(LimitState, Forecast, Option<u64>)> = state
            .limits
            .iter()
            .filter(own)
            .map(|it| {
                let remaining = it.remaining().map(Units::get);
                let reading = Reading { remaining, window: it.window, now };
                (it.clone(), reading.forecast(&usage), reading.expected(&usage))
            })
            .collect();
        let edition = self.edition();
        let hints = hints(&edition.catalogue, &state, metric, &found, &limits);
        let limits = limits.into_iter().map(|(state, forecast, _)| (state, forecast)).collect();
        Ok(ForecastReport { usage, limits, hints })
    }
}

/// A minute and an hour are shorter than the days that a forecast goes by.
fn is_of(state: &LimitState, metric: &Metric) -> bool {
    state.metric == *metric && !matches!(state.period, Period::Minute | Period::Hour)
}

/// What helps, when a limit is reached before it starts anew.
fn hints(
    catalogue: &Catalogue,
    state: &Usage,
    metric: &Metric,
    found: &[SubjectDay],
    limits: &[(LimitState, Forecast, Option<u64>)],
) -> Vec<Hint> {
    let Some(expected) = limits
        .iter()
        .filter(|(_, forecast, _)| forecast.exhausts_at.is_ok())
        .map(|(_, _, expected)| expected.unwrap_or(0))
        .max()
    else {
        return Vec::new();
    };
    let amount = Amount::new(expected.max(1)).unwrap_or(Amount::MAX);
    let own: Vec<LimitState> =
        state.limits.iter().filter(|it| *it.subject == *state.subject.as_str()).cloned().collect();
    let asked = [(metric.clone(), amount)];
    let plan = catalogue.recommend(&own, &asked, Some(&state.plan));
    let plan = plan.map(|plan| Hint::Plan { plan: plan.to_owned() });
    plan.into_iter().chain(cheaper_model(catalogue, state, metric, found)).collect()
}

/// Of the models that were used, the one that charged most of the metric in all and beside which there is a cheaper one.
fn cheaper_model(
    catalogue: &Catalogue,
    state: &Usage,
    metric: &Metric,
    found: &[SubjectDay],
) -> Option<Hint> {
    let mut used: BTreeMap<&str, i64> = BTreeMap::new();
    for it in found.iter().filter(|it| !it.model.is_empty()) {
        let units = used.entry(&it.model).or_default();
        *units = units.saturating_add(it.units);
    }
    let mut used: Vec<(&str, i64)> = used.into_iter().collect();
    used.sort_by_key(|(_, units)| std::cmp::Reverse(*units));
    used.into_iter().find_map(|(model, _)| {
        let charges = charge(catalogue.model(model)?.1, metric);
        let (cheaper, cheaper_charges) = cheapest(catalogue, state, metric)?;
        (cheaper_charges < charges).then(|| Hint::Model {
            model: model.to_owned(),
            charges,
            cheaper: cheaper.to_owned(),
            cheaper_charges,
        })
    })
}

/// The model that charges least of the metric among those that the catalogue names and the subject may use.
fn cheapest<'a>(
    catalogue: &'a Catalogue,
    state: &Usage,
    metric: &Metric,
) -> Option<(&'a str, u32)> {
    let is_open = |rule: &&ModelRule| {
        rule.feature.as_ref().is_none_or(|feature| state.features.get(feature) == Some(&true))
    };
    let named = catalogue.models.iter().filter(is_open).flat_map(|rule| {
        let names = rule.names.iter().filter(|name| !name.contains('*'));
        names.map(|name| (name.as_str(), charge(rule, metric)))
    });
    named.min_by_key(|(_, charges)| *charges)
}

fn charge(rule: &ModelRule, metric: &Metric) -> u32 {
    rule.charges.get(metric).copied().unwrap_or(0)
}
