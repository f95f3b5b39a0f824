//! What a catalogue must hold beyond its syntax: every name that it uses, within its bounds.

use std::collections::BTreeSet;

use crate::domain::Amount;
use crate::domain::Limit;
use crate::domain::LimitError;
use crate::domain::ModelRule;
use crate::domain::Plan;

use super::Catalogue;

/// Why something is not a catalogue, or does not fit one. The message begins with the place of the mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Neither TOML nor JSON of this form. The message names the field.
    #[error("not a catalogue: {0}")]
    Syntax(String),
    /// A name that nothing in the catalogue defines.
    #[error("{place} names {what} {name:?}, which the catalogue does not define")]
    Unknown {
        /// Where the name stands: `plans.free.limits[0]`.
        place: String,
        /// What should have been defined: a metric, a plan or a feature.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two entries with one name.
    #[error("{place} has {name} twice")]
    Twice {
        /// The list.
        place: String,
        /// The name, such as that of a limit: `messages-month`.
        name: String,
    },
    /// More entries than a script may loop over, or than can be handled at once.
    #[error("{place} must have at most {max} entries, got {count}")]
    TooMany {
        /// The list.
        place: String,
        /// How many there are.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// A text that is empty or too long.
    #[error("{place} must be 1 to {max} bytes long, got {count}")]
    Length {
        /// The field.
        place: String,
        /// How many bytes it has.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// A text that cannot be shown, and of which Postgres cannot hold all.
    #[error("{place} must not hold control characters")]
    Control {
        /// The field.
        place: String,
    },
    /// More than is kept of a catalogue.
    #[error("all of it must have at most 1 MiB of JSON")]
    TooLarge,
    /// A name that could not stand in an address.
    #[error("{place} must be a name of letters, digits, _, - and ., got {name:?}")]
    Name {
        /// The field or the list.
        place: String,
        /// The name.
        name: String,
    },
    /// A model that would charge more than one call may.
    #[error("{place} must be at most {}, got {weight}", Amount::MAX.get())]
    Weight {
        /// The field.
        place: String,
        /// What it holds.
        weight: u32,
    },
    /// A limit whose fields do not go together.
    #[error("{place}: {error}")]
    Limit {
        /// The limit.
        place: String,
        /// Which fields.
        error: LimitError,
    },
}

/// The longest name of a plan or feature, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The longest name of a model, in bytes; as long as a request may name.
const MODEL_BYTES_MAX: usize = 128;

impl Catalogue {
    /// Whether every name that is used is defined once, and everything is within its bounds.
    ///
    /// # Errors
    ///
    /// [`CatalogueError`] naming the first entry that is wrong.
    pub fn check(&self) -> Result<(), CatalogueError> {
        self.check_sizes()?;
        distinct("metrics", self.metrics.iter().map(ToString::to_string))?;
        distinct("features", self.features.iter().cloned())?;
        for feature in &self.features {
            name("features", feature)?;
        }
        let plans =
            [("default_plan", &self.default_plan), ("anonymous_plan", &self.anonymous_plan)];
        for (place, plan) in plans {
            plan.as_ref().map_or(Ok(()), |plan| self.check_plan_name(place, plan))?;
        }
        for (scope, plan) in &self.scope_plans {
            self.check_plan_name(&format!("scope_plans.{scope}"), plan)?;
        }
        for (plan_name, plan) in &self.plans {
            name("plans", plan_name)?;
            self.check_plan(&format!("plans.{plan_name}"), plan)?;
        }
        self.check_models()
    }

    fn check_sizes(&self) -> Result<(), CatalogueError> {
        let model_names = self.models.iter().map(|rule| rule.names.len()).sum();
        for (place, count) in [
            ("metrics", self.metrics.len()),
            ("features", self.features.len()),
            ("scope_plans", self.scope_plans.len()),
            ("plans", self.plans.len()),
            ("models", self.models.len()),
            ("the names of all models", model_names),
        ] {
            entries(place, count, Self::ENTRIES_MAX)?;
        }
        Ok(())
    }

    fn check_plan(&self, place: &str, plan: &Plan) -> Result<(), CatalogueError> {
        if let Some(title) = &plan.title {
            text(&format!("{place}.title"), title, Plan::TITLE_BYTES_MAX)?;
        }
        if let Some(url) = &plan.upgrade_url {
            text(&format!("{place}.upgrade_url"), url, Plan::UPGRADE_URL_BYTES_MAX)?;
        }
        let features = format!("{place}.features");
        distinct(&features, plan.features.iter().cloned())?;
        for feature in &plan.features {
            self.check_feature(&features, feature)?;
        }
        self.check_limits(&format!("{place}.limits"), &plan.limits)
    }

    fn check_models(&self) -> Result<(), CatalogueError> {
        let names = self.models.iter().flat_map(|rule| &rule.names);
        distinct("models", names.map(|name| format!("{name:?}")))?;
        for (index, rule) in self.models.iter().enumerate() {
            self.check_model(&format!("models[{index}]"), rule)?;
        }
        Ok(())
    }

    fn check_model(&self, place: &str, rule: &ModelRule) -> Result<(), CatalogueError> {
        for name in &rule.names {
            text(&format!("{place}.names"), name, MODEL_BYTES_MAX)?;
        }
        let charges = format!("{place}.charges");
        entries(&charges, rule.charges.len(), Self::LIMITS_MAX)?;
        for (metric, weight) in &rule.charges {
            self.check_metric(&charges, metric.as_str())?;
            if *weight > Amount::MAX.get() {
                return Err(CatalogueError::Weight {
                    place: format!("{charges}.{metric}"),
                    weight: *weight,
                });
            }
        }
        let feature = rule.feature.as_ref();
        feature.map_or(Ok(()), |feature| self.check_feature(&format!("{place}.feature"), feature))
    }

    /// Whether limits at `place` fit the catalogue, each by itself and all together.
    pub(in crate::domain) fn check_limits(
        &self,
        place: &str,
        limits: &[Limit],
    ) -> Result<(), CatalogueError> {
        entries(place, limits.len(), Self::LIMITS_MAX)?;
        distinct(place, limits.iter().map(Limit::label))?;
        for (index, limit) in limits.iter().enumerate() {
            let place = format!("{place}[{index}]");
            self.check_metric(&place, limit.metric.as_str())?;
            limit.check().map_err(|error| CatalogueError::Limit { place, error })?;
        }
        Ok(())
    }

    pub(in crate::domain) fn check_plan_name(
        &self,
        place: &str,
        plan: &str,
    ) -> Result<(), CatalogueError> {
        defined(self.plans.contains_key(plan), place, "the plan", plan)
    }

    pub(in crate::domain) fn check_feature(
        &self,
        place: &str,
        feature: &str,
    ) -> Result<(), CatalogueError> {
        defined(self.has_feature(feature), place, "the feature", feature)
    }

    fn check_metric(&self, place: &str, metric: &str) -> Result<(), CatalogueError> {
        defined(self.has_metric(metric), place, "the metric", metric)
    }
}

fn defined(
    is_defined: bool,
    place: &str,
    what: &'static str,
    name: &str,
) -> Result<(), CatalogueError> {
    let error = || CatalogueError::Unknown { place: place.into(), what, name: name.into() };
    is_defined.then_some(()).ok_or_else(error)
}

fn entries(place: &str, count: usize, max: usize) -> Result<(), CatalogueError> {
    let error = || CatalogueError::TooMany { place: place.to_owned(), count, max };
    (count <= max).then_some(()).ok_or_else(error)
}

fn text(place: &str, value: &str, max: usize) -> Result<(), CatalogueError> {
    let count = value.len();
    let error = || CatalogueError::Length { place: place.to_owned(), count, max };
    (1..=max).contains(&count).then_some(()).ok_or_else(error)?;
    let is_shown = !value.chars().any(char::is_control);
    is_shown.then_some(()).ok_or_else(|| CatalogueError::Control { place: place.to_owned() })
}

fn name(place: &str, name: &str) -> Result<(), CatalogueError> {
    text(place, name, NAME_BYTES_MAX)?;
    let is_safe = |letter: u8| letter.is_ascii_alphanumeric() || b"_-.".contains(&letter);
    let error = || CatalogueError::Name { place: place.to_owned(), name: name.to_owned() };
    name.bytes().all(is_safe).then_some(()).ok_or_else(error)
}

fn distinct(place: &str, names: impl Iterator<Item = String>) -> Result<(), CatalogueError> {
    let mut known = BTreeSet::new();
    for name in names {
        if known.contains(&name) {
            return Err(CatalogueError::Twice { place: place.to_owned(), name });
        }
        known.insert(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> String {
        Catalogue::parse(&format!("metrics = ['messages']\n{text}")).unwrap_err().to_string()
    }

    fn limits_mistake(limits: &str) -> String {
        mistake(&format!("[plans.p]\nlimits = [{limits}]"))
    }

    #[test]
    fn a_wrong_limit_is_named() {
        for (limits, wanted) in [
            (
                "{ metric = 'tokens', period = 'day' }",
                "plans.p.limits[0] names the metric \"tokens\", which the catalogue does not define",
            ),
            (
                "{ metric = 'messages', period = 'day' }, { metric = 'messages', period = 'day' }",
                "plans.p.limits has messages-day twice",
            ),
            (
                "{ metric = 'messages', period = 'day', sliding = true }",
                "plans.p.limits[0]: sliding needs period \"minute\" or \"hour\", got \"day\"",
            ),
        ] {
            assert_eq!(limits_mistake(limits), wanted);
        }
        assert!(limits_mistake("{ metric = 'messages', period = 'year' }").contains("year"));
        let below = limits_mistake("{ metric = 'messages', period = 'day', max = -2 }");
        assert!(below.contains("max must be"), "{below}");
        let each = "{ metric = 'messages', period = 'day', each = 'user' }";
        assert!(
            limits_mistake(&format!("{each}, {each}")).contains("messages-day each user twice")
        );
    }

    #[test]
    fn a_name_that_nothing_defines_is_named() {
        for (text, wanted) in [
            ("default_plan = 'q'\n[plans]", "default_plan names the plan \"q\""),
            ("anonymous_plan = 'q'\n[plans]", "anonymous_plan names the plan \"q\""),
            ("scope_plans = { user = 'q' }\n[plans]", "scope_plans.user names the plan \"q\""),
            ("[plans.p]\nfeatures = ['f']", "plans.p.features names the feature \"f\""),
            (
                "[plans]\n[[models]]\nnames = ['*']\ncharges = { tokens = 1 }",
                "models[0].charges names the metric \"tokens\"",
            ),
            (
                "[plans]\n[[models]]\nnames = ['*']\ncharges = {}\nfeature = 'f'",
                "models[0].feature names the feature \"f\"",
            ),
        ] {
            let error = mistake(text);
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn a_name_is_used_once_and_can_stand_in_an_address() {
        for (text, wanted) in [
            ("features = ['f', 'f']\n[plans]", "features has f twice"),
            ("features = ['a b']\n[plans]", "features must be a name of"),
            ("features = ['']\n[plans]", "features must be 1 to 64 bytes long, got 0"),
            ("[plans.'a/b']", "plans must be a name of"),
            ("[plans.p]\ntitle = ''", "plans.p.title must be 1 to 200 bytes long, got 0"),
            (
                r#"[plans.p]
                title = "a\u0000""#,
                "plans.p.title must not hold control characters",
            ),
            ("[plans]\n[[models]]\nnames = ['m', 'm']\ncharges = {}", "models has \"m\" twice"),
            (
                "[plans]\n[[models]]\nnames = ['m']\ncharges = { messages = 2147483649 }",
                "models[0].charges.messages must be at most 2147483648, got 2147483649",
            ),
            ("[plans.p]\ncolour = 'red'", "not a catalogue: "),
        ] {
            let error = mistake(text);
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn every_list_has_its_bound() {
        let list = |count: usize, of: fn(usize) -> String| {
            (0..count).map(of).collect::<Vec<_>>().join(", ")
        };
        let periods =
            |index: usize| format!("{{ metric = 'messages', period = 'day', each = 's{index}' }}");
        assert_eq!(
            limits_mistake(&list(33, periods)),
            "plans.p.limits must have at most 32 entries, got 33"
        );
        let names = list(1_001, |index| format!("'n{index}'"));
        for (text, wanted) in [
            (format!("features = [{names}]\n[plans]"), "features must have at most 1000"),
            (
                format!("[plans]\n[[models]]\nnames = [{names}]\ncharges = {{}}"),
                "the names of all models must have at most 1000 entries, got 1001",
            ),
        ] {
            let error = mistake(&text);
            assert!(error.starts_with(wanted), "{error}");
        }
    }
}
