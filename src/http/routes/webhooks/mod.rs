//! `/v1/webhooks`: who is told of what happens over HTTP.

mod body;

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use uuid::Uuid;

use crate::http::auth::Admin;
use crate::http::auth::Caller;
use crate::http::body::JsonBytes;
use crate::http::body::parse;
use crate::http::documented::WebhookProblems;
use crate::http::error::ApiError;
use crate::http::reply::no_content;
use crate::http::reply::reply;
use crate::http::state::Api;

use self::body::DeliveriesBody;
use self::body::OrderBody;
use self::body::ReplayBody;
use self::body::ReplayedBody;
use self::body::WebhookBody;
use self::body::WebhooksBody;

/// List webhooks.
#[utoipa::path(
    get,
    operation_id = "list_webhooks",
    path = "/v1/webhooks",
    tag = "webhooks",
    responses((status = 200, description = "the receivers", body = WebhooksBody), WebhookProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let webhooks = api.quota.webhooks().await?.into_iter();
    Ok(reply(&WebhooksBody { webhooks: webhooks.map(|it| WebhookBody::of(it, None)).collect() }))
}

/// Make a webhook.
///
/// It is told of what happens from now on: the events of `GET /v1/stream` that it asks for, each as a POST signed as Standard Webhooks
/// 1.0.0 says (`webhook-id`, `webhook-timestamp`, `webhook-signature`). An answer of 2xx within 15 s takes it; else it is sent
/// again after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h. 410 disables the webhook. Redirects are not followed. The
/// answer has the secret, which is never shown again. At most 100 webhooks.
#[utoipa::path(
    post,
    operation_id = "create_webhook",
    path = "/v1/webhooks",
    tag = "webhooks",
    request_body = OrderBody,
    responses((status = 200, description = "the receiver, with its secret", body = WebhookBody), WebhookProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    bytes: JsonBytes,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let order = parse::<OrderBody>(&bytes.0)?.order()?;
    let (id, secret) = api.quota.create_webhook(order).await?;
    Ok(reply(&WebhookBody::of(api.quota.webhook(id).await?, Some(secret))))
}

/// Read a webhook.
#[utoipa::path(
    get,
    operation_id = "read_webhook",
    path = "/v1/webhooks/{id}",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "its id")),
    responses((status = 200, description = "the receiver", body = WebhookBody), WebhookProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    path: Result<Path<Uuid>, PathRejection>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    Ok(reply(&WebhookBody::of(api.quota.webhook(id(path)?).await?, None)))
}

/// Change a webhook.
///
/// Replaces all but its secret. One that was disabled is sent to again.
#[utoipa::path(
    put,
    operation_id = "put_webhook",
    path = "/v1/webhooks/{id}",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "its id")),
    request_body = OrderBody,
    responses((status = 200, description = "the receiver as it is now", body = WebhookBody), WebhookProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    path: Result<Path<Uuid>, PathRejection>,
    bytes: JsonBytes,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let id = id(path)?;
    api.quota.put_webhook(id, parse::<OrderBody>(&bytes.0)?.order()?).await?;
    Ok(reply(&WebhookBody::of(api.quota.webhook(id).await?, None)))
}

/// Take a webhook away.
///
/// With its deliveries, also those that are yet to be sent.
#[utoipa::path(
    delete,
    operation_id = "delete_webhook",
    path = "/v1/webhooks/{id}",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "its id")),
    responses((status = 204, description = "it is gone"), WebhookProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    path: Result<Path<Uuid>, PathRejection>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    api.quota.delete_webhook(id(path)?).await?;
    Ok(no_content())
}

/// Read what was sent.
///
/// What ended more than seven days ago is not kept.
#[utoipa::path(
    get,
    operation_id = "list_deliveries",
    path = "/v1/webhooks/{id}/deliveries",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "the webhook's id")),
    responses((status = 200, description = "the latest deliveries", body = DeliveriesBody), WebhookProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn deliveries(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    path: Result<Path<Uuid>, PathRejection>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let rows = api.quota.deliveries(id(path)?).await?;
    Ok(reply(&DeliveriesBody { deliveries: rows.into_iter().map(Into::into).collect() }))
}

/// Send again.
///
/// One delivery, or all that were given up.
#[utoipa::path(
    post,
    operation_id = "replay_deliveries",
    path = "/v1/webhooks/{id}/replay",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "the webhook's id")),
    request_body = ReplayBody,
    responses((status = 200, description = "how many are sent again", body = ReplayedBody), WebhookProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    path: Result<Path<Uuid>, PathRejection>,
    bytes: JsonBytes,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let body = parse::<ReplayBody>(&bytes.0)?;
    Ok(reply(&ReplayedBody { replayed: api.quota.replay(id(path)?, body.event_id).await? }))
}

fn id(path: Result<Path<Uuid>, PathRejection>) -> Result<Uuid, ApiError> {
    path.map(|Path(id)| id).map_err(|_| ApiError::invalid("id", "must be a uuid"))
}
