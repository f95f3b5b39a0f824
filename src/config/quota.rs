//! `[quota]`: how quotas are decided and kept.

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::bounds::DAY_S;

/// How quotas are decided and kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaConfig {
    /// The number of shards that this node expects; 1 to 1,024. Postgres holds the true number.
    pub shards: u16,
    /// The answer while Redis is away, for limits without a policy of their own.
    pub store_away: StoreAway,
    /// Time for which an idempotency key is remembered, in seconds; 60 to 30 days.
    pub idempotency_ttl_s: u64,
    /// Time after which an idle subject leaves Redis, in seconds; 60 to 366 days.
    pub subject_idle_ttl_s: u64,
    /// Events that may wait in one shard's outbox; 1,000 to 1,000,000,000.
    pub outbox_events_max: u64,
    /// Requests decided in one script call; 1 to 64.
    pub group_max: usize,
    /// Path of the catalogue, a TOML file; empty means the built-in one.
    pub catalogue: String,
}

/// The answer while Redis is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreAway {
    /// Refuse with 503.
    Closed,
    /// Allow, marked as degraded.
    Open,
}

pub(super) const BOUNDS: &[Bound] = &[
    Bound::new("quota.shards", 1, 1_024),
    Bound::new("quota.idempotency_ttl_s", 60, 30 * DAY_S),
    // Longer than an hour limit looks back: its counter is nowhere but in Redis (docs/adr/0011).
    Bound::new("quota.subject_idle_ttl_s", 7_200, 366 * DAY_S),
    Bound::new("quota.outbox_events_max", 1_000, 1_000_000_000),
    Bound::new("quota.group_max", 1, 64),
];
