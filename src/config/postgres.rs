//! `[postgres]`: the store that remembers.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::bounds::MINUTE_MS;
use super::error::ConfigError;
use super::secret::SecretUrl;

/// Where Postgres is, and how long to wait for it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// URL with scheme `postgres` or `postgresql`; may hold a password.
    pub url: SecretUrl,
    /// The same for the owner of the tables; empty means [`PostgresConfig::url`].
    pub owner_url: SecretUrl,
    /// The same for what analysts ask; empty means [`PostgresConfig::url`].
    pub analytics_url: SecretUrl,
    /// Connections kept by one process; 2 to 256.
    pub pool_max: usize,
    /// Time to open a connection, in milliseconds; 10 to 60,000.
    pub connect_timeout_ms: u64,
    /// Time after which Postgres cancels a statement, in milliseconds; 100 to 3,600,000.
    pub statement_timeout_ms: u64,
}

pub(super) const BOUNDS: &[Bound] = &[
    Bound::new("postgres.pool_max", 2, 256),
    Bound::new("postgres.connect_timeout_ms", 10, MINUTE_MS),
    Bound::new("postgres.statement_timeout_ms", 100, 60 * MINUTE_MS),
];

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

impl PostgresConfig {
    /// The URL that migrations use: the owner's, or the service's own when there is none.
    #[must_use]
    pub fn migration_url(&self) -> &SecretUrl {
        if self.owner_url.is_empty() { &self.url } else { &self.owner_url }
    }

    /// Where analysts' questions go, when that is elsewhere.
    #[must_use]
    pub fn analysts_url(&self) -> Option<&SecretUrl> {
        Some(&self.analytics_url).filter(|url| !url.is_empty())
    }

    /// [`PostgresConfig::connect_timeout_ms`] as a duration.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_scheme("postgres.url", &self.url)?;
        check_scheme("postgres.owner_url", self.migration_url())?;
        self.analysts_url().map_or(Ok(()), |url| check_scheme("postgres.analytics_url", url))
    }
}

fn check_scheme(key: &str, url: &SecretUrl) -> Result<(), ConfigError> {
    let known = |scheme: &&str| url.expose().starts_with(*scheme);
    if SCHEMES.iter().any(known) {
        return Ok(());
    }
    let reason = format!("must begin with {}", SCHEMES.join(", "));
    Err(ConfigError::invalid(key, reason))
}
