//! Every route on one screen.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::routing::post;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::docs;
use super::error::ApiError;
use super::layers;
use super::routes::alerts;
use super::routes::analytics;
use super::routes::audit;
use super::routes::batches;
use super::routes::catalogue;
use super::routes::chat;
use super::routes::counts;
use super::routes::dashboard;
use super::routes::decisions;
use super::routes::drift;
use super::routes::forecasts;
use super::routes::forward_auth;
use super::routes::grants;
use super::routes::images;
use super::routes::incidents;
use super::routes::keys;
use super::routes::logs;
use super::routes::models;
use super::routes::operations;
use super::routes::plans;
use super::routes::refunds;
use super::routes::reservations;
use super::routes::resets;
use super::routes::stream;
use super::routes::subjects;
use super::routes::transfers;
use super::routes::usage;
use super::routes::webhooks;
use super::state::Api;

fn documented() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(docs::Document::openapi())
        .routes(routes!(decisions::check))
        .routes(routes!(decisions::consume))
        .routes(routes!(batches::check))
        .routes(routes!(batches::consume))
        .routes(routes!(forward_auth::ask))
        .merge(reservations())
        .merge(grants())
        .merge(subjects())
        .merge(catalogue())
        .merge(administration())
        .merge(facts())
        .merge(signals())
        .routes(routes!(chat::read, chat::reset))
        .merge(images())
        .routes(routes!(operations::livez))
        .routes(routes!(operations::readyz))
        .routes(routes!(operations::metrics))
        .routes(routes!(operations::openapi_json))
}

fn reservations() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(reservations::reserve))
        .route(reservations::ROUTE, post(reservations::settle))
        .routes(routes!(reservations::list))
        .route(refunds::ROUTE, post(refunds::refund))
}

fn grants() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(grants::list, grants::give))
        .routes(routes!(grants::revoke))
        .routes(routes!(transfers::make))
        .routes(routes!(transfers::read))
}

fn subjects() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(subjects::read, subjects::put, subjects::delete))
        .routes(routes!(subjects::lift))
        .routes(routes!(usage::read, usage::reset))
        .routes(routes!(counts::set))
        .route(counts::ROUTE, post(counts::decrement))
        .routes(routes!(resets::reset))
}

fn catalogue() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(catalogue::read, catalogue::put))
        .routes(routes!(plans::list))
        .routes(routes!(plans::read, plans::put))
        .routes(routes!(models::read, models::put))
}

fn administration() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(audit::read))
        .routes(routes!(incidents::read))
        .routes(routes!(drift::read))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
}

/// What happened, and what it adds up to.
fn facts() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(logs::of_subject))
        .routes(routes!(logs::of_all))
        .routes(routes!(analytics::summary))
        .routes(routes!(analytics::subjects))
        .routes(routes!(analytics::distribution))
        .routes(routes!(analytics::models))
        .routes(routes!(analytics::denials))
        .routes(routes!(analytics::near_limit))
        .routes(routes!(analytics::months))
        .routes(routes!(forecasts::read))
}

/// Telling of what happens.
fn signals() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(stream::follow))
        .routes(routes!(alerts::read))
        .routes(routes!(alerts::put, alerts::delete))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::read, webhooks::put, webhooks::delete))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::replay))
}

fn images() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(images::usage))
        .routes(routes!(images::can_generate))
        .routes(routes!(images::daily_usage))
        .routes(routes!(images::monthly_usage))
        .routes(routes!(images::generation_limits))
        .routes(routes!(images::track))
        .routes(routes!(images::reset_day))
        .routes(routes!(images::reset_month))
}

/// The whole HTTP API.
pub fn router(api: Arc<Api>) -> Router {
    let (routes, _document) = documented().split_for_parts();
    routes
        .route("/docs", get(docs::redirect))
        .route("/docs/", get(docs::index))
        .route("/docs/{file}", get(docs::file))
        .route("/dashboard", get(dashboard::redirect))
        .route("/dashboard/", get(dashboard::index))
        .route("/dashboard/{*path}", get(dashboard::file))
        .fallback(async || ApiError::NoRoute)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn_with_state(Arc::clone(&api), layers::edge))
        .with_state(api)
}

/// The OpenAPI 3.1 document, made from the handlers.
#[must_use]
pub fn openapi() -> OpenApi {
    documented().into_openapi()
}
