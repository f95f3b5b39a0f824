//! The layers that are merged into one configuration, and the keys they may set.

use std::path::Path;

use figment::Figment;
use figment::Metadata;
use figment::Profile;
use figment::Provider;
use figment::providers::Serialized;
use figment::value::Dict;
use figment::value::Map;
use toml::Table;
use toml::Value;

use super::DEFAULT_TOML;
use super::error::ConfigError;

/// The keys that may not be shown, and that `<VARIABLE>_FILE` may set.
const SECRETS: [&str; 10] = [
    "redis.url",
    "redis.password",
    "redis.sentinel_urls",
    "redis.cluster_urls",
    "postgres.url",
    "postgres.owner_url",
    "postgres.analytics_url",
    "auth.admin_key",
    "jwt.secret",
    "email.smtp_url",
];

/// The keys that exist, with their types: those of the default file.
pub(super) struct Schema {
    defaults: Table,
}

impl Schema {
    pub(super) fn new() -> Self {
        let defaults =
            DEFAULT_TOML.parse().expect("the default file is a constant, parsed by a test");
        Self { defaults }
    }

    pub(super) fn defaults(&self) -> &Table {
        &self.defaults
    }

    /// The default of a key, or none when there is no such key.
    pub(super) fn default_of(&self, key: &str) -> Option<&Value> {
        let found = match key.split_once('.') {
            Some((section, name)) => self.defaults.get(section)?.get(name),
            None => self.defaults.get(key),
        };
        found.filter(|value| !value.is_table())
    }

    pub(super) fn is_secret(key: &str) -> bool {
        SECRETS.contains(&key)
    }

    /// What a key takes, for an error.
    pub(super) fn expected(&self, key: &str) -> &'static str {
        match self.default_of(key) {
            Some(Value::Integer(_)) => "an integer",
            Some(Value::Boolean(_)) => "true or false",
            Some(_) => "a text",
            None => "a section",
        }
    }

    /// Reads a file's text, and refuses keys and types that the default file does not have.
    pub(super) fn parse(&self, origin: &Path, text: &str) -> Result<Table, ConfigError> {
        let origin = origin.display().to_string();
        let table: Table = text.parse().map_err(|error| syntax_error(&origin, text, &error))?;
        for (name, value) in &table {
            match value {
                Value::Table(section) => self.check_section(&origin, name, section)?,
                value => self.check_value(&origin, name, value)?,
            }
        }
        Ok(table)
    }

    fn check_section(&self, origin: &str, name: &str, section: &Table) -> Result<(), ConfigError> {
        if !self.defaults.get(name).is_some_and(Value::is_table) {
            return self.check_value(origin, name, &Value::Table(Table::new()));
        }
        section
            .iter()
            .try_for_each(|(key, value)| self.check_value(origin, &format!("{name}.{key}"), value))
    }

    fn check_value(&self, origin: &str, key: &str, value: &Value) -> Result<(), ConfigError> {
        let is_section = self.defaults.get(key).is_some_and(Value::is_table);
        match self.default_of(key) {
            Some(default) if default.same_type(value) => Ok(()),
            None if !is_section => {
                Err(ConfigError::UnknownKey { key: key.to_owned(), origin: origin.to_owned() })
            }
            _ => Err(ConfigError::WrongType {
                key: key.to_owned(),
                expected: self.expected(key),
                origin: origin.to_owned(),
            }),
        }
    }
}

/// The parser's own text repeats the faulty line, which may hold a secret.
fn syntax_error(origin: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or("");
    ConfigError::Syntax {
        origin: origin.to_owned(),
        line: before.matches('\n').count() + 1,
        message: error.message().to_owned(),
    }
}

/// Sets `key`, with its section, in `table`.
pub(super) fn insert(table: &mut Table, key: &str, value: Value) {
    let Some((section, name)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(name.to_owned(), value);
    }
}

/// One layer, as figment takes it.
struct Layer<'a>(&'a Table);

impl Provider for Layer<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("configuration")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::defaults(self.0).data()
    }
}

/// Lays each table over the ones before it.
pub(super) fn merge(tables: &[&Table]) -> Figment {
    tables.iter().fold(Figment::new(), |merged, table| merged.merge(Layer(table)))
}
