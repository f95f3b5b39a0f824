//! `[webhooks]`: deliveries to receivers of others.

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::bounds::MINUTE_MS;

/// How deliveries are made.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WebhooksConfig {
    /// Whether deliveries may go to private addresses, and without TLS.
    pub allow_private: bool,
    /// How long a receiver has to answer, in milliseconds; 100 to 30,000.
    pub timeout_ms: u64,
}

pub(super) const BOUNDS: &[Bound] = &[Bound::new("webhooks.timeout_ms", 100, MINUTE_MS / 2)];
