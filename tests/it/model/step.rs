//! The names of what can happen.

use std::fmt;

use super::bounds::Model;
use super::state::State;

/// Something that happens to the world in one indivisible step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Consume,
    Reset,
    /// A reset that zeroes Postgres and deletes the key in Redis, past the outbox.
    DeletingReset,
    Evict,
    LoadRead,
    LoadApply,
    LoadRetry,
    FlushRead(usize),
    FlushCommit(usize),
    FlushFenced(usize),
    FlushCrash(usize),
    Trim,
    Replicate,
    Failover,
    Fence,
    Salvage,
    Open,
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Consume => "consume",
            Self::Reset => "reset",
            Self::DeletingReset => "deleting reset",
            Self::Evict => "evict",
            Self::LoadRead => "load reads",
            Self::LoadApply => "load applies",
            Self::LoadRetry => "load retries",
            Self::FlushRead(flusher) => return write!(out, "flusher {flusher} reads"),
            Self::FlushCommit(flusher) => return write!(out, "flusher {flusher} commits"),
            Self::FlushFenced(flusher) => return write!(out, "flusher {flusher} rolls back"),
            Self::FlushCrash(flusher) => return write!(out, "flusher {flusher} crashes"),
            Self::Trim => "trim",
            Self::Replicate => "replicate",
            Self::Failover => "failover",
            Self::Fence => "fence",
            Self::Salvage => "salvage",
            Self::Open => "open",
        };
        out.write_str(name)
    }
}

/// Where the steps that are possible in a state are gathered.
pub type Steps = Vec<(Step, State)>;

impl Model {
    /// Everything that can happen next.
    pub fn steps(&self, state: &State, steps: &mut Steps) {
        self.serving_steps(state, steps);
        self.flushing_steps(state, steps);
        self.recovering_steps(state, steps);
    }
}
