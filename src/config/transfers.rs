//! `[transfers]`: what gifts of bonus units must keep to.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::bounds::DAY_S;
use super::error::ConfigError;

/// What gifts of bonus units must keep to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TransfersConfig {
    /// The sources of grants that may be given away, joined by commas.
    pub sources: String,
    /// The fewest units of one gift; 1 to 2^31.
    pub amount_min: u64,
    /// The most units of a metric that one subject gives in a day; 0 is no bound, at most 2^53 - 1.
    pub daily_max: u64,
    /// How long a giver waits from one gift to the next, in seconds; 0 to 31 days.
    pub giver_rest_s: u64,
    /// How long a receiver waits from one gift to the next, in seconds; 0 to 31 days.
    pub receiver_rest_s: u64,
}

pub(super) const BOUNDS: &[Bound] = &[
    Bound::new("transfers.amount_min", 1, 1 << 31),
    Bound::new("transfers.daily_max", 0, (1 << 53) - 1),
    Bound::new("transfers.giver_rest_s", 0, 31 * DAY_S),
    Bound::new("transfers.receiver_rest_s", 0, 31 * DAY_S),
];

/// What `transfers.sources` may name.
const SOURCES: [&str; 4] = ["admin", "promotion", "purchase", "gift"];

impl TransfersConfig {
    /// The names of the sources.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.split(',').map(str::trim).filter(|name| !name.is_empty())
    }

    /// [`TransfersConfig::giver_rest_s`] as a duration.
    #[must_use]
    pub const fn giver_rest(&self) -> Duration {
        Duration::from_secs(self.giver_rest_s)
    }

    /// [`TransfersConfig::receiver_rest_s`] as a duration.
    #[must_use]
    pub const fn receiver_rest(&self) -> Duration {
        Duration::from_secs(self.receiver_rest_s)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.sources().find(|name| !SOURCES.contains(name)) {
            None => Ok(()),
            Some(name) => Err(ConfigError::Invalid {
                key: "transfers.sources".to_owned(),
                reason: format!("must be of {}, got {name:?}", SOURCES.join(", ")),
            }),
        }
    }
}
