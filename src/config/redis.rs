//! `[redis]`: the store that decides.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::bounds::MINUTE_MS;
use super::error::ConfigError;
use super::secret::SecretUrl;

/// Where Redis is, and how long to wait for it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// URL with scheme `redis`, `redis+unix` or `unix`; may hold a password.
    pub url: SecretUrl,
    /// Time to open a connection, in milliseconds; 10 to 60,000.
    pub connect_timeout_ms: u64,
    /// Time to wait for an answer, in milliseconds; 10 to 60,000.
    pub response_timeout_ms: u64,
}

pub(super) const BOUNDS: &[Bound] = &[
    Bound::new("redis.connect_timeout_ms", 10, MINUTE_MS),
    Bound::new("redis.response_timeout_ms", 10, MINUTE_MS),
];

const SCHEMES: [&str; 3] = ["redis://", "redis+unix://", "unix://"];

impl RedisConfig {
    /// [`RedisConfig::connect_timeout_ms`] as a duration.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// [`RedisConfig::response_timeout_ms`] as a duration.
    #[must_use]
    pub const fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.response_timeout_ms)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let known = |scheme: &&str| self.url.expose().starts_with(*scheme);
        if SCHEMES.iter().any(known) {
            return Ok(());
        }
        let reason = format!("must begin with {}", SCHEMES.join(", "));
        Err(ConfigError::invalid("redis.url", reason))
    }
}
