//! The layer on a router of axum.

use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::Response;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::post;
use headroom_client::Charge;
use headroom_client::Client;
use headroom_client::Decision;
use headroom_client::Order;
use headroom_client::QuotaLayer;
use tower::ServiceExt;

use crate::connected;
use crate::network::Fault;
use crate::service::Service;
use crate::used;

const USER: &str = "user:u_1";

/// What a backend charges: a premium message for its users, nothing for its health.
fn charge(parts: &Parts) -> Charge {
    let model = match parts.uri.path() {
        "/health" => return Charge::Nothing,
        "/other" => "llama",
        _ => "claude-sonnet-4",
    };
    match parts.headers.get("x-user").and_then(|user| user.to_str().ok()) {
        Some(user) => Order::model(model).of(format!("user:{user}")).into(),
        None => Charge::Refuse(StatusCode::UNAUTHORIZED),
    }
}

async fn chat(Extension(decision): Extension<Decision>) -> String {
    decision.event_id.unwrap_or_default()
}

fn backend(client: Client) -> Router {
    Router::new()
        .route("/chat", post(chat))
        .route("/other", post(chat))
        .route("/broken", post(async || StatusCode::BAD_GATEWAY))
        .route("/health", post(async || "ok"))
        .layer(QuotaLayer::new(client, charge).refund_on_server_error())
}

async fn send(backend: &Router, path: &str, user: Option<&str>) -> Response<Body> {
    let request = Request::post(path);
    let request = user.into_iter().fold(request, |request, user| request.header("x-user", user));
    backend.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn problem(response: Response<Body>) -> (u16, serde_json::Value) {
    let (status, content_type) = (response.status(), response.headers()["content-type"].clone());
    assert_eq!(content_type, "application/problem+json");
    let bytes = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
    (status.as_u16(), serde_json::from_slice(&bytes).unwrap())
}

/// Guards the layer: a request is charged before the handler runs, which sees the decision, and a refused one never runs.
#[tokio::test]
async fn a_router_s_requests_are_charged_before_they_run() {
    let service = Service::start().await;
    let (client, _network) = connected(&service).await;
    let backend = backend(client.clone());

    let answer = send(&backend, "/chat", Some("u_1")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers()["ratelimit"].to_str().unwrap().contains("r=19"));
    client.consume(&Order::model("claude-sonnet-4").of(USER).amount(19)).await.unwrap();
    let spent = send(&backend, "/chat", Some("u_1")).await;

    assert!(spent.headers().contains_key("retry-after"));
    let (status, body) = problem(spent).await;
    assert_eq!((status, &body["code"]), (429, &"limit_exceeded".into()));
    assert_eq!(used(&client, USER, "messages-month").await, (20, 0));
    service.stop().await;
}

/// Guards what passes, what does not, and who is told why.
#[tokio::test]
async fn what_is_not_charged_passes_and_what_may_not_be_does_not() {
    let service = Service::start().await;
    let (client, network) = connected(&service).await;
    let backend = backend(client.clone());

    assert_eq!(send(&backend, "/health", None).await.status(), StatusCode::OK);
    assert_eq!(problem(send(&backend, "/chat", None).await).await.0, 401);
    let (status, body) = problem(send(&backend, "/other", Some("u_1")).await).await;
    assert_eq!((status, &body["code"]), (403, &"model_not_allowed".into()));
    network.fail(&[Fault::Busy; 3]);
    let away = send(&backend, "/chat", Some("u_1")).await;
    assert_eq!(
        (away.status().as_u16(), &away.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert_eq!(used(&client, USER, "messages-month").await, (0, 0));
    service.stop().await;
}

/// Guards refunds: a request that the backend could not serve costs nothing, where that is asked.
#[tokio::test]
async fn a_server_error_is_refunded_where_that_is_asked() {
    let service = Service::start().await;
    let (client, _network) = connected(&service).await;

    let broken = send(&backend(client.clone()), "/broken", Some("u_1")).await;

    assert_eq!(broken.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(used(&client, USER, "premium_messages-month").await, (0, 0));
    service.stop().await;
}
