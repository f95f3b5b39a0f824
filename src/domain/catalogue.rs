//! The catalogue: plans, their limits, metrics and models.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::limit::Limit;
use super::model::ModelRule;
use super::units::Metric;

/// A named set of limits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The rules. A metric without a rule is not counted.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// Where a subject on this plan can get more.
    #[serde(default)]
    pub upgrade_url: Option<String>,
}

/// Everything that decides what a request charges. Immutable: a change makes another catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// What can be counted.
    pub metrics: Vec<Metric>,
    /// Plans by name.
    pub plans: BTreeMap<String, Plan>,
    /// The plan of a subject that has none; `None` gives no access.
    #[serde(default)]
    pub default_plan: Option<String>,
    /// The plan of callers who have not signed in; `None` gives no access.
    #[serde(default)]
    pub anonymous_plan: Option<String>,
    /// Models, most particular first: an exact name wins over a glob, an earlier rule over a later one.
    #[serde(default)]
    pub models: Vec<ModelRule>,
}

/// Why a text is not a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Not TOML, or a field that does not fit. The message names the field.
    #[error("not a catalogue: {0}")]
    Syntax(String),
    /// A name that nothing in the catalogue defines.
    #[error("{place} names {what} {name:?}, which the catalogue does not define")]
    Unknown {
        /// Where the name stands.
        place: String,
        /// What should have been defined: a metric or a plan.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two limits of a plan on one metric and period.
    #[error("plan {plan:?} has two limits called {limit}")]
    Twice {
        /// The plan.
        plan: String,
        /// The limit's name.
        limit: String,
    },
    /// More entries than a script may loop over.
    #[error("{place} has more than {max} entries")]
    TooMany {
        /// What is too long.
        place: String,
        /// The bound.
        max: usize,
    },
}

impl Catalogue {
    /// The most limits in a plan, which bounds a script's loops.
    pub const LIMITS_MAX: usize = 32;
    /// The most metrics, plans and model rules.
    pub const ENTRIES_MAX: usize = 1_000;

    /// Reads a TOML text.
    ///
    /// # Errors
    ///
    /// [`CatalogueError`] naming the field or the entry that is wrong.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let catalogue: Self =
            toml::from_str(text).map_err(|e| CatalogueError::Syntax(e.to_string()))?;
        catalogue.check()?;
        Ok(catalogue)
    }

    /// The rule for a model: an exact name first, then the first glob that covers it.
    #[must_use]
    pub fn model(&self, model: &str) -> Option<(usize, &ModelRule)> {
        let rules = || self.models.iter().enumerate();
        rules()
            .find(|(_, rule)| rule.names_exactly(model))
            .or_else(|| rules().find(|(_, rule)| rule.covers(model)))
    }

    /// Whether the catalogue defines the metric.
    #[must_use]
    pub fn has_metric(&self, metric: &str) -> bool {
        self.metrics.iter().any(|known| known.as_str() == metric)
    }

    fn check(&self) -> Result<(), CatalogueError> {
        bound("metrics", self.metrics.len(), Self::ENTRIES_MAX)?;
        bound("plans", self.plans.len(), Self::ENTRIES_MAX)?;
        bound("models", self.models.len(), Self::ENTRIES_MAX)?;
        for (place, plan) in
            [("default_plan", &self.default_plan), ("anonymous_plan", &self.anonymous_plan)]
        {
            if let Some(name) = plan.as_ref().filter(|name| !self.plans.contains_key(*name)) {
                return Err(unknown(place, "the plan", name));
            }
        }
        for (name, plan) in &self.plans {
            self.check_plan(name, plan)?;
        }
        for (index, rule) in self.models.iter().enumerate() {
            if let Some(metric) = rule.charges.keys().find(|it| !self.metrics.contains(it)) {
                return Err(unknown(&format!("models[{index}]"), "the metric", metric.as_str()));
            }
        }
        Ok(())
    }

    fn check_plan(&self, name: &str, plan: &Plan) -> Result<(), CatalogueError> {
        bound(&format!("plan {name:?}"), plan.limits.len(), Self::LIMITS_MAX)?;
        for (index, limit) in plan.limits.iter().enumerate() {
            if !self.metrics.contains(&limit.metric) {
                let place = format!("plan {name:?}");
                return Err(unknown(&place, "the metric", limit.metric.as_str()));
            }
            let is_same =
                |other: &Limit| other.metric == limit.metric && other.period == limit.period;
            if plan.limits[..index].iter().any(is_same) {
                return Err(CatalogueError::Twice { plan: name.to_owned(), limit: limit.name() });
            }
        }
        Ok(())
    }
}

fn bound(place: &str, count: usize, max: usize) -> Result<(), CatalogueError> {
    if count > max {
        return Err(CatalogueError::TooMany { place: place.to_owned(), max });
    }
    Ok(())
}

fn unknown(place: &str, what: &'static str, name: &str) -> CatalogueError {
    CatalogueError::Unknown { place: place.to_owned(), what, name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = include_str!("../../deploy/catalogues/chat.toml");

    #[test]
    fn the_chat_catalogue_knows_its_premium_models() {
        let catalogue = Catalogue::parse(CHAT).unwrap();
        let charges = |model: &str| catalogue.model(model).unwrap().1.charges.len();
        for premium in [
            "claude-3.5-sonnet",
            "claude-3-haiku",
            "claude-3-opus",
            "claude-3.7-sonnet",
            "claude-sonnet-4",
            "claude-opus-4",
            "claude-of-tomorrow",
        ] {
            assert_eq!(charges(premium), 2, "{premium}");
        }
        assert_eq!(charges("gemini-2.0-flash"), 1);
        assert_eq!(charges("anything-else"), 1);
        assert!(catalogue.model("gemini-2.0-flash").unwrap().1.anonymous);
        assert!(!catalogue.model("gemini-2.5-pro").unwrap().1.anonymous);
    }

    #[test]
    fn a_mistake_is_named() {
        let plan = |limits: &str| {
            Catalogue::parse(&format!("metrics = ['messages']\n[plans.p]\nlimits = [{limits}]"))
                .unwrap_err()
                .to_string()
        };
        assert!(plan("{ metric = 'tokens', period = 'day' }").contains("\"tokens\""));
        assert!(plan("{ metric = 'messages', period = 'year' }").contains("year"));
        assert!(plan("{ metric = 'messages', period = 'day', max = -2 }").contains("max must be"));
        let twice =
            "{ metric = 'messages', period = 'day' }, { metric = 'messages', period = 'day' }";
        assert!(plan(twice).contains("messages-day"));
    }

    #[test]
    fn absence_and_minus_one_are_unlimited_and_zero_is_blocked() {
        let text = "metrics = ['a', 'b', 'c']\n[plans.p]\nlimits = [{ metric = 'a', period = 'day' }, \
                    { metric = 'b', period = 'day', max = -1 }, { metric = 'c', period = 'day', max = 0 }]";
        let catalogue = Catalogue::parse(text).unwrap();
        let maxima: Vec<_> = catalogue.plans["p"]
            .limits
            .iter()
            .map(|limit| limit.max.map(crate::domain::Units::get))
            .collect();
        assert_eq!(maxima, [None, None, Some(0)]);
    }
}
