//! Chat models and what using one charges.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use super::units::Metric;

/// Which models a rule covers, what each of their messages charges, and who may use them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelRule {
    /// Model names, or globs in which `*` stands for any characters.
    pub names: Vec<String>,
    /// Weight by metric: how many units one use charges, at most 2^31.
    #[schema(value_type = BTreeMap<String, u32>)]
    pub charges: BTreeMap<Metric, u32>,
    /// Whether callers who have not signed in may use these models.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
    /// The feature that a subject must have to use these models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
}

impl ModelRule {
    /// Whether the rule names `model` exactly.
    #[must_use]
    pub fn names_exactly(&self, model: &str) -> bool {
        self.names.iter().any(|name| name == model)
    }

    /// Whether a glob of the rule covers `model`.
    #[must_use]
    pub fn covers(&self, model: &str) -> bool {
        self.names.iter().any(|glob| glob_matches(glob, model))
    }
}

/// Whether `text` matches `glob`, in which `*` stands for any characters and all else for itself.
///
/// Linear in the text for each part between stars: no backtracking.
#[must_use]
pub fn glob_matches(glob: &str, text: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else {
        return glob == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        let Some(at) = text.find(part) else {
            return false;
        };
        text = &text[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (glob, text, expected) in [
            ("claude-*", "claude-sonnet-4", true),
            ("claude-*", "gemini-claude-x", false),
            ("*", "", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("a*a", "a", false),
            ("*ab*b", "xab", false),
            ("exact", "exactly", false),
        ] {
            assert_eq!(glob_matches(glob, text), expected, "{glob} {text}");
        }
    }
}
