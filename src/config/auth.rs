//! `[auth]`: API keys.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::bounds::MINUTE_MS;
use super::secret::Secret;

/// Who may call, and how soon a change is noticed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// The key that may do everything; empty means there is none.
    pub admin_key: Secret,
    /// Time after which a changed or revoked key is noticed, in milliseconds; 100 to 60,000.
    pub refresh_ms: u64,
}

pub(super) const BOUNDS: &[Bound] = &[Bound::new("auth.refresh_ms", 100, MINUTE_MS)];

impl AuthConfig {
    /// [`AuthConfig::refresh_ms`] as a duration.
    #[must_use]
    pub const fn refresh(&self) -> Duration {
        Duration::from_millis(self.refresh_ms)
    }
}
