//! limitador's Redis storage behind axum: what somebody who writes Rust would pick.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::routing::post;
use limitador::AsyncRateLimiter;
use limitador::limit::Context;
use limitador::limit::Limit;
use limitador::storage::redis::AsyncRedisStorage;
use serde::Deserialize;
use serde::Serialize;

const MONTH_S: u64 = 30 * 86_400;

#[derive(Deserialize)]
struct Order {
    subject: String,
    model: String,
}

#[derive(Serialize)]
struct Answer {
    allowed: bool,
}

/// The limits of a namespace: messages, and premium ones of them.
fn limits(namespace: &str, messages: u64, premium: u64) -> Result<[Limit; 2], Box<dyn Error>> {
    let of_subject = || Ok::<_, Box<dyn Error>>(vec!["subject".try_into()?]);
    let condition = vec!["premium == 'yes'".try_into()?];
    Ok([
        Limit::new(namespace, messages, MONTH_S, vec![], of_subject()?),
        Limit::new(namespace, premium, MONTH_S, condition, of_subject()?),
    ])
}

async fn consume(
    State(limiter): State<Arc<AsyncRateLimiter>>,
    Json(order): Json<Order>,
) -> Result<(StatusCode, Json<Answer>), StatusCode> {
    let namespace = if order.subject.starts_with("small:") { "small" } else { "large" };
    let premium = if order.model.starts_with("claude-") { "yes" } else { "no" };
    let values =
        [("subject".to_owned(), order.subject), ("premium".to_owned(), premium.to_owned())];
    let context = Context::from(HashMap::from(values));
    let checked = limiter.check_rate_limited_and_update(&namespace.into(), &context, 1).await;
    let allowed = !checked.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.limited;
    let status = if allowed { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
    Ok((status, Json(Answer { allowed })))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let storage = AsyncRedisStorage::new(&std::env::var("REDIS_URL")?).await?;
    let limiter = AsyncRateLimiter::new_with_storage(Box::new(storage));
    let large = limits("large", 1_000_000_000, 1_000_000_000)?;
    for limit in large.into_iter().chain(limits("small", 100, 20)?) {
        limiter.add_limit(limit);
    }
    let routes = Router::new()
        .route("/v1/consume", post(consume))
        .route("/readyz", get(async || "ready"))
        .with_state(Arc::new(limiter));
    let listener =
        tokio::net::TcpListener::bind(("127.0.0.1", std::env::var("PORT")?.parse()?)).await?;
    Ok(axum::serve(listener, routes).await?)
}
