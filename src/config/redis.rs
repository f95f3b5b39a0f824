//! `[redis]`: the store that decides.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::bounds::MINUTE_MS;
use super::error::ConfigError;
use super::secret::SecretUrl;
use super::secret::SecretUrls;

/// Where Redis is, and how long to wait for it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// URL with scheme `redis`, `redis+unix` or `unix`; may hold a password. Beside sentinels only its user, password and
    /// database count.
    pub url: SecretUrl,
    /// URLs with scheme `redis` of at most 16 sentinels; empty means none.
    pub sentinel_urls: SecretUrls,
    /// What the sentinels call the primary.
    pub sentinel_primary: String,
    /// URLs with scheme `redis` of at most 16 servers of a cluster; empty means none.
    pub cluster_urls: SecretUrls,
    /// Time to open a connection, in milliseconds; 10 to 60,000.
    pub connect_timeout_ms: u64,
    /// Time to wait for an answer, in milliseconds; 10 to 60,000.
    pub response_timeout_ms: u64,
}

pub(super) const BOUNDS: &[Bound] = &[
    Bound::new("redis.connect_timeout_ms", 10, MINUTE_MS),
    Bound::new("redis.response_timeout_ms", 10, MINUTE_MS),
];

/// Servers that a list may name.
const URLS_MAX: usize = 16;
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

    /// One server, and no other place.
    #[must_use]
    pub fn with_url(self, url: String) -> Self {
        let (sentinel_urls, cluster_urls) = (SecretUrls::default(), SecretUrls::default());
        let (url, sentinel_primary) = (SecretUrl::new(url), String::new());
        Self { url, sentinel_urls, sentinel_primary, cluster_urls, ..self }
    }

    /// Checks each place, and that there is one. `default_url` is what `url` is when nobody sets it.
    pub(super) fn check(&self, default_url: &str) -> Result<(), ConfigError> {
        let known = |scheme: &&str| self.url.expose().starts_with(*scheme);
        if !SCHEMES.iter().any(known) {
            let reason = format!("must begin with {}", SCHEMES.join(", "));
            return Err(ConfigError::invalid("redis.url", reason));
        }
        check_urls("redis.sentinel_urls", &self.sentinel_urls)?;
        check_urls("redis.cluster_urls", &self.cluster_urls)?;
        let (has_sentinels, is_cluster) =
            (!self.sentinel_urls.is_empty(), !self.cluster_urls.is_empty());
        let refused = |reason| Err(ConfigError::invalid("redis.cluster_urls", reason));
        if is_cluster && has_sentinels {
            return refused("redis.sentinel_urls is set, too; a cluster has no sentinels");
        }
        if is_cluster && self.url.expose() != default_url {
            return refused(
                "redis.url is set, too; a cluster is reached by redis.cluster_urls alone",
            );
        }
        if has_sentinels == self.sentinel_primary.is_empty() {
            let reason = "redis.sentinel_urls and redis.sentinel_primary go together";
            return Err(ConfigError::invalid("redis.sentinel_primary", reason));
        }
        Ok(())
    }
}

fn check_urls(key: &str, urls: &SecretUrls) -> Result<(), ConfigError> {
    if urls.iter().count() > URLS_MAX {
        return Err(ConfigError::invalid(key, format!("must be at most {URLS_MAX} urls")));
    }
    if urls.iter().all(|url| url.starts_with("redis://")) {
        return Ok(());
    }
    let reason = "each must begin with redis://; a comma within a password is written %2C";
    Err(ConfigError::invalid(key, reason))
}
