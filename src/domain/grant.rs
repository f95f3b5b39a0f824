//! Grants: units beside what a plan allows.

use serde::Deserialize;
use serde::Serialize;

use super::period::Period;
use super::period::Window;
use super::units::Metric;
use super::units::Units;

/// Bonus units of a metric, or a limit that is raised for a while. Postgres owns them; they travel with the profile.
///
/// Bonus units are used when a limit of the plan is spent, the earliest expiry first, in whatever windows that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its number, unique over all subjects, from 1.
    pub id: u64,
    /// What it is of.
    pub metric: Metric,
    /// How many units.
    pub amount: Units,
    /// When it ends, in Unix seconds; `None` is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<i64>,
    /// With a period, the limit of that metric and period is `amount` higher until then, and nothing is used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
}

impl Grant {
    /// Open grants of one subject.
    pub const OPEN_MAX: usize = 32;
    /// The longest JSON text of one, in bytes.
    pub const BYTES_MAX: usize = 256;

    /// The first second at which it is no more, in Unix seconds.
    #[must_use]
    pub fn end_s(&self) -> i64 {
        self.expires_s.unwrap_or(Window::LIFETIME.end_s)
    }
}

/// Where a grant comes from.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum GrantSource {
    /// Support gave it.
    Admin,
    /// A campaign gave it.
    Promotion,
    /// It was paid for.
    Purchase,
    /// Another subject gave it.
    Gift,
}

impl GrantSource {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Promotion, Self::Purchase, Self::Gift];

    /// The name in answers and in Postgres.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Promotion => "promotion",
            Self::Purchase => "purchase",
            Self::Gift => "gift",
        }
    }

    /// The source of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }
}

/// A grant of one level of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantLine {
    /// The level that has it; 1 is the root.
    pub depth: u8,
    /// What it is.
    pub grant: Grant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_ends_when_it_expires_or_never() {
        let grant = |expires_s| Grant {
            id: 1,
            metric: Metric::new("messages").unwrap(),
            amount: Units::ZERO,
            expires_s,
            period: None,
        };
        assert_eq!(grant(Some(7)).end_s(), 7);
        assert_eq!(grant(None).end_s(), Window::LIFETIME.end_s);
    }

    #[test]
    fn each_source_is_found_by_the_name_that_it_has_in_json() {
        for source in GrantSource::ALL {
            assert_eq!(serde_json::to_value(source).unwrap(), source.as_str());
            assert_eq!(GrantSource::named(source.as_str()), Some(source));
        }
        assert_eq!(GrantSource::named("nobody"), None);
    }
}
