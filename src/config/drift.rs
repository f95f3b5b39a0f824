//! `[drift]`: the task that compares both stores.

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;

/// How fast both stores are compared.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DriftConfig {
    /// Keys of Redis that are looked at in a second, over all nodes; 0 to 10,000, and 0 turns the task off.
    pub keys_per_s: u32,
}

pub(super) const BOUNDS: &[Bound] = &[Bound::new("drift.keys_per_s", 0, 10_000)];
