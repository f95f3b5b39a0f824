//! What can be wrong with a configuration.

use std::path::PathBuf;

/// Why the configuration was refused. No variant holds the value of a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A configuration or secret file cannot be read.
    #[error("cannot read {path}, named by {origin}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The option or variable that names it.
        origin: String,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A secret file is longer than any secret.
    #[error("{path}, named by {variable}, is longer than {bytes_max} bytes", path = path.display())]
    SecretTooLong {
        /// The file.
        path: PathBuf,
        /// The variable that names it.
        variable: String,
        /// The bound, in bytes.
        bytes_max: u64,
    },
    /// The file is not TOML. The faulty line itself may hold a secret and is not repeated.
    #[error("{origin}, line {line}: {message}")]
    Syntax {
        /// The file.
        origin: String,
        /// The line, from 1.
        line: usize,
        /// What the parser expected.
        message: String,
    },
    /// The file sets a key that does not exist.
    #[error("unknown key {key} in {origin}")]
    UnknownKey {
        /// The key, with its section.
        key: String,
        /// The file.
        origin: String,
    },
    /// The environment sets a key that does not exist.
    #[error("unknown key in the environment: {variable}")]
    UnknownVariable {
        /// The variable.
        variable: String,
    },
    /// Two variables set one key.
    #[error("{key} is set by both {first} and {second}")]
    SetTwice {
        /// The key, with its section.
        key: String,
        /// One variable.
        first: String,
        /// The other variable.
        second: String,
    },
    /// A value has another type than the key's.
    #[error("{key} must be {expected}, in {origin}")]
    WrongType {
        /// The key, with its section.
        key: String,
        /// What the key takes.
        expected: &'static str,
        /// The file or variable.
        origin: String,
    },
    /// A number is out of its bounds.
    #[error("{key} is {value}, must be {min} to {max}")]
    OutOfBounds {
        /// The key, with its section.
        key: &'static str,
        /// The number found.
        value: i64,
        /// The lowest number allowed.
        min: i64,
        /// The highest number allowed.
        max: i64,
    },
    /// A value cannot be used.
    #[error("{key}: {reason}")]
    Invalid {
        /// The key, with its section.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

impl ConfigError {
    pub(super) fn invalid(key: &str, reason: impl Into<String>) -> Self {
        Self::Invalid { key: key.to_owned(), reason: reason.into() }
    }
}
