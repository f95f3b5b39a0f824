//! What the protocol consists of, and how large a world it is tried in.

/// The guards of the protocol; each one can be taken away to see what it is for.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each guard is an independent switch")]
pub struct Guards {
    /// `load` refuses a snapshot whose cursor is behind the last trimmed id.
    pub floor_check: bool,
    /// `load` adds the outbox entries after the snapshot's cursor.
    pub tail: bool,
    /// A flusher commits only if the cursor and epoch are still those it read.
    pub cursor_compare_and_set: bool,
    /// A flusher adds the deltas of newly logged events only.
    pub dedupe: bool,
    /// A gap or a step back in `seq` is noticed and leads to recovery.
    pub seq_check: bool,
    /// A counter counts only in the epoch it was loaded in.
    pub epoch_in_counter: bool,
    /// The outbox is trimmed up to the committed cursor, not up to what was read.
    pub trim_after_commit: bool,
    /// Recovery writes the outbox entries that are not yet logged into Postgres.
    pub salvage: bool,
    /// A reset is a negative delta in the outbox, not a deletion in both stores.
    pub reset_as_event: bool,
    /// Recovery stops Redis from deciding before it reads the outbox.
    pub fence: bool,
}

impl Guards {
    /// The protocol as it is built.
    pub const ALL: Self = Self {
        floor_check: true,
        tail: true,
        cursor_compare_and_set: true,
        dedupe: true,
        seq_check: true,
        epoch_in_counter: true,
        trim_after_commit: true,
        salvage: true,
        reset_as_event: true,
        fence: true,
    };
}

/// The size of the world: how often each thing may happen.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// The limit of the one counter, in units.
    pub limit: i8,
    /// Operations in all, at most `MAX_OPS`.
    pub ops: u8,
    /// Evictions of the subject's counters.
    pub evictions: u8,
    /// Failovers to the replica.
    pub failovers: u8,
    /// Flushers that run side by side, at most `MAX_FLUSHERS`.
    pub flushers: usize,
    /// How many of the operations may be resets.
    pub resets: u8,
}

impl Bounds {
    /// Three operations on a limit of three, one flusher and no faults.
    pub const CALM: Self =
        Self { limit: 3, ops: 3, evictions: 0, failovers: 0, flushers: 1, resets: 0 };
}

/// One world to search.
#[derive(Clone, Copy)]
pub struct Model {
    /// The guards in force.
    pub guards: Guards,
    /// The size of the world.
    pub bounds: Bounds,
}
