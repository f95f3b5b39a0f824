//! Limits: how much of a metric a window holds, and what happens past it.

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;

use super::period::Period;
use super::units::Metric;
use super::units::Units;

/// What happens when a charge would pass the limit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The charge is refused.
    #[default]
    Hard,
    /// The charge is accepted and marked as overage, up to the grace.
    Soft,
    /// The charge is accepted; what would have been refused is only reported.
    Shadow,
}

impl Mode {
    /// The name in the catalogue and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
            Self::Shadow => "shadow",
        }
    }
}

/// How a decision is answered while Redis cannot be reached.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum StoreAway {
    /// 503: nobody passes uncounted.
    #[default]
    Closed,
    /// 200 with `"degraded": true`: nobody is kept waiting.
    Open,
}

/// A rule: at most `max` units of `metric` in each window of `period`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What is counted.
    pub metric: Metric,
    /// How often the count starts anew.
    pub period: Period,
    /// The most units in a window; `None` is unlimited (absent, or `-1` in the catalogue), 0 is blocked.
    #[serde(default, deserialize_with = "max_or_unlimited")]
    pub max: Option<Units>,
    /// What happens past the limit.
    #[serde(default)]
    pub mode: Mode,
    /// Units past `max` that a soft limit still accepts.
    #[serde(default)]
    pub grace: u32,
    /// How the limit is answered while Redis is away; `None` takes the service's setting.
    #[serde(default)]
    pub store_away: Option<StoreAway>,
}

impl Limit {
    /// The limit's name in headers and answers: `messages-month`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}", self.metric, self.period.as_str())
    }

    /// The count above which a charge is refused, or `None` when none is.
    #[must_use]
    pub fn ceiling(&self) -> Option<Units> {
        match self.mode {
            Mode::Hard => self.max,
            Mode::Soft => self.max.map(|max| max.saturating_add(u64::from(self.grace))),
            Mode::Shadow => None,
        }
    }
}

/// `-1` is what several systems write for unlimited.
fn max_or_unlimited<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Units>, D::Error> {
    match Option::<i64>::deserialize(input)? {
        None | Some(-1) => Ok(None),
        Some(count) => u64::try_from(count)
            .map_err(|_| serde::de::Error::custom("max must be -1 (unlimited) or at least 0"))
            .and_then(|count| Units::new(count).map_err(serde::de::Error::custom))
            .map(Some),
    }
}
