//! `[redis]`: the store that decides.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::bounds::MINUTE_MS;
use super::error::ConfigError;
use super::secret::Secret;
use super::secret::SecretUrl;
use super::secret::SecretUrls;

/// Where Redis is, and how long to wait for it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// URL with scheme `redis`, `redis+unix` or `unix`; may hold a password. Beside sentinels only its user, password and
    /// database count.
    pub url: SecretUrl,
    /// The password of Redis where the URL has none; empty means none.
    pub password: Secret,
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
        let (url, password, sentinel_primary) =
            (SecretUrl::new(url), Secret::default(), String::new());
        Self { url, password, sentinel_urls, sentinel_primary, cluster_urls, ..self }
    }

    /// [`RedisConfig::url`] with its password. The caller keeps it out of logs and errors.
    #[must_use]
    pub fn login_url(&self) -> String {
        with_password(self.url.expose(), self.password.expose())
    }

    /// [`RedisConfig::cluster_urls`], the first of them with its password. The caller keeps them out of logs and errors.
    #[must_use]
    pub fn cluster_login_urls(&self) -> Vec<String> {
        let mut urls: Vec<String> = self.cluster_urls.iter().map(str::to_owned).collect();
        if let Some(first) = urls.first_mut() {
            *first = with_password(first, self.password.expose());
        }
        urls
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

/// The URL, with that password when it has none. Of a socket it is a parameter.
fn with_password(url: &str, password: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://").filter(|_| !password.is_empty()) else {
        return url.to_owned();
    };
    let password = percent_encoded(password);
    if scheme != "redis" {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if query.split('&').any(|parameter| parameter.starts_with("pass=")) {
            return url.to_owned();
        }
        let others = if query.is_empty() { String::new() } else { format!("&{query}") };
        return format!("{scheme}://{place}?pass={password}{others}");
    }
    match rest.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => url.to_owned(),
        Some((user, place)) => format!("{scheme}://{user}:{password}@{place}"),
        None => format!("{scheme}://:{password}@{rest}"),
    }
}

/// The text as a part of a URL (RFC 3986 section 2.1).
fn percent_encoded(text: &str) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).map(|it| it.to_ascii_uppercase());
    let encode = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            [Some(char::from(byte)), None, None]
        } else {
            [Some('%'), digit(byte >> 4), digit(byte & 15)]
        }
    };
    text.bytes().flat_map(encode).flatten().collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_its_own_stands_in_for_that_of_the_url() {
        for (url, whole) in [
            ("redis://h:1/2", "redis://:p%40%2Fs%20w@h:1/2"),
            ("redis://u@h", "redis://u:p%40%2Fs%20w@h"),
            ("redis://:own@h", "redis://:own@h"),
            ("redis://u:own@h", "redis://u:own@h"),
            ("redis+unix:///run/r.sock", "redis+unix:///run/r.sock?pass=p%40%2Fs%20w"),
            ("unix:///run/r.sock?db=1", "unix:///run/r.sock?pass=p%40%2Fs%20w&db=1"),
            ("unix:///run/r.sock?pass=own", "unix:///run/r.sock?pass=own"),
        ] {
            assert_eq!(with_password(url, "p@/s w"), whole);
            assert_eq!(with_password(url, ""), url);
        }
    }
}
