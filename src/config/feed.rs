//! `[feed]`: the live feed, which webhooks and streams follow.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::bounds::DAY_S;

/// How long the live feed is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// How long a reader may be away and still resume, in seconds; 1 minute to 31 days.
    pub keep_s: u64,
}

pub(super) const BOUNDS: &[Bound] = &[Bound::new("feed.keep_s", 60, 31 * DAY_S)];

impl FeedConfig {
    /// [`FeedConfig::keep_s`] as a duration.
    #[must_use]
    pub const fn keep(&self) -> Duration {
        Duration::from_secs(self.keep_s)
    }
}
