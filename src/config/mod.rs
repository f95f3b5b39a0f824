//! The configuration: a documented default file, a file of the operator's, the environment.
//!
//! Architecture invariant: nothing outside this folder reads the environment, and nothing here
//! starts from a default that is not written in `config/default.toml`.

mod auth;
mod bounds;
mod clock;
mod docs;
mod drift;
mod email;
mod env;
mod error;
mod feed;
mod flusher;
mod jwt;
mod layer;
mod log;
mod postgres;
mod quota;
mod redis;
mod retention;
mod secret;
mod server;
mod telemetry;
#[cfg(test)]
mod tests;
mod transfers;
mod webhooks;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;
use toml::Table;
use toml::Value;

pub use auth::AuthConfig;
pub use clock::ClockConfig;
pub use docs::markdown;
pub use drift::DriftConfig;
pub use email::EmailConfig;
pub use env::process_env;
pub use error::ConfigError;
pub use feed::FeedConfig;
pub use flusher::FlusherConfig;
pub use jwt::JwtAlgorithm;
pub use jwt::JwtConfig;
pub use log::LogConfig;
pub use log::LogFormat;
pub use postgres::PostgresConfig;
pub use quota::QuotaConfig;
pub use quota::StoreAway;
pub use redis::RedisConfig;
pub use retention::RetentionConfig;
pub use secret::Secret;
pub use secret::SecretUrl;
pub use secret::SecretUrls;
pub use server::ServerConfig;
pub use telemetry::TelemetryConfig;
pub use transfers::TransfersConfig;
pub use webhooks::WebhooksConfig;

/// The default file.
const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// The whole configuration, checked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What this process runs.
    pub role: Role,
    /// The HTTP server.
    pub server: ServerConfig,
    /// The Redis that decides.
    pub redis: RedisConfig,
    /// The Postgres that remembers.
    pub postgres: PostgresConfig,
    /// How quotas are decided and kept.
    pub quota: QuotaConfig,
    /// Gifts of bonus units.
    pub transfers: TransfersConfig,
    /// The task that moves the outbox into Postgres.
    pub flusher: FlusherConfig,
    /// The task that compares both stores.
    pub drift: DriftConfig,
    /// The live feed.
    pub feed: FeedConfig,
    /// Deliveries to receivers of others.
    pub webhooks: WebhooksConfig,
    /// The server that mails are sent through.
    pub email: EmailConfig,
    /// How long facts are kept.
    pub retention: RetentionConfig,
    /// API keys.
    pub auth: AuthConfig,
    /// Tokens of end users.
    pub jwt: JwtConfig,
    /// The log.
    pub log: LogConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
    /// Time, for tests.
    pub clock: ClockConfig,
}

/// What a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    All,
    /// The HTTP API.
    Api,
    /// The background tasks.
    Background,
}

impl Config {
    /// Where both stores should be, each by the variable that says so and without its password: for errors.
    #[must_use]
    pub fn store_places(&self) -> String {
        let (redis, postgres) = (&self.redis, &self.postgres.url);
        let redis = if !redis.cluster_urls.is_empty() {
            format!("HEADROOM_REDIS_CLUSTER_URLS is {:?}", redis.cluster_urls)
        } else if !redis.sentinel_urls.is_empty() {
            format!("HEADROOM_REDIS_SENTINEL_URLS is {:?}", redis.sentinel_urls)
        } else {
            format!("REDIS_URL is {:?}", redis.url)
        };
        format!("DATABASE_URL is {postgres:?}, {redis}")
    }

    /// Merges the default file, the file at `path` (or else the one that `HEADROOM_CONFIG` names)
    /// and `env`, and checks the result.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key and its file or variable; the process should not start.
    pub fn load(
        path: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let env: BTreeMap<String, String> = env.into_iter().collect();
        let schema = layer::Schema::new();
        let file = file_layer(path, &env, &schema)?;
        let environment = env::layer(&env, &schema)?;
        Self::from_layers(&schema, &[schema.defaults(), &file, &environment])
    }

    fn from_layers(schema: &layer::Schema, layers: &[&Table]) -> Result<Self, ConfigError> {
        let merged = layer::merge(layers);
        let table: Table = merged.extract().map_err(unusable)?;
        bounds::check(&table)?;
        let config: Self = merged.extract().map_err(unusable)?;
        let default_url = schema.default_of("redis.url").and_then(Value::as_str);
        config.redis.check(default_url.unwrap_or_default())?;
        config.postgres.check()?;
        config.email.check()?;
        config.jwt.check()?;
        config.log.check()?;
        config.telemetry.check()?;
        config.transfers.check()?;
        Ok(config)
    }

    /// The configuration in force, as TOML with the secrets hidden.
    ///
    /// # Panics
    ///
    /// Never: every field has a form in TOML.
    #[must_use]
    pub fn shown(&self) -> String {
        toml::to_string(self).expect("every field has a form in TOML")
    }
}

/// The keys that the operator's file sets; none without a file.
fn file_layer(
    path: Option<&Path>,
    env: &BTreeMap<String, String>,
    schema: &layer::Schema,
) -> Result<Table, ConfigError> {
    let named = env
        .get(env::CONFIG_VARIABLE)
        .filter(|path| !path.is_empty())
        .map(|path| (Path::new(path), env::CONFIG_VARIABLE));
    let Some((path, origin)) = path.map(|path| (path, "--config")).or(named) else {
        return Ok(Table::new());
    };
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        origin: origin.to_owned(),
        source,
    })?;
    schema.parse(path, &text)
}

/// Types were compared before, so this is about a word or an address. Neither is a secret.
#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err takes")]
fn unusable(error: figment::Error) -> ConfigError {
    ConfigError::Invalid { key: error.path.join("."), reason: error.kind.to_string() }
}
