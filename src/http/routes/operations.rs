//! Probes, metrics and the API's description. They need no credential.

use std::sync::Arc;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Serialize;

use crate::http::problem::JSON;
use crate::http::problem::NO_STORE;
use crate::http::problem::json;
use crate::http::router;
use crate::http::state::Api;
use crate::quota::Readiness;

/// The text format of Prometheus.
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// Whether requests can be decided.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Readiness)]
pub struct ReadinessBody {
    /// Whether requests can be decided, for which Redis is needed.
    ready: bool,
    /// Whether the counters can be reached.
    redis: StoreState,
    /// Whether the ledger can be reached. While it is away, loaded subjects are answered as usual.
    postgres: StoreState,
}

/// Whether a store can be reached.
#[derive(Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreState {
    /// It answers.
    Up,
    /// It does not; the log says why.
    Away,
}

impl ReadinessBody {
    /// Why a store is away is for the log: this route is open to everyone.
    fn of(readiness: &Readiness) -> Self {
        Self {
            ready: readiness.redis.is_ok(),
            redis: StoreState::of("redis", &readiness.redis),
            postgres: StoreState::of("postgres", &readiness.postgres),
        }
    }
}

impl StoreState {
    fn of(store: &str, state: &Result<(), String>) -> Self {
        match state {
            Ok(()) => Self::Up,
            Err(reason) => {
                tracing::debug!(store, %reason, "not ready");
                Self::Away
            }
        }
    }
}

/// Is the process alive?
#[utoipa::path(get, path = "/livez", tag = "operations", responses((status = 200, description = "the process answers", body = String, content_type = "text/plain")))]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Can requests be decided?
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, description = "requests can be decided", body = ReadinessBody),
        (status = 503, description = "redis is away or its shards are not open", body = ReadinessBody),
    )
)]
pub(crate) async fn readyz(State(api): State<Arc<Api>>) -> Response {
    let body = ReadinessBody::of(&api.quota.readiness().await);
    let status = if body.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, NO_STORE)];
    (status, headers, json(&body)).into_response()
}

/// Metrics, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, description = "the text format of Prometheus", body = String, content_type = "text/plain; version=0.0.4")))]
pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    ([(header::CONTENT_TYPE, PROMETHEUS)], api.metrics.render()).into_response()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(crate) async fn openapi_json() -> Response {
    static DOCUMENT: LazyLock<Bytes> =
        LazyLock::new(|| router::openapi().to_json().unwrap_or_default().into());
    ([(header::CONTENT_TYPE, JSON)], DOCUMENT.clone()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_redis_makes_the_service_unready_and_no_reason_is_told() {
        let away = || Err("password=hunter2".to_owned());
        let readiness = Readiness { redis: Ok(()), postgres: away() };
        let body = ReadinessBody::of(&readiness);
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"ready":true,"redis":"up","postgres":"away"}"#
        );
        assert!(!ReadinessBody::of(&Readiness { redis: away(), postgres: Ok(()) }).ready);
    }
}
