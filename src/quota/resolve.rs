//! From an order to the sheet it is measured against.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use chrono::DateTime;
use chrono::Utc;

use crate::counters::PackedSheet;
use crate::domain::Amount;
use crate::domain::Calendar;
use crate::domain::Catalogue;
use crate::domain::Limit;
use crate::domain::Line;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Plan;
use crate::domain::Sheet;
use crate::domain::Subject;

use super::error::QuotaError;
use super::order::Ask;

/// Sheets kept at once. Requests that differ in plan, model rule, metric, amount or depth have different ones; past the
/// bound all are made anew.
const SHEETS_MAX: usize = 1_024;

/// What a sheet depends on, besides the catalogue and the windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SheetKey {
    is_anonymous: bool,
    charge: ChargeKey,
    depth: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ChargeKey {
    /// A model rule, by its place in the catalogue.
    Model(usize),
    Metric(Metric),
    /// Every limit of the plan, adding nothing.
    Everything,
}

/// The catalogue, and the sheets made from it.
pub(super) struct Resolver {
    catalogue: Catalogue,
    sheets: RwLock<HashMap<SheetKey, Arc<PackedSheet>>>,
}

impl Resolver {
    pub(super) fn new(catalogue: Catalogue) -> Self {
        Self { catalogue, sheets: RwLock::default() }
    }

    /// The sheet of an order at an instant.
    ///
    /// # Errors
    ///
    /// Which part of the order the catalogue does not allow.
    pub(super) fn order(
        &self,
        subject: &Subject,
        ask: &Ask,
        amount: Amount,
        at: DateTime<Utc>,
    ) -> Result<Arc<PackedSheet>, QuotaError> {
        let charge = self.charge(subject, ask)?;
        let sheet = self.sheet(subject, charge, at)?;
        for line in &sheet.sheet.lines {
            amount.weighted(line.weight.get()).map_err(QuotaError::AmountTooLarge)?;
        }
        Ok(sheet)
    }

    /// The sheet of every limit of the subject's plan, adding nothing.
    ///
    /// # Errors
    ///
    /// [`QuotaError::NoPlan`].
    pub(super) fn everything(
        &self,
        subject: &Subject,
        at: DateTime<Utc>,
    ) -> Result<Arc<PackedSheet>, QuotaError> {
        self.sheet(subject, ChargeKey::Everything, at)
    }

    /// The plan of the subject, with its name.
    ///
    /// # Errors
    ///
    /// [`QuotaError::NoPlan`].
    pub(super) fn plan(&self, is_anonymous: bool) -> Result<(&str, &Plan), QuotaError> {
        let catalogue = &self.catalogue;
        let name = if is_anonymous { &catalogue.anonymous_plan } else { &catalogue.default_plan };
        let name = name.as_deref().ok_or(QuotaError::NoPlan)?;
        let plan = catalogue.plans.get(name).ok_or(QuotaError::NoPlan)?;
        Ok((name, plan))
    }

    /// Whether the catalogue defines the metric.
    pub(super) fn has_metric(&self, metric: &Metric) -> bool {
        self.catalogue.has_metric(metric.as_str())
    }

    fn charge(&self, subject: &Subject, ask: &Ask) -> Result<ChargeKey, QuotaError> {
        match ask {
            Ask::Metric(metric) if self.catalogue.has_metric(metric.as_str()) => {
                Ok(ChargeKey::Metric(metric.clone()))
            }
            Ask::Metric(_) => Err(QuotaError::UnknownMetric),
            Ask::Model(model) => {
                let (place, rule) =
                    self.catalogue.model(model).ok_or(QuotaError::ModelNotAllowed)?;
                if subject.is_anonymous() && !rule.anonymous {
                    return Err(QuotaError::AnonymousModel);
                }
                Ok(ChargeKey::Model(place))
            }
        }
    }

    fn sheet(
        &self,
        subject: &Subject,
        charge: ChargeKey,
        at: DateTime<Utc>,
    ) -> Result<Arc<PackedSheet>, QuotaError> {
        let is_anonymous = subject.is_anonymous();
        let key = SheetKey { is_anonymous, charge, depth: subject.depth() };
        let sheets = self.sheets.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sheets.get(&key).filter(|known| known.is_current_at(at)) {
            return Ok(known.clone());
        }
        drop(sheets);
        let made = Arc::new(PackedSheet::charge(self.make(&key, at)?));
        let mut sheets = self.sheets.write().unwrap_or_else(PoisonError::into_inner);
        if sheets.len() >= SHEETS_MAX {
            sheets.clear();
        }
        sheets.insert(key, made.clone());
        Ok(made)
    }

    fn make(&self, key: &SheetKey, at: DateTime<Utc>) -> Result<Sheet, QuotaError> {
        let (name, plan) = self.plan(key.is_anonymous)?;
        let line = |limit: &Limit, weight: Amount| {
            Line::at(key.depth, limit.clone(), weight, at, &Calendar::UTC)
        };
        let mut lines = Vec::new();
        if key.charge == ChargeKey::Everything {
            lines.extend(plan.limits.iter().map(|limit| line(limit, Amount::ZERO)));
        }
        for (metric, weight) in self.charges(key) {
            let known = lines.len();
            let limits = plan.limits.iter().filter(|limit| limit.metric == metric);
            lines.extend(limits.map(|limit| line(limit, weight)));
            // A metric that the plan does not mention is unlimited, and counted by the month.
            if lines.len() == known {
                lines.push(line(&Limit::new(metric, Period::Month, None), weight));
            }
        }
        Ok(Sheet { plan: name.to_owned(), depth: key.depth, lines })
    }

    /// What is charged, metric by metric.
    fn charges(&self, key: &SheetKey) -> Vec<(Metric, Amount)> {
        match &key.charge {
            ChargeKey::Everything => Vec::new(),
            ChargeKey::Metric(metric) => vec![(metric.clone(), Amount::ONE)],
            ChargeKey::Model(place) => {
                let rule = &self.catalogue.models[*place];
                let weighted = rule.charges.iter().filter_map(|(metric, weight)| {
                    Some((metric.clone(), Amount::ONE.weighted(*weight).ok()?))
                });
                weighted.collect()
            }
        }
    }
}
