//! `[retention]`: how long facts are kept.

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;

/// How long facts are kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// Whole months that are kept; 0 keeps everything; 0 to 1,200.
    pub months: u32,
    /// Whether older months of the log are dropped without an archive.
    pub drop_unarchived: bool,
}

pub(super) const BOUNDS: &[Bound] = &[Bound::new("retention.months", 0, 1_200)];
