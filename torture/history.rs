//! What the clients asked and what they were told, one JSON document a line.

use std::io::Write;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;
use uuid::Uuid;

use crate::Failure;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    Consume,
    Reserve,
    Commit,
    Release,
    Refund,
    Reset,
    Check,
    /// Bonus units are given.
    Grant,
    /// Some of them are given to another subject.
    Gift,
}

impl Act {
    /// The kind of the event in the log; none of what only looks.
    pub(crate) const fn kind(self) -> Option<&'static str> {
        match self {
            Self::Consume => Some("consume"),
            Self::Reserve => Some("reserve"),
            Self::Commit => Some("commit"),
            Self::Release => Some("release"),
            Self::Refund => Some("refund"),
            Self::Reset => Some("reset"),
            Self::Grant => Some("grant"),
            Self::Gift => Some("transfer"),
            Self::Check => None,
        }
    }
}

/// What came back in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// The service said that it did it: this is the event.
    Done(Uuid),
    /// The service said that it made a grant: this is its number.
    Made(u64),
    /// The service said that it did not.
    Refused,
    /// Nothing came, or the service said that a store was away.
    Unknown,
    /// An answer that must not come.
    Wrong(u16),
}

/// One invocation, with its retries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invocation {
    /// The `X-Request-Id` of all its attempts, which the log has.
    pub(crate) id: String,
    pub(crate) subject: String,
    /// Who is given something.
    #[serde(default)]
    pub(crate) to: Option<String>,
    pub(crate) act: Act,
    pub(crate) amount: u64,
    /// Whether it had an idempotency key.
    pub(crate) is_keyed: bool,
    /// Unix milliseconds.
    pub(crate) sent_ms: i64,
    /// When the last attempt ended, whatever came of it.
    pub(crate) ended_ms: i64,
    pub(crate) attempts: u32,
    /// Whether an attempt before the last is of unknown fate.
    pub(crate) is_unsure: bool,
    pub(crate) told: Told,
}

/// Writes a history or a log, a line an invocation or row.
pub(crate) fn write<T: Serialize>(path: &Path, lines: &[T]) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}
