//! What a lane carries: one request to the script, and its outcome.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use crate::domain::EventKind;
use crate::domain::Subject;
use crate::domain::Units;

use super::pack::Packer;
use super::sheet::PackedSheet;
use super::sheet::StoredLine;

/// What is asked of the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Decide without charging; writes nothing.
    Check,
    /// Decide and charge.
    Consume,
    /// Clear counters.
    Reset,
    /// Give the counters of the sheet's lines a value.
    Set,
    /// Lower the counters of the sheet's lines, at most to zero.
    Decrement,
}

impl OperationKind {
    /// Whether the script works out what changes, and answers it.
    pub(super) const fn rewrites(self) -> bool {
        matches!(self, Self::Reset | Self::Set | Self::Decrement)
    }

    pub(super) const fn code(self) -> i64 {
        match self {
            Self::Check => 0,
            Self::Consume => 1,
            Self::Reset => 2,
            Self::Set => 3,
            Self::Decrement => 4,
        }
    }
}

/// What makes a repeated request known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// A hash of the operation and the caller's key; the subject is in the record's name.
    pub key_hash: [u8; 16],
    /// A hash of the payload: another payload under the same key is a mistake.
    pub fingerprint: [u8; 8],
}

/// One request to the script.
#[derive(Debug)]
pub struct Operation {
    /// What is asked.
    pub kind: OperationKind,
    /// Who is charged.
    pub subject: Subject,
    /// What it is measured against.
    pub sheet: Arc<PackedSheet>,
    /// The operation's id: the same for every attempt.
    pub event_id: Uuid,
    /// What makes a repetition known, when the caller sent a key.
    pub idempotency: Option<Idempotency>,
    /// The model that was asked for.
    pub model: Option<String>,
    /// The request's id.
    pub request_id: String,
    /// The W3C trace id, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// The caller's metadata, JSON text.
    pub metadata: Option<String>,
    /// How much is asked: units are this times a line's weight. The new count for a set.
    pub amount: Units,
    /// The versions of the profiles that the sheet was made from, by level; the root's first.
    pub profile_versions: [u64; Subject::LEVELS_MAX],
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// The seq seen before a first attempt whose fate is unknown; `None` before any such attempt.
    pub since_seq: Option<u64>,
}

impl Operation {
    /// The request's id, unless it is the event's: an id that the service made serves for both.
    fn own_request_id(&self) -> Option<&str> {
        let is_same = Uuid::try_parse(&self.request_id).is_ok_and(|id| id == self.event_id);
        (!is_same).then_some(self.request_id.as_str())
    }

    /// The event as the outbox holds it. `sheet` is its sheet's place in the outbox entry, below 128.
    ///
    /// The layout up to the event's id is fixed, since the script reads it by byte offset: array header, sheet, kind,
    /// string header, 16 bytes of id.
    pub(super) fn pack_event(&self, sheet: usize) -> Vec<u8> {
        let kind = match self.kind {
            OperationKind::Check => return Vec::new(),
            OperationKind::Consume => EventKind::Consume,
            OperationKind::Reset => EventKind::Reset,
            OperationKind::Set | OperationKind::Decrement => EventKind::Set,
        };
        // What the script works out is in the sheet that it makes.
        let amount = if self.kind.rewrites() { 1 } else { self.amount.get() };
        let mut packer = Packer::with_capacity(96);
        packer.array(9).count(sheet as u64).count(kind.code().into());
        packer.bytes(self.event_id.as_bytes()).text(self.subject.as_str()).count(amount);
        packer.maybe(self.model.as_deref().map(str::as_bytes));
        packer.maybe(self.own_request_id().map(str::as_bytes));
        packer.maybe(self.trace_id.as_deref().map(str::as_bytes));
        packer.maybe(self.metadata.as_deref().map(str::as_bytes));
        packer.finish()
    }
}

/// An answer that was stored under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The event that was accepted.
    pub event_id: Uuid,
    /// The request that was answered.
    pub request_id: String,
    /// When Redis decided, in Unix milliseconds.
    pub now_ms: i64,
    /// The plan at the time.
    pub plan: String,
    /// Each counter as the answer showed it.
    pub lines: Vec<StoredLine>,
}

/// What the script made of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Decided; `used` follows the sheet's lines.
    Decided {
        /// Whether every limit holds the charge.
        accepted: bool,
        /// Units used: after the charge, or as they are for a refusal and a check.
        used: Vec<Units>,
        /// When an admin last cleared counters of the subject, for a check; Unix milliseconds, 0 is never.
        reset_at_ms: i64,
        /// When Redis decided, in Unix milliseconds.
        now_ms: i64,
    },
    /// Answered before.
    Replayed(StoredAnswer),
    /// Counters were cleared, set or lowered.
    Rewritten {
        /// What was added to each counter: negative units were taken back. A sliding limit has a line for the current
        /// slice, and one for each earlier slice that changed.
        lines: Vec<StoredLine>,
        /// When, in Unix milliseconds.
        now_ms: i64,
    },
    /// The idempotency key was used with another payload.
    Mismatch,
    /// Nothing was decided: do what this says, then submit the operation again.
    Again(Again),
}

/// What has to be done before an operation can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Load the levels of the subject.
    Load,
    /// Read the profile of the level at this depth again: there is a newer one.
    Stale(u8),
    /// Work the windows out again: it is this time in Redis, in Unix milliseconds.
    WrongWindow(i64),
    /// Recover the shard.
    Recover(Fault),
}

/// A fault as it was met, with what was known of the shard then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Why the shard cannot serve.
    pub kind: ShardFault,
    /// The epoch in which the fault was met: a later one has left it behind.
    pub epoch: u64,
    /// The highest place known to have been given out in that epoch.
    pub seq: u64,
}

/// Why a shard cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardFault {
    /// Redis does not know the shard: it is new, or was flushed.
    Uninitialised,
    /// A recovery is under way, or was interrupted.
    Fenced,
    /// Redis is at an older epoch: a snapshot was restored.
    OlderEpoch,
    /// Redis forgot acknowledged events.
    Rollback,
    /// Events are missing from the outbox.
    Gap,
}

impl ShardFault {
    /// The name in incidents and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uninitialised => "uninitialised",
            Self::Fenced => "fenced",
            Self::OlderEpoch => "older_epoch",
            Self::Rollback => "rollback",
            Self::Gap => "gap",
        }
    }

    /// The fault of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Uninitialised, Self::Fenced, Self::OlderEpoch, Self::Rollback, Self::Gap];
        all.into_iter().find(|fault| fault.as_str() == name)
    }
}
