//! `[log]`: the log, on standard error.

use serde::Deserialize;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use super::error::ConfigError;

/// What is logged, and in which form.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// The form of a record.
    pub format: LogFormat,
    /// A level, or directives such as `info,headroom::quota=debug`.
    pub level: String,
}

/// The form of a log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match EnvFilter::try_new(&self.level) {
            Ok(_) => Ok(()),
            Err(error) => Err(ConfigError::invalid("log.level", error.to_string())),
        }
    }
}
