//! `POST /v1/check:batch` and `POST /v1/consume:batch`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use futures_util::future::join_all;

use super::decisions::Call;
use super::decisions::DecisionQuery;
use crate::domain::Decision;
use crate::http::auth::Caller;
use crate::http::auth::Check;
use crate::http::auth::Consume;
use crate::http::batch_body;
use crate::http::batch_body::BatchBody;
use crate::http::batch_body::Item;
use crate::http::batch_results;
use crate::http::batch_results::BatchResults;
use crate::http::body::BatchBytes;
use crate::http::documented::BatchProblems;
use crate::http::error::ApiError;
use crate::http::order_body;
use crate::http::state::Api;
use crate::quota::Order;
use crate::quota::QuotaError;
use crate::quota::RequestContext;
use crate::telemetry::Chain;

/// Decide many without charging.
///
/// Each item is decided as a check of its own would be, all of them at once. A body in which any item breaks a rule is refused
/// as a whole. At most 100 items and 131,072 bytes.
#[utoipa::path(
    post,
    operation_id = "check_batch",
    path = "/v1/check:batch",
    tag = "decisions",
    params(DecisionQuery),
    request_body(content = BatchBody, example = json!({"items": [
        {"subject": "user:u_1", "model": "claude-sonnet-4"},
        {"subject": "user:u_2", "metric": "messages", "amount": 30},
        {"subject": "user:u_1", "feature": "export"}
    ]})),
    responses(
        (status = 200, description = "a result for each item, in their order", body = BatchResults,
            example = json!({"results": [
                {
                    "status": 200,
                    "replayed": false,
                    "body": {
                        "allowed": true,
                        "event_id": null,
                        "limits": [
                            {"name": "messages-month", "subject": "user:u_1", "metric": "messages", "period": "month", "limit": 100, "used": 45, "reserved": 0, "remaining": 55, "granted_remaining": 0, "window_start": "2026-11-01T00:00:00Z", "resets_at": "2026-12-01T00:00:00Z", "mode": "hard", "warning": "none"}
                        ],
                        "degraded": false,
                        "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                        "plan": "chat"
                    }
                }
            ]})),
        BatchProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn check(
    State(api): State<Arc<Api>>,
    caller: Caller<Check>,
    call: Call,
    body: BatchBytes,
) -> Result<Response, ApiError> {
    let orders = call.orders(&caller, batch_body::parse(&body.0, |_| Ok(()))?);
    let outcomes = decide(orders, |order| api.quota.check(order)).await;
    Ok(call.results(&outcomes, "/v1/check:batch", &api))
}

/// Decide and charge many.
///
/// Each item is decided and charged as a consume of its own would be, all of them at once: one that is refused or fails changes
/// nothing for the others, and between items of one subject no order is promised. A body in which any item breaks a rule is
/// refused as a whole, and nothing is charged. Items of a subject with the same `idempotency_key` are charged once; the others
/// repeat that answer. At most 100 items and 131,072 bytes.
#[utoipa::path(
    post,
    operation_id = "consume_batch",
    path = "/v1/consume:batch",
    tag = "decisions",
    params(
        DecisionQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "of the whole request: item `n`, counted from 0, that has no `idempotency_key` has this one and `:n`", example = "\"8e03978e-40d5-43e8-bc93-6894a57f9324\""),
        ("X-Request-Id" = Option<String>, Header, description = "1 to 64 visible ASCII characters, sent back; made when absent"),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context, carried into logs and events"),
    ),
    request_body(content = BatchBody, example = json!({"items": [
        {"subject": "user:u_1", "model": "claude-sonnet-4", "idempotency_key": "8e03978e-40d5-43e8-bc93-6894a57f9324"},
        {"subject": "user:u_2", "metric": "tokens", "amount": 1200}
    ]})),
    responses(
        (status = 200, description = "a result for each item, in their order, whatever they are", body = BatchResults,
            examples(
                ("accepted" = (value = json!({"results": [
                    {
                        "status": 200,
                        "replayed": false,
                        "body": {
                            "allowed": true,
                            "event_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                            "limits": [
                                {"name": "messages-month", "subject": "user:u_1", "metric": "messages", "period": "month", "limit": 100, "used": 46, "reserved": 0, "remaining": 54, "granted_remaining": 0, "window_start": "2026-11-01T00:00:00Z", "resets_at": "2026-12-01T00:00:00Z", "mode": "hard", "warning": "none"}
                            ],
                            "degraded": false,
                            "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4e",
                            "plan": "chat"
                        }
                    }
                ]}))),
                ("refused" = (value = json!({"results": [
                    {
                        "status": 429,
                        "replayed": false,
                        "retry_after_s": 747_200,
                        "body": {
                            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
                            "title": "Request cannot be satisfied as assigned quota has been exceeded",
                            "status": 429,
                            "detail": "no room for the request in messages-month",
                            "instance": "/v1/consume:batch",
                            "code": "limit_exceeded",
                            "violated-policies": ["messages-month"],
                            "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4e",
                            "allowed": false,
                            "event_id": null,
                            "limits": [
                                {"name": "messages-month", "subject": "user:u_1", "metric": "messages", "period": "month", "limit": 100, "used": 100, "reserved": 0, "remaining": 0, "granted_remaining": 0, "window_start": "2026-11-01T00:00:00Z", "resets_at": "2026-12-01T00:00:00Z", "mode": "hard", "warning": "critical"}
                            ],
                            "degraded": false,
                            "plan": "chat"
                        }
                    }
                ]})))
            )),
        BatchProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn consume(
    State(api): State<Arc<Api>>,
    caller: Caller<Consume>,
    call: Call,
    body: BatchBytes,
) -> Result<Response, ApiError> {
    let items = call.keyed(batch_body::parse(&body.0, order_body::chargeable)?);
    batch_body::one_payload_a_key(&items)?;
    let orders = call.orders(&caller, items);
    let outcomes = decide(orders, |order| api.quota.consume(order)).await;
    Ok(call.results(&outcomes, "/v1/consume:batch", &api))
}

impl Call {
    /// The orders of a batch. One outside the caller's reach is an item without a decision, as it would be by itself. Each
    /// gets an event's id of its own, since the request's is one for all.
    fn orders<P>(&self, caller: &Caller<P>, items: Vec<Item>) -> Vec<Result<Order, ApiError>> {
        let order = |Item { wanted, idempotency_key }| {
            Ok(Order {
                subject: caller.reach(wanted.subject)?,
                ask: wanted.ask,
                amount: wanted.amount,
                metadata: wanted.metadata,
                idempotency_key,
                context: RequestContext { made_id: None, ..self.scope.context() },
            })
        };
        items.into_iter().map(order).collect()
    }

    /// Gives those items a key that have none, when the whole request has one: that and their place.
    fn keyed(&self, mut items: Vec<Item>) -> Vec<Item> {
        let Some(key) = &self.idempotency_key else { return items };
        for (at, item) in items.iter_mut().enumerate() {
            item.idempotency_key.get_or_insert_with(|| format!("{key}:{at}"));
        }
        items
    }

    /// The results of a batch. What is wrong with the service is logged, since the answer does not tell.
    fn results(&self, outcomes: &[Result<Decision, ApiError>], path: &str, api: &Api) -> Response {
        for (item, outcome) in outcomes.iter().enumerate() {
            let Err(error) = outcome else { continue };
            let status = error.status_and_code().0.as_u16();
            if status >= 500 {
                let (request_id, trace_id) = (self.scope.id(), self.scope.trace_id());
                let (store, error) = (error.store().map(tracing::field::debug), Chain(error));
                tracing::warn!(request_id, trace_id, item, status, store, %error, "item of a batch failed");
            }
        }
        batch_results::response(outcomes, self.scope.id(), self.style(path, api))
    }
}

/// All at once, so that orders of a shard share calls of the script. Each has the deadline of a request of its own.
async fn decide<F: Future<Output = Result<Decision, QuotaError>>>(
    orders: Vec<Result<Order, ApiError>>,
    by: impl Fn(Order) -> F,
) -> Vec<Result<Decision, ApiError>> {
    join_all(orders.into_iter().map(async |order| Ok(by(order?).await?))).await
}
