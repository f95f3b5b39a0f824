//! `[telemetry]`: traces, sent to a collector.

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::error::ConfigError;

/// Where traces go, and how many requests are traced.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Base URL of a collector that speaks OTLP over HTTP with protobuf; `/v1/traces` is added. Empty sends nothing.
    pub otlp_endpoint: String,
    /// Requests traced of a thousand that come without a decision of their caller's; 0 to 1,000.
    pub traced_per_thousand: u32,
}

pub(super) const BOUNDS: &[Bound] = &[Bound::new("telemetry.traced_per_thousand", 0, 1_000)];

const SCHEMES: [&str; 2] = ["http://", "https://"];

impl TelemetryConfig {
    /// The URL that traces are sent to; `None` when none are.
    #[must_use]
    pub fn traces_url(&self) -> Option<String> {
        let base = self.otlp_endpoint.trim_end_matches('/');
        (!base.is_empty()).then(|| format!("{base}/v1/traces"))
    }

    /// [`TelemetryConfig::traced_per_thousand`] as a part of one.
    #[must_use]
    pub fn traced_ratio(&self) -> f64 {
        f64::from(self.traced_per_thousand) / 1_000.0
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let endpoint = &self.otlp_endpoint;
        let is_known = SCHEMES.iter().any(|scheme| endpoint.starts_with(scheme));
        if endpoint.is_empty() || is_known {
            return Ok(());
        }
        let reason = format!("must begin with {}", SCHEMES.join(" or "));
        Err(ConfigError::invalid("telemetry.otlp_endpoint", reason))
    }
}
