//! The environment as a layer of the configuration.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use toml::Table;
use toml::Value;

use super::error::ConfigError;
use super::layer::Schema;
use super::layer::insert;

/// The variable that names the configuration file.
pub(super) const CONFIG_VARIABLE: &str = "HEADROOM_CONFIG";
const PREFIX: &str = "HEADROOM_";
const FILE_SUFFIX: &str = "_FILE";
/// Names that other tools agree on, and the keys they set.
pub(super) const WELL_KNOWN: [(&str, &str); 4] = [
    ("DATABASE_URL", "postgres.url"),
    ("ANALYTICS_DATABASE_URL", "postgres.analytics_url"),
    ("REDIS_URL", "redis.url"),
    ("REDIS_PASSWORD", "redis.password"),
];
/// Variables that are not keys: the one that steers the program, and those that clients and their tests read.
const CONTROL: [&str; 4] = [CONFIG_VARIABLE, "HEADROOM_URL", "HEADROOM_API_KEY", "HEADROOM_BIN"];
/// Longest content of a secret file, in bytes.
const SECRET_BYTES_MAX: u64 = 65_536;

/// A key, and how a variable gives its value.
struct Target {
    key: String,
    from_file: bool,
}

/// All variables of this process. Nothing else reads the environment.
#[must_use]
pub fn process_env() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        })
        .collect()
}

/// The keys that `env` sets. An empty variable counts as absent, which is what compose files
/// with `${NAME:-}` mean.
pub(super) fn layer(env: &BTreeMap<String, String>, schema: &Schema) -> Result<Table, ConfigError> {
    let mut table = Table::new();
    let mut set_by: BTreeMap<String, &str> = BTreeMap::new();
    for (variable, text) in env.iter().filter(|(_, text)| !text.is_empty()) {
        let Some(target) = target(variable, text, schema)? else {
            continue;
        };
        if let Some(first) = set_by.insert(target.key.clone(), variable) {
            return Err(ConfigError::SetTwice {
                key: target.key,
                first: first.to_owned(),
                second: variable.clone(),
            });
        }
        let text = if target.from_file { read_secret(variable, text)? } else { text.clone() };
        let value = parse(&target.key, variable, &text, schema)?;
        insert(&mut table, &target.key, value);
    }
    Ok(table)
}

/// The key that `variable` sets, or none when it is not ours.
fn target(variable: &str, text: &str, schema: &Schema) -> Result<Option<Target>, ConfigError> {
    if CONTROL.contains(&variable) {
        return Ok(None);
    }
    let found = exact_key(variable, schema).map(|key| (key, false));
    let found = found.or_else(|| {
        let key = exact_key(variable.strip_suffix(FILE_SUFFIX)?, schema)?;
        Schema::is_secret(&key).then_some((key, true))
    });
    match found {
        Some((key, from_file)) => Ok(Some(Target { key, from_file })),
        None if !variable.starts_with(PREFIX) || is_service_link(variable, text) => Ok(None),
        None => Err(ConfigError::UnknownVariable { variable: variable.to_owned() }),
    }
}

/// `HEADROOM_<SECTION>_<KEY>`, split at the first underscore, or `HEADROOM_<KEY>` at the top.
fn exact_key(variable: &str, schema: &Schema) -> Option<String> {
    if let Some((_, key)) = WELL_KNOWN.iter().find(|(name, _)| *name == variable) {
        return Some((*key).to_owned());
    }
    let rest = variable.strip_prefix(PREFIX)?;
    if rest.chars().any(|letter| letter.is_ascii_lowercase()) {
        return None;
    }
    let name = rest.to_ascii_lowercase();
    let key = name
        .split_once('_')
        .map_or_else(|| name.clone(), |(section, key)| format!("{section}.{key}"));
    schema.default_of(&key).is_some().then_some(key)
}

/// The variable that sets `key`, as the documentation names it.
pub(super) fn variable_of(key: &str) -> String {
    WELL_KNOWN.iter().find(|(_, known)| *known == key).map_or_else(
        || format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase()),
        |(variable, _)| (*variable).to_owned(),
    )
}

/// Kubernetes describes each service of the namespace to each container, and a service called
/// `headroom` or `headroom-redis` gives names such as `HEADROOM_PORT_8080_TCP_ADDR`.
fn is_service_link(variable: &str, text: &str) -> bool {
    let is_port = |rest: &str| rest.starts_with(|digit: char| digit.is_ascii_digit());
    variable.ends_with("_SERVICE_HOST")
        || variable.ends_with("_SERVICE_PORT")
        || variable.contains("_SERVICE_PORT_")
        || (variable.ends_with("_PORT") && text.contains("://"))
        || variable.split_once("_PORT_").is_some_and(|(_, rest)| is_port(rest))
}

fn parse(key: &str, variable: &str, text: &str, schema: &Schema) -> Result<Value, ConfigError> {
    let parsed = match schema.default_of(key) {
        Some(Value::Integer(_)) => text.trim().parse().ok().map(Value::Integer),
        Some(Value::Boolean(_)) => text.trim().parse().ok().map(Value::Boolean),
        _ => Some(Value::String(text.to_owned())),
    };
    parsed.ok_or_else(|| ConfigError::WrongType {
        key: key.to_owned(),
        expected: schema.expected(key),
        origin: variable.to_owned(),
    })
}

/// Editors and secret stores end files with a line break, which is no part of a secret.
fn read_secret(variable: &str, path: &str) -> Result<String, ConfigError> {
    let path = PathBuf::from(path);
    let mut text = String::new();
    let read = File::open(&path)
        .and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 > SECRET_BYTES_MAX => Err(ConfigError::SecretTooLong {
            path,
            variable: variable.to_owned(),
            bytes_max: SECRET_BYTES_MAX,
        }),
        Ok(_) => Ok(text.trim().to_owned()),
        Err(source) => Err(ConfigError::Read { path, origin: variable.to_owned(), source }),
    }
}
