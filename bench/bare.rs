//! What a decision is compared with: a handler that reads the same body and writes the same answer, and decides nothing.

use std::net::SocketAddr;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use axum::serve::ListenerExt;
use chrono::DateTime;
use headroom::domain::Mode;
use headroom::domain::Period;
use headroom::domain::Warning;
use headroom::http::decision::DecisionBody;
use headroom::http::limit_body::LimitBody;
use headroom::http::order_body;
use uuid::Uuid;

use crate::Failure;

/// Serves until it is killed.
pub(crate) fn serve(address: SocketAddr, workers: usize) -> Result<(), Failure> {
    let mut builder = match workers {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(workers.max(1)).enable_all().build()?.block_on(async {
        let routes = Router::new()
            .route("/v1/consume", post(consume))
            .route("/readyz", get(async || "ready"));
        let listener = tokio::net::TcpListener::bind(address).await?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, routes).await?)
    })
}

async fn consume(body: Bytes) -> Response {
    let Ok(wanted) = order_body::parse(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let subject = wanted.subject.as_str();
    let answer = DecisionBody {
        allowed: true,
        event_id: Some(Uuid::nil()),
        limits: vec![
            limit("messages-month", subject, "messages"),
            limit("premium_messages-month", subject, "premium_messages"),
        ],
        degraded: false,
        request_id: "00000000-0000-0000-0000-000000000000",
        plan: "chat",
        upgrade_url: None,
        recommended_plan: None,
    };
    Json(answer).into_response()
}

fn limit<'a>(name: &'a str, subject: &'a str, metric: &'a str) -> LimitBody<'a> {
    LimitBody {
        name,
        subject,
        metric,
        period: Period::Month,
        limit: Some(1_000_000_000),
        unlimited: None,
        used: 45,
        reserved: 0,
        remaining: Some(999_999_955),
        carried: None,
        overage: None,
        granted_remaining: 0,
        window_start: DateTime::from_timestamp(1_793_491_200, 0),
        resets_at: DateTime::from_timestamp(1_796_083_200, 0),
        sliding: None,
        mode: Mode::Hard,
        would_deny: None,
        warning: Warning::None,
    }
}
