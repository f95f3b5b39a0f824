//! `[server]`: the HTTP server.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::bounds::Bound;
use super::bounds::MINUTE_MS;

/// How requests are taken in.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Longest request body, in bytes; 1,024 to 1,048,576.
    pub body_bytes_max: usize,
    /// Time a request may take, in milliseconds; 10 to 60,000.
    pub request_timeout_ms: u64,
    /// Requests worked on at the same time; 1 to 1,000,000.
    pub in_flight_max: usize,
    /// Threads that run requests; 0 (one for each core) to 512.
    pub worker_threads: usize,
    /// Whether the `X-RateLimit-*` headers are sent too.
    pub legacy_rate_limit_headers: bool,
    /// Time that open requests and tasks get to finish, in milliseconds; 0 to 600,000.
    pub shutdown_grace_ms: u64,
}

pub(super) const BOUNDS: &[Bound] = &[
    Bound::new("server.body_bytes_max", 1_024, 1_048_576),
    Bound::new("server.request_timeout_ms", 10, MINUTE_MS),
    Bound::new("server.in_flight_max", 1, 1_000_000),
    Bound::new("server.worker_threads", 0, 512),
    Bound::new("server.shutdown_grace_ms", 0, 10 * MINUTE_MS),
];

impl ServerConfig {
    /// [`ServerConfig::request_timeout_ms`] as a duration.
    #[must_use]
    pub const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// [`ServerConfig::shutdown_grace_ms`] as a duration.
    #[must_use]
    pub const fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }
}
