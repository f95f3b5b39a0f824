//! The catalogue: metrics, features, plans with their limits, and models.

mod check;
mod diff;
mod recommend;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use super::model::ModelRule;
use super::plan::Plan;
use super::subject::Scope;
use super::units::Metric;

pub use check::CatalogueError;
pub use diff::Change;

/// Everything that decides what a request charges. Immutable: a change makes another catalogue.
///
/// TOML and JSON have the same fields; what is empty or has its default is left out on output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// What can be counted.
    #[schema(value_type = Vec<String>)]
    pub metrics: Vec<Metric>,
    /// What plans and profiles can switch on and off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The plan of a path's last level that has no other; `None` gives no access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_plan: Option<String>,
    /// The same for callers who have not signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous_plan: Option<String>,
    /// The plan of a level of that scope whose profile names none, wherever in the path the level is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub scope_plans: BTreeMap<Scope, String>,
    /// Plans by name.
    pub plans: BTreeMap<String, Plan>,
    /// Models, most particular first: an exact name wins over a glob, an earlier rule over a later one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelRule>,
}

impl Catalogue {
    /// The most limits in a plan, a profile or a level, which bounds a script's loops.
    pub const LIMITS_MAX: usize = 32;
    /// The most metrics, features, plans, scopes with a plan, model rules and model names.
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

    /// The catalogue as a TOML text that [`Catalogue::parse`] reads back.
    ///
    /// # Panics
    ///
    /// Never: every field has a form in TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every field has a form in TOML")
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

    /// Whether the catalogue declares the feature.
    #[must_use]
    pub fn has_feature(&self, feature: &str) -> bool {
        self.features.iter().any(|known| known == feature)
    }
}

#[cfg(test)]
mod tests;
