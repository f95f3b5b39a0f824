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
    /// Decide and hold.
    Reserve,
    /// End a hold with what it took; it may have lapsed, as long as nobody has said so.
    Commit,
    /// Charge what a hold took that has expired.
    CommitLate,
    /// End a hold that took nothing.
    Release,
    /// Say that a hold has lapsed.
    Expire,
    /// Move the end of a hold.
    Extend,
    /// Give back what an event took.
    Refund,
    /// Carry over what windows left.
    Roll,
    /// Take units of grants, to give them away.
    Give,
}

impl OperationKind {
    /// Whether the script works out what changes, and answers it.
    pub(super) const fn rewrites(self) -> bool {
        matches!(
            self,
            Self::Reset | Self::Set | Self::Decrement | Self::Refund | Self::Roll | Self::Give
        )
    }

    /// Whether it ends or moves a hold, which goes by what the hold was measured against.
    #[must_use]
    pub const fn is_of_hold(self) -> bool {
        matches!(
            self,
            Self::Commit | Self::CommitLate | Self::Release | Self::Expire | Self::Extend
        )
    }

    /// Whether what is asked stands in the place of a sheet, so that no other operation can share it.
    pub(super) const fn has_own_sheet(self) -> bool {
        self.rewrites() || self.is_of_hold()
    }

    const fn event(self) -> Option<EventKind> {
        Some(match self {
            Self::Check => return None,
            Self::Consume => EventKind::Consume,
            Self::Reset => EventKind::Reset,
            Self::Set | Self::Decrement => EventKind::Set,
            Self::Reserve => EventKind::Reserve,
            Self::Commit | Self::CommitLate => EventKind::Commit,
            Self::Release => EventKind::Release,
            Self::Expire => EventKind::Expire,
            Self::Extend => EventKind::Extend,
            Self::Refund => EventKind::Refund,
            Self::Roll => EventKind::Rollover,
            Self::Give => EventKind::Transfer,
        })
    }

    pub(super) const fn code(self) -> i64 {
        match self {
            Self::Check => 0,
            Self::Consume => 1,
            Self::Reset => 2,
            Self::Set => 3,
            Self::Decrement => 4,
            Self::Reserve => 5,
            Self::Commit => 6,
            Self::CommitLate => 7,
            Self::Release => 8,
            Self::Expire => 9,
            Self::Extend => 10,
            Self::Refund => 11,
            Self::Roll => 12,
            Self::Give => 13,
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

/// A hold, and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldOf {
    /// The id of the event that made it.
    pub id: Uuid,
    /// Until when to hold, in Unix seconds, for a reserve and an extend.
    pub until_s: i64,
    /// Whether a commit above the held amount is refused when it would pass a limit.
    pub is_strict: bool,
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
    /// The hold that is made, ended or moved.
    pub hold: Option<HoldOf>,
    /// The event that is given back, of a refund.
    pub refunds: Option<Uuid>,
    /// The versions of the profiles that the sheet was made from, by level; the root's first.
    pub profile_versions: [u64; Subject::LEVELS_MAX],
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// The seq seen before a first attempt whose fate is unknown; `None` before any such attempt.
    pub since_seq: Option<u64>,
    /// The epoch of that attempt; 0 before any.
    pub since_epoch: u64,
}

impl Operation {
    /// The hold that the script is told of: none while what would make, end or move one is only looked at.
    pub(super) fn named_hold(&self) -> Option<HoldOf> {
        self.hold.filter(|_| self.kind == OperationKind::Reserve || self.kind.is_of_hold())
    }

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
        let Some(kind) = self.kind.event() else { return Vec::new() };
        let (is_hold, settles) = (self.kind == OperationKind::Reserve, self.settles());
        let has_more = is_hold || settles.is_some();
        // What the script works out is in the sheet that it makes.
        let amount = if self.kind.rewrites() { 1 } else { self.amount.get() };
        let mut packer = Packer::with_capacity(96);
        packer.array(if has_more { 11 } else { 9 }).count(sheet as u64).count(kind.code().into());
        packer.bytes(self.event_id.as_bytes()).text(self.subject.as_str()).count(amount);
        packer.maybe(self.model.as_deref().map(str::as_bytes));
        packer.maybe(self.own_request_id().map(str::as_bytes));
        packer.maybe(self.trace_id.as_deref().map(str::as_bytes));
        packer.maybe(self.metadata.as_deref().map(str::as_bytes));
        if has_more {
            let has_until = is_hold || self.kind == OperationKind::Extend;
            let until_s = self.hold.filter(|_| has_until).map_or(0, |hold| hold.until_s);
            packer.int(until_s).maybe(settles.as_ref().map(|id| id.as_bytes().as_slice()));
        }
        packer.finish()
    }

    /// Whether only the script with all its parts can decide it.
    pub(super) fn needs_whole(&self) -> bool {
        let is_plain = matches!(self.kind, OperationKind::Check | OperationKind::Consume);
        !is_plain || self.sheet.has_more()
    }

    /// The earlier event that this one settles.
    fn settles(&self) -> Option<Uuid> {
        let hold = self.hold.filter(|_| self.kind.is_of_hold());
        hold.map(|hold| hold.id).or(self.refunds)
    }
}

/// An answer that was stored under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The event that was accepted.
    pub event_id: Uuid,
    /// The epoch in which it was.
    pub epoch: u64,
    /// Its place there.
    pub seq: u64,
    /// The request that was answered.
    pub request_id: String,
    /// When Redis decided, in Unix milliseconds.
    pub now_ms: i64,
    /// The plan at the time.
    pub plan: String,
    /// Each counter as the answer showed it.
    pub lines: Vec<StoredLine>,
    /// What the answer showed beside used units.
    pub more: Option<Box<More>>,
    /// The hold that was made, ended or moved.
    pub hold: Option<HoldTold>,
}

/// What counts beside used units, by the lines of a sheet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct More {
    /// Units held for work in progress.
    pub held: Vec<Units>,
    /// Units that the window before left.
    pub carried: Vec<Units>,
    /// Bonus units that are left.
    pub granted: Vec<Units>,
    /// When the first held unit is free again, in Unix seconds, after a refusal only because of what is held.
    pub free_at_s: Option<i64>,
    /// When as much as was asked for has left the sliding limits that had no room, in Unix seconds, after a refusal by one.
    pub room_at_s: Option<i64>,
}

/// What is told of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldTold {
    /// Until when it holds or held, in Unix seconds.
    pub until_s: i64,
    /// The amount that was held.
    pub amount: Units,
    /// Whether it had lapsed when it was committed.
    pub late: bool,
    /// Whether the commit passed a hard limit.
    pub overage: bool,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// It is still open.
    Open,
    /// Committed in time.
    Committed,
    /// Released.
    Released,
    /// Expired.
    Expired,
    /// Committed after it had lapsed.
    CommittedLate,
}

impl HoldEnd {
    /// The end with the script's number.
    pub(super) const fn coded(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Open),
            1 => Some(Self::Committed),
            2 => Some(Self::Released),
            3 => Some(Self::Expired),
            4 => Some(Self::CommittedLate),
            _ => None,
        }
    }
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
        /// What counts beside them, where that is not nothing.
        more: Option<Box<More>>,
        /// When an admin last cleared counters of the subject, for a check; Unix milliseconds, 0 is never.
        reset_at_ms: i64,
        /// When Redis decided, in Unix milliseconds.
        now_ms: i64,
    },
    /// Answered before.
    Replayed(StoredAnswer),
    /// A hold was ended or moved: its event, and the counters afterwards.
    HoldEnded(StoredAnswer),
    /// The hold has ended before, or, of a reserve, there is one: how, and the amount that was committed or is held.
    Ended(HoldEnd, Units),
    /// There was nothing to change: nothing to give back, not as much to give away, no room for a strict commit, not yet
    /// time to expire.
    Nothing,
    /// Counters were changed as asked.
    Rewritten {
        /// What was added to each counter: negative units were taken back. A sliding limit has a line for the current
        /// slice, and one for each earlier slice that changed.
        lines: Vec<StoredLine>,
        /// When, in Unix milliseconds.
        now_ms: i64,
    },
    /// The idempotency key was used with another payload; of a gift, that it was refused before.
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
    /// Carry over what windows left, on the level at this depth.
    Roll(u8),
    /// Ask Postgres what was used in the windows before.
    Before,
    /// Tell the hold as Postgres or its id have it.
    Hold,
    /// Recover the shard.
    Recover(Fault),
    /// Ask Postgres whether an earlier attempt was logged: its epoch has ended, and Redis can no longer tell.
    Ended,
}

impl Again {
    /// Whether it takes another sheet, which who asked has to make.
    #[must_use]
    pub const fn is_for_the_asker(self) -> bool {
        matches!(self, Self::Before | Self::Hold)
    }
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
