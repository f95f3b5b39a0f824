//! The bounds of numbers, kept beside the struct that holds the number.

use super::error::ConfigError;

/// What a number may be, both ends included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// The key, with its section.
    pub(super) key: &'static str,
    /// The lowest number allowed.
    pub(super) min: i64,
    /// The highest number allowed.
    pub(super) max: i64,
}

impl Bound {
    pub(super) const fn new(key: &'static str, min: i64, max: i64) -> Self {
        Self { key, min, max }
    }
}

/// One day, in milliseconds.
pub(super) const DAY_MS: i64 = 86_400_000;
/// One minute, in milliseconds.
pub(super) const MINUTE_MS: i64 = 60_000;
/// One day, in seconds.
pub(super) const DAY_S: i64 = 86_400;

/// The bounds of all sections.
pub(super) fn all() -> impl Iterator<Item = &'static Bound> {
    [
        super::server::BOUNDS,
        super::redis::BOUNDS,
        super::postgres::BOUNDS,
        super::quota::BOUNDS,
        super::transfers::BOUNDS,
        super::flusher::BOUNDS,
        super::drift::BOUNDS,
        super::feed::BOUNDS,
        super::webhooks::BOUNDS,
        super::retention::BOUNDS,
        super::auth::BOUNDS,
        super::jwt::BOUNDS,
        super::telemetry::BOUNDS,
        super::clock::BOUNDS,
    ]
    .into_iter()
    .flatten()
}

/// Checks the numbers of a merged configuration before it becomes structs, so that a number which
/// does not even fit its type is reported with its bound.
pub(super) fn check(table: &toml::Table) -> Result<(), ConfigError> {
    for bound in all() {
        let Some(value) = integer(table, bound.key) else {
            continue;
        };
        if !(bound.min..=bound.max).contains(&value) {
            return Err(ConfigError::OutOfBounds {
                key: bound.key,
                value,
                min: bound.min,
                max: bound.max,
            });
        }
    }
    Ok(())
}

fn integer(table: &toml::Table, key: &str) -> Option<i64> {
    let (section, name) = key.split_once('.')?;
    table.get(section)?.get(name)?.as_integer()
}
