//! What handlers share.

use std::sync::Arc;

use super::jwt::JwtError;
use super::jwt::JwtVerifier;
use super::layers::Edge;
use crate::config::JwtConfig;
use crate::config::ServerConfig;
use crate::quota::Quota;
use crate::telemetry::Metrics;

/// What handlers share: the use-cases, the settings, and what is counted at the edge.
pub struct Api {
    /// The use-cases.
    pub quota: Arc<Quota>,
    /// Bounds of the HTTP server.
    pub server: ServerConfig,
    /// Verifies end users' tokens; `None` refuses them all.
    pub jwt: Option<JwtVerifier>,
    /// The metrics of this process.
    pub metrics: Metrics,
    /// Counts requests, in flight and answered.
    pub edge: Edge,
}

impl Api {
    /// Reads the keys that tokens are verified with, and puts the parts together.
    ///
    /// # Errors
    ///
    /// [`JwtError`] when a key file cannot be read or used. The process should not start.
    pub fn new(
        quota: Arc<Quota>,
        server: ServerConfig,
        jwt: &JwtConfig,
    ) -> Result<Arc<Self>, JwtError> {
        let metrics = crate::telemetry::metrics(); // before any series is made
        let edge = Edge::new(&super::router::openapi(), server.in_flight_max);
        Ok(Arc::new(Self { quota, jwt: JwtVerifier::load(jwt)?, server, metrics, edge }))
    }
}
