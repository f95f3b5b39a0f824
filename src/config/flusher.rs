//! `[flusher]`: the task that moves the outbox into Postgres.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::bounds::DAY_S;

/// How the outbox is moved and trimmed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FlusherConfig {
    /// Events in one transaction; 1 to 100,000.
    pub batch_events_max: usize,
    /// Time between two looks at an empty outbox, in milliseconds; 1 to 10,000.
    pub idle_poll_ms: u64,
    /// Time for which flushed events stay in Redis, in seconds; 0 to 1 day.
    pub trim_lag_s: u64,
    /// Flushed events kept for that purpose, in bytes for each shard; 0 to 16 GiB.
    pub trim_bytes_max: u64,
}

pub(super) const BOUNDS: &[Bound] = &[
    Bound::new("flusher.batch_events_max", 1, 100_000),
    Bound::new("flusher.idle_poll_ms", 1, 10_000),
    Bound::new("flusher.trim_lag_s", 0, DAY_S),
    Bound::new("flusher.trim_bytes_max", 0, 16 << 30),
];

impl FlusherConfig {
    /// [`FlusherConfig::idle_poll_ms`] as a duration.
    #[must_use]
    pub const fn idle_poll(&self) -> Duration {
        Duration::from_millis(self.idle_poll_ms)
    }
}
