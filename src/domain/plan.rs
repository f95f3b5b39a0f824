//! Plans: what a subject may use, and what that costs.

use serde::Deserialize;
use serde::Serialize;

use super::limit::Limit;

/// A named set of limits and features.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What people call the plan, at most 200 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What a month costs, in minor units of the currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<u32>,
    /// Whether the plan may be recommended; absent, whether it has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<bool>,
    /// Where a subject on this plan can get more, at most 2,000 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_url: Option<String>,
    /// The features that are on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The rules, at most [`Catalogue::LIMITS_MAX`](super::Catalogue::LIMITS_MAX). A metric without a rule is unlimited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
}

impl Plan {
    /// The longest title, in bytes.
    pub const TITLE_BYTES_MAX: usize = 200;
    /// The longest address, in bytes.
    pub const UPGRADE_URL_BYTES_MAX: usize = 2_000;

    /// Whether the plan may be recommended.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed.unwrap_or(self.price.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_listed_when_it_says_so_or_has_a_price() {
        let of = |price, listed| Plan { price, listed, ..Plan::default() }.is_listed();
        assert!(of(Some(0), None) && of(None, Some(true)));
        assert!(!of(None, None) && !of(Some(900), Some(false)));
    }
}
