//! One state of the world: everything is `Copy`, small and canonical, so that equal worlds are equal values.

use super::bounds::Bounds;

/// The most operations a world may have: it sizes the arrays below.
pub const MAX_OPS: usize = 4;
/// The most flushers a world may have.
pub const MAX_FLUSHERS: usize = 2;
/// Entries that a flusher takes at once.
pub const BATCH: usize = 2;

/// A set of operations, as bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct OpSet(u8);

impl OpSet {
    pub fn contains(self, op: u8) -> bool {
        self.0 & (1 << op) != 0
    }

    pub fn with(self, op: u8) -> Self {
        Self(self.0 | (1 << op))
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn is_subset_of(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One event in the outbox.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Entry {
    pub id: u8,
    pub seq: u8,
    pub op: u8,
    pub delta: i8,
}

/// Entries in ascending order of id; the unused places are zero.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Entries {
    slots: [Entry; MAX_OPS],
    len: u8,
}

impl Entries {
    pub fn as_slice(&self) -> &[Entry] {
        &self.slots[..usize::from(self.len)]
    }

    pub fn push(&mut self, entry: Entry) {
        self.slots[usize::from(self.len)] = entry;
        self.len += 1;
    }

    /// The entries with a larger id.
    pub fn after(&self, id: u8) -> &[Entry] {
        let entries = self.as_slice();
        let start = entries.partition_point(|entry| entry.id <= id);
        &entries[start..]
    }

    pub fn ops(&self) -> OpSet {
        let mut ops = OpSet::default();
        for entry in self.as_slice() {
            ops = ops.with(entry.op);
        }
        ops
    }
}

impl From<&[Entry]> for Entries {
    fn from(entries: &[Entry]) -> Self {
        let mut copy = Self::default();
        for entry in entries {
            copy.push(*entry);
        }
        copy
    }
}

/// The sum of the entries' deltas, in units.
pub fn sum(entries: &[Entry]) -> i8 {
    entries.iter().map(|entry| entry.delta).sum()
}

/// The subject's counter in Redis.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Counter {
    pub used: i8,
    /// The epoch it was loaded in.
    pub epoch: u8,
}

/// What Redis, or its replica, holds of the shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Redis {
    pub seq: u8,
    pub outbox: Entries,
    /// The last trimmed id.
    pub floor: u8,
    /// Absent when evicted or never loaded.
    pub counter: Option<Counter>,
    /// Absent while the shard is fenced.
    pub epoch: Option<u8>,
}

/// What Postgres holds of the shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Postgres {
    pub cursor_id: u8,
    pub cursor_seq: u8,
    pub epoch: u8,
    pub used: i8,
    /// The operations in the message log.
    pub logged: OpSet,
    /// Their deltas, zero for an operation that is not logged.
    pub deltas: [i8; MAX_OPS],
    /// The operations that were resets by deletion; empty as long as resets are events.
    pub deletions: OpSet,
}

impl Postgres {
    /// Logs the entries; counts those that are new, or all of them without `dedupe`.
    pub fn log(&mut self, entries: &[Entry], dedupe: bool) {
        let known = self.logged;
        for entry in entries {
            if !(dedupe && known.contains(entry.op)) {
                self.used += entry.delta;
            }
            self.logged = self.logged.with(entry.op);
            self.deltas[usize::from(entry.op)] = entry.delta;
        }
    }
}

/// What a node read from Postgres for a load that is still under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Snapshot {
    pub used: i8,
    pub cursor_id: u8,
    pub epoch: u8,
}

/// What a flusher has read and not yet committed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Batch {
    pub cursor_id: u8,
    pub epoch: u8,
    entries: [Entry; BATCH],
    len: u8,
}

impl Batch {
    /// The first entries of `tail`, as many as a flusher takes.
    pub fn new(postgres: &Postgres, tail: &[Entry]) -> Self {
        let mut batch = Self {
            cursor_id: postgres.cursor_id,
            epoch: postgres.epoch,
            entries: [Entry::default(); BATCH],
            len: 0,
        };
        for (slot, entry) in batch.entries.iter_mut().zip(tail) {
            *slot = *entry;
            batch.len += 1;
        }
        batch
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries[..usize::from(self.len)]
    }

    /// The entry that becomes the cursor; a batch is never empty.
    pub fn last(&self) -> Entry {
        self.entries[usize::from(self.len) - 1]
    }
}

/// One state of the whole world.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub redis: Redis,
    pub replica: Redis,
    pub postgres: Postgres,
    pub load: Option<Snapshot>,
    pub flushers: [Option<Batch>; MAX_FLUSHERS],
    /// Operations so far; the next one gets this number.
    pub ops: u8,
    /// The last outbox id given out; ids follow the clock, so a failover does not take them back.
    pub last_id: u8,
    pub evictions_left: u8,
    pub failovers_left: u8,
    pub resets_left: u8,
    /// Acknowledged operations that Redis itself has not lost: Postgres must get them.
    pub owed: OpSet,
}

impl State {
    /// Empty stores in their first epoch.
    pub fn initial(bounds: &Bounds) -> Self {
        let redis =
            Redis { seq: 0, outbox: Entries::default(), floor: 0, counter: None, epoch: Some(1) };
        Self {
            redis,
            replica: redis,
            postgres: Postgres {
                cursor_id: 0,
                cursor_seq: 0,
                epoch: 1,
                used: 0,
                logged: OpSet::default(),
                deltas: [0; MAX_OPS],
                deletions: OpSet::default(),
            },
            load: None,
            flushers: [None; MAX_FLUSHERS],
            ops: 0,
            last_id: 0,
            evictions_left: bounds.evictions,
            failovers_left: bounds.failovers,
            resets_left: bounds.resets,
            owed: OpSet::default(),
        }
    }

    /// The outbox entries that Postgres has not committed.
    pub fn tail(&self) -> &[Entry] {
        self.redis.outbox.after(self.postgres.cursor_id)
    }
}
