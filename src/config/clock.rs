//! `[clock]`: time, for tests.

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::bounds::DAY_MS;

/// How far the clock is moved.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClockConfig {
    /// Milliseconds added to the clock; up to 3,660 days back or ahead.
    pub offset_ms: i64,
}

pub(super) const BOUNDS: &[Bound] =
    &[Bound::new("clock.offset_ms", -3_660 * DAY_MS, 3_660 * DAY_MS)];
