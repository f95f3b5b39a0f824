//! What changes from one catalogue to another, in words.

use std::collections::BTreeMap;
use std::fmt;

use crate::domain::Limit;
use crate::domain::ModelRule;
use crate::domain::Plan;

use super::Catalogue;

/// One difference between two catalogues. Displayed as a line: `~ plan "free" limit messages-month: max 100 -> 200`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something that the other catalogue has alone, with all that belongs to it.
    Added(String),
    /// Something that the other catalogue does not have.
    Removed(String),
    /// A field that both have.
    Changed {
        /// The field and whose it is.
        what: String,
        /// What it holds.
        from: String,
        /// What it holds in the other.
        to: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(what) => write!(f, "+ {what}"),
            Self::Removed(what) => write!(f, "- {what}"),
            Self::Changed { what, from, to } => write!(f, "~ {what} {from} -> {to}"),
        }
    }
}

impl Catalogue {
    /// The changes that lead from this catalogue to the other; none when both decide alike. The order of metrics,
    /// features and limits makes no difference, that of model names does.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        compare("", &Entry::of_catalogue(self), &Entry::of_catalogue(other), &mut changes);
        changes.extend(order_of_models(self, other));
        changes
    }
}

/// A part of a catalogue as texts: its fields, and the parts that belong to it, by their names.
#[derive(Default)]
struct Entry {
    fields: BTreeMap<String, String>,
    parts: BTreeMap<String, Entry>,
}

impl Entry {
    fn of_catalogue(catalogue: &Catalogue) -> Self {
        let mut entry = Self::default();
        entry.name("default_plan", catalogue.default_plan.as_ref());
        entry.name("anonymous_plan", catalogue.anonymous_plan.as_ref());
        for (scope, plan) in &catalogue.scope_plans {
            entry.name(&format!("scope_plans.{scope}"), Some(plan));
        }
        for metric in &catalogue.metrics {
            entry.part(format!("metric {:?}", metric.as_str()), Self::default());
        }
        entry.features(&catalogue.features);
        for (name, plan) in &catalogue.plans {
            entry.part(format!("plan {name:?}"), Self::of_plan(plan));
        }
        for rule in &catalogue.models {
            for name in &rule.names {
                entry.part(format!("model {name:?}"), Self::of_model(rule));
            }
        }
        entry
    }

    fn of_plan(plan: &Plan) -> Self {
        let mut entry = Self::default();
        entry.name("title", plan.title.as_ref());
        entry.name("upgrade_url", plan.upgrade_url.as_ref());
        entry.field(
            "price",
            &plan.price.map_or_else(|| "none".to_owned(), |price| price.to_string()),
        );
        entry.field("listed", &plan.is_listed());
        entry.features(&plan.features);
        for limit in &plan.limits {
            entry.part(format!("limit {}", limit.label()), Self::of_limit(limit));
        }
        entry
    }

    fn of_limit(limit: &Limit) -> Self {
        let mut entry = Self::default();
        entry
            .field("max", &limit.max.map_or_else(|| "unlimited".to_owned(), |max| max.to_string()));
        entry.field("mode", &limit.mode.as_str());
        entry.field("grace", &limit.grace);
        entry.field("store_away", &limit.store_away.map_or("none", |policy| policy.as_str()));
        entry.field("refundable", &limit.refundable);
        for (field, portion) in [
            ("refund_max", limit.refund_max),
            ("hold_max", limit.hold_max),
            ("rollover", limit.rollover),
        ] {
            entry.field(field, &portion.map_or_else(|| "none".to_owned(), |it| it.to_string()));
        }
        entry.field(
            "dynamic",
            &limit.dynamic.map_or_else(|| "none".to_owned(), |it| it.to_string()),
        );
        entry.field("sliding", &limit.sliding);
        entry.field("warning_percent", &limit.warning_percent);
        entry.field("critical_percent", &limit.critical_percent);
        entry
    }

    fn of_model(rule: &ModelRule) -> Self {
        let charges = rule.charges.iter().map(|(metric, weight)| format!("{metric} = {weight}"));
        let mut entry = Self::default();
        entry.field("charges", &format!("{{ {} }}", charges.collect::<Vec<_>>().join(", ")));
        entry.field("anonymous", &rule.anonymous);
        entry.name("feature", rule.feature.as_ref());
        entry
    }

    fn field(&mut self, field: &str, value: &dyn fmt::Display) {
        self.fields.insert(field.to_owned(), value.to_string());
    }

    fn name(&mut self, field: &str, name: Option<&String>) {
        if let Some(name) = name {
            self.field(field, &format!("{name:?}"));
        }
    }

    fn part(&mut self, label: String, part: Self) {
        self.parts.insert(label, part);
    }

    fn features(&mut self, features: &[String]) {
        for feature in features {
            self.part(format!("feature {feature:?}"), Self::default());
        }
    }
}

/// Adds what differs between two entries called `path`; "" is the catalogue itself.
fn compare(path: &str, from: &Entry, to: &Entry, changes: &mut Vec<Change>) {
    let before = if path.is_empty() { String::new() } else { format!("{path}: ") };
    for (field, (from, to)) in paired(&from.fields, &to.fields) {
        if from != to {
            let text = |value: Option<&String>| value.map_or_else(|| "none".into(), String::clone);
            let what = format!("{before}{field}");
            changes.push(Change::Changed { what, from: text(from), to: text(to) });
        }
    }
    for (label, pair) in paired(&from.parts, &to.parts) {
        let path = format!("{path} {label}").trim_start().to_owned();
        match pair {
            (Some(from), Some(to)) => compare(&path, from, to, changes),
            (Some(_), None) => changes.push(Change::Removed(path)),
            (None, _) => changes.push(Change::Added(path)),
        }
    }
}

/// What two maps hold under each of their keys.
fn paired<'a, T>(
    from: &'a BTreeMap<String, T>,
    to: &'a BTreeMap<String, T>,
) -> BTreeMap<&'a String, (Option<&'a T>, Option<&'a T>)> {
    let keys = from.keys().chain(to.keys());
    keys.map(|key| (key, (from.get(key), to.get(key)))).collect()
}

/// The first place at which the names that both have stand in another order, which matters for globs.
fn order_of_models(from: &Catalogue, to: &Catalogue) -> Option<Change> {
    let names = |of: &'_ Catalogue, other: &Catalogue| {
        let names = of.models.iter().flat_map(|rule| rule.names.clone());
        let is_common = |name: &String| other.models.iter().any(|rule| rule.names_exactly(name));
        names.filter(is_common).collect::<Vec<_>>()
    };
    let (from, to) = (names(from, to), names(to, from));
    let (from, to) = from.into_iter().zip(to).find(|(from, to)| from != to)?;
    let what = "models: the first in another order".to_owned();
    Some(Change::Changed { what, from: format!("{from:?}"), to: format!("{to:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"
        metrics = ["messages", "tokens"]
        features = ["export"]
        default_plan = "free"
        scope_plans = { org = "team" }
        [plans.free]
        limits = [
            { metric = "messages", period = "month", max = 100 },
            { metric = "tokens", period = "day" },
        ]
        [plans.team]
        price = 900
        features = ["export"]
        [[models]]
        names = ["gpt-*", "claude-*"]
        charges = { messages = 1 }
        [[models]]
        names = ["*"]
        charges = { messages = 1 }
    "#;

    fn lines(new: &str) -> Vec<String> {
        let (old, new) = (Catalogue::parse(OLD).unwrap(), Catalogue::parse(new).unwrap());
        old.diff(&new).iter().map(ToString::to_string).collect()
    }

    fn replaced(old: &str, new: &str) -> Vec<String> {
        assert!(OLD.contains(old), "{old}");
        lines(&OLD.replace(old, new))
    }

    #[test]
    fn nothing_changes_when_only_the_order_of_entries_does() {
        assert_eq!(lines(OLD), [""; 0]);
        assert_eq!(replaced(r#"["messages", "tokens"]"#, r#"["tokens", "messages"]"#), [""; 0]);
    }

    #[test]
    fn every_field_that_changes_has_a_line() {
        for (old, new, line) in [
            ("max = 100", "max = 200", r#"~ plan "free" limit messages-month: max 100 -> 200"#),
            (
                "max = 100",
                "max = -1",
                r#"~ plan "free" limit messages-month: max 100 -> unlimited"#,
            ),
            (
                "max = 100",
                "max = 100, mode = 'shadow'",
                r#"~ plan "free" limit messages-month: mode hard -> shadow"#,
            ),
            ("price = 900", "price = 950", r#"~ plan "team": price 900 -> 950"#),
            ("price = 900", "price = 900\ntitle = 'T'", r#"~ plan "team": title none -> "T""#),
            (r#"default_plan = "free""#, "", r#"~ default_plan "free" -> none"#),
            (r#"org = "team""#, r#"org = "free""#, r#"~ scope_plans.org "team" -> "free""#),
            (
                "names = [\"*\"]",
                "feature = 'export'\nnames = ['*']",
                r#"~ model "*": feature none -> "export""#,
            ),
            (
                r#""gpt-*", "claude-*""#,
                r#""claude-*", "gpt-*""#,
                r#"~ models: the first in another order "gpt-*" -> "claude-*""#,
            ),
        ] {
            assert_eq!(replaced(old, new), [line]);
        }
    }

    #[test]
    fn each_detail_of_a_limit_counts() {
        for (field, line) in [
            ("mode = 'soft', grace = '10%'", "grace 0 -> 10%"),
            ("store_away = 'open'", "store_away none -> open"),
            ("refundable = false", "refundable true -> false"),
            ("rollover = '20%'", "rollover none -> 20%"),
            (
                "dynamic = { percent = 120, days = 30, floor = 10, ceiling = 500 }",
                "dynamic none -> 120 % of 30 days, between 10 and 500",
            ),
            ("warning_percent = 70", "warning_percent 80 -> 70"),
            ("critical_percent = 90", "critical_percent 95 -> 90"),
        ] {
            let found = replaced("max = 100", &format!("max = 100, {field}"));
            let wanted = format!(r#"~ plan "free" limit messages-month: {line}"#);
            assert!(found.contains(&wanted), "{found:?}");
        }
    }

    #[test]
    fn what_comes_or_goes_is_one_line_with_all_that_belongs_to_it() {
        for (old, new, line) in [
            ("[plans.free]", "[plans.growth]\nprice = 1\n[plans.free]", r#"+ plan "growth""#),
            (r#""gpt-*", "claude-*""#, r#""claude-*""#, r#"- model "gpt-*""#),
            (r#"["messages", "tokens"]"#, r#"["messages", "tokens", "x"]"#, r#"+ metric "x""#),
            (
                r#"features = ["export"]
        default"#,
                "features = ['export', 'sso']\ndefault",
                r#"+ feature "sso""#,
            ),
            ("{ metric = \"tokens\", period = \"day\" },", "", r#"- plan "free" limit tokens-day"#),
            (
                "{ metric = \"tokens\", period = \"day\" },",
                "{ metric = 'tokens', period = 'day' }, { metric = 'tokens', period = 'day', each = 'user' },",
                r#"+ plan "free" limit tokens-day each user"#,
            ),
            (
                "price = 900\n        features = [\"export\"]",
                "price = 900",
                r#"- plan "team" feature "export""#,
            ),
        ] {
            assert_eq!(replaced(old, new), [line]);
        }
    }
}
