//! Accepted changes of counters.

use std::sync::Arc;

use uuid::Uuid;

use super::period::Period;
use super::period::Window;
use super::units::Metric;
use super::units::Units;

/// What kind of change an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Units were used.
    Consume,
    /// An admin cleared counters.
    Reset,
    /// A counter was given a value that was counted elsewhere, or lowered.
    Set,
    /// Units were held for work in progress.
    Reserve,
    /// Held work was settled with the amount that it took.
    Commit,
    /// Held units were given back unused.
    Release,
    /// A hold ended by itself.
    Expire,
    /// A hold was given more time.
    Extend,
    /// An event's units were given back.
    Refund,
    /// Bonus units were given away.
    Transfer,
    /// Unused units were carried into a new window.
    Rollover,
}

impl EventKind {
    /// Every kind, by its number in the outbox.
    pub const ALL: [Self; 11] = [
        Self::Consume,
        Self::Reset,
        Self::Set,
        Self::Reserve,
        Self::Commit,
        Self::Release,
        Self::Expire,
        Self::Extend,
        Self::Refund,
        Self::Transfer,
        Self::Rollover,
    ];

    /// The name in the message log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Reset => "reset",
            Self::Set => "set",
            Self::Reserve => "reserve",
            Self::Commit => "commit",
            Self::Release => "release",
            Self::Expire => "expire",
            Self::Extend => "extend",
            Self::Refund => "refund",
            Self::Transfer => "transfer",
            Self::Rollover => "rollover",
        }
    }

    /// What the event's charges do to the sums of usage: 1 adds them, -1 takes them off, 0 leaves them out.
    #[must_use]
    pub const fn usage_sign(self) -> i64 {
        match self {
            Self::Consume | Self::Commit => 1,
            Self::Refund => -1,
            Self::Reset
            | Self::Set
            | Self::Reserve
            | Self::Release
            | Self::Expire
            | Self::Extend
            | Self::Transfer
            | Self::Rollover => 0,
        }
    }

    /// The number in the outbox. Numbers are never given to another kind.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Consume => 1,
            Self::Reset => 2,
            Self::Set => 3,
            Self::Reserve => 4,
            Self::Commit => 5,
            Self::Release => 6,
            Self::Expire => 7,
            Self::Extend => 8,
            Self::Refund => 9,
            Self::Transfer => 10,
            Self::Rollover => 11,
        }
    }

    /// The kind with that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The kind with that number.
    #[must_use]
    pub const fn coded(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Consume),
            2 => Some(Self::Reset),
            3 => Some(Self::Set),
            4 => Some(Self::Reserve),
            5 => Some(Self::Commit),
            6 => Some(Self::Release),
            7 => Some(Self::Expire),
            8 => Some(Self::Extend),
            9 => Some(Self::Refund),
            10 => Some(Self::Transfer),
            11 => Some(Self::Rollover),
            _ => None,
        }
    }
}

/// Which count of a window a delta changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tally {
    /// Units used.
    #[default]
    Used,
    /// Units held until then, in Unix seconds; from then on they are free whatever else happens.
    Held {
        /// The first second at which they are free.
        until_s: i64,
    },
    /// Units that the window before left.
    Carried,
    /// Units that refunds gave back.
    Refunded,
}

/// What one event did to one counter: of a limit's window, or of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The level of the subject that was charged; 1 is the root.
    pub depth: u8,
    /// What was counted.
    pub metric: Metric,
    /// The period of the limit; `lifetime` for a grant.
    pub period: Period,
    /// The instance of the period that the script used; a grant's ends when it expires.
    pub window: Window,
    /// The grant, when the units are of one.
    pub grant: Option<u64>,
    /// Which count of the window, or of the grant, it is.
    pub tally: Tally,
    /// Units added; negative when they were taken back.
    pub units: i64,
    /// The count after an admin's act; `None` for other events, which do not carry it.
    pub after: Option<i64>,
    /// The limit that was in force; `None` when it was unlimited or the event does not carry it.
    pub limit: Option<LimitInForce>,
}

/// A limit as it was when an event was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitInForce {
    /// The most units in the window, without those carried into it.
    pub max: Units,
    /// The share of `max` from which the counter warns, in percent.
    pub warning_percent: u8,
    /// The share of `max` from which the counter is critical, in percent.
    pub critical_percent: u8,
}

/// The deltas of an event, shared by all events of an outbox entry that were measured against one sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deltas {
    /// The plan that the limits came from, at the time of the event.
    pub plan: String,
    /// One delta a counter.
    pub lines: Vec<Delta>,
    /// Whether a commit came after its hold had ended.
    pub late: bool,
    /// Whether a commit passed a hard limit.
    pub overage: bool,
}

/// One accepted change of counters, as the outbox holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Place in the shard's epoch, from 1, without gaps (I5).
    pub seq: u64,
    /// The operation's id, in the log at most once (I7).
    pub event_id: Uuid,
    /// When Redis decided, in Unix milliseconds.
    pub occurred_at_ms: i64,
    /// What kind of change it was.
    pub kind: EventKind,
    /// The whole path that was charged.
    pub subject: String,
    /// The model that was asked for, if any.
    pub model: Option<String>,
    /// What was asked: the amount of a consume, reserve or commit. Of other kinds the deltas tell.
    pub amount: u64,
    /// Until when a reserve or an extend holds, in Unix seconds.
    pub until_s: Option<i64>,
    /// The event that this one settles: of a commit, release, expire, extend its reserve; of a refund what it gives back.
    pub of: Option<Uuid>,
    /// What it did to the counters.
    pub deltas: Arc<Deltas>,
    /// The request's id when it is not the event's own.
    pub request_id: Option<String>,
    /// The W3C trace id, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// The caller's metadata, as JSON text.
    pub metadata: Option<String>,
}

impl Event {
    /// The paths of all levels, root first.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        let ends = self.subject.match_indices('/').map(|(at, _)| at);
        ends.chain([self.subject.len()]).map(|end| &self.subject[..end])
    }

    /// The path of the level at `depth` (1 is the root).
    #[must_use]
    pub fn level(&self, depth: u8) -> &str {
        self.levels().nth(usize::from(depth.max(1)) - 1).unwrap_or(&self.subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_keep_their_numbers_and_names_and_what_they_do_to_usage() {
        let kinds = [
            (1, "consume", 1),
            (2, "reset", 0),
            (3, "set", 0),
            (4, "reserve", 0),
            (5, "commit", 1),
            (6, "release", 0),
            (7, "expire", 0),
            (8, "extend", 0),
            (9, "refund", -1),
            (10, "transfer", 0),
            (11, "rollover", 0),
        ];
        for (code, name, sign) in kinds {
            let kind = EventKind::coded(code).unwrap();
            assert_eq!((kind.code(), kind.as_str(), kind.usage_sign()), (code, name, sign));
            assert_eq!(EventKind::named(name), Some(kind));
        }
        assert_eq!([0, 12, 255].map(EventKind::coded), [None; 3]);
        assert_eq!(EventKind::named("nothing"), None);
    }
}
