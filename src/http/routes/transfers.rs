//! `POST /v1/transfers` and `GET /v1/transfers/{transfer_id}`: gifts.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;
use uuid::Uuid;

use crate::domain::Subject;
use crate::domain::Units;
use crate::http::auth::Caller;
use crate::http::auth::Consume;
use crate::http::auth::Read;
use crate::http::body;
use crate::http::body::JsonBytes;
use crate::http::documented::RepeatHeaders;
use crate::http::documented::TransferProblems;
use crate::http::documented::TransferReadProblems;
use crate::http::error::ApiError;
use crate::http::fields::metric;
use crate::http::fields::note;
use crate::http::fields::undecodable;
use crate::http::idempotency::Repeatable;
use crate::http::reply::reply;
use crate::http::state::Api;
use crate::quota::Actor;
use crate::quota::TransferOrder;
use crate::quota::TransferRow;

/// A gift.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTransfer)]
pub struct NewTransferBody {
    /// Who gives, out of grants of its own.
    #[schema(example = "user:u_1", max_length = 647)]
    from: String,
    /// Who receives.
    #[schema(example = "user:u_2", max_length = 647)]
    to: String,
    /// What is given.
    #[schema(example = "messages", max_length = 64)]
    metric: String,
    /// How many units.
    #[serde(deserialize_with = "body::within::<_, 1, 2_147_483_648>")]
    #[schema(minimum = 1, maximum = 2_147_483_648_u64)]
    amount: u64,
    /// What the giver says, at most 500 bytes.
    #[schema(max_length = 500)]
    note: Option<String>,
}

/// A gift, and where it is.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Transfer)]
pub struct TransferBody<'a> {
    /// Its id, which is also that of the giver's event in the message log.
    transfer_id: Uuid,
    /// Who gives.
    from: &'a str,
    /// Who receives.
    to: &'a str,
    /// What is given.
    metric: &'a str,
    /// How many units.
    amount: u64,
    /// Where it is: `pending`, `done` or `refused`.
    #[schema(example = "done")]
    state: &'static str,
    /// What the giver says.
    #[schema(required)]
    note: Option<&'a str>,
    /// When it was asked for.
    requested_at: DateTime<Utc>,
    /// When it was done or refused; `null` while it is pending.
    #[schema(required)]
    ended_at: Option<DateTime<Utc>>,
}

/// Give units away.
///
/// Moves units of the giver's grants to the receiver, those that end first, as grants that end when the giver's would have:
/// both sides or none, wherever the two live. Settings say which sources may be given, the least amount, the most of a day,
/// and how long givers and receivers wait. The caller's reach must hold both subjects.
#[utoipa::path(
    post,
    operation_id = "make_transfer",
    path = "/v1/transfers",
    tag = "grants",
    params(RepeatHeaders),
    request_body(content = NewTransferBody, example = json!({"from": "user:u_1", "to": "user:u_2", "metric": "messages", "amount": 10, "note": "happy birthday"})),
    responses(
        (status = 201, description = "given", body = TransferBody,
            example = json!({
                "transfer_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d", "from": "user:u_1", "to": "user:u_2", "metric": "messages",
                "amount": 10, "state": "done", "note": "happy birthday",
                "requested_at": "2026-11-22T08:26:40.500Z", "ended_at": "2026-11-22T08:26:40.507Z"
            })),
        TransferProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn make(
    State(api): State<Arc<Api>>,
    caller: Caller<Consume>,
    call: Repeatable,
    bytes: JsonBytes,
) -> Result<Response, ApiError> {
    let order = order(&caller, body::parse(&bytes.0)?)?;
    let actor = Actor { idempotency_key: call.key, ..caller.actor(&call.scope) };
    let row = api.quota.transfer(&order, &actor).await?;
    let mut response = reply(&TransferBody::of(&row));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Read a transfer.
///
/// Whoever reaches the giver or the receiver may.
#[utoipa::path(
    get,
    operation_id = "read_transfer",
    path = "/v1/transfers/{transfer_id}",
    tag = "grants",
    params(("transfer_id" = Uuid, Path, description = "its id", example = "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d")),
    responses(
        (status = 200, description = "the transfer", body = TransferBody,
            example = json!({
                "transfer_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d", "from": "user:u_1", "to": "user:u_2", "metric": "messages",
                "amount": 10, "state": "done", "note": "happy birthday",
                "requested_at": "2026-11-22T08:26:40.500Z", "ended_at": "2026-11-22T08:26:40.507Z"
            })),
        TransferReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(id) = path.map_err(|_| undecodable("transfer_id"))?;
    let rule = |_| ApiError::invalid("transfer_id", "must be a uuid");
    let row = api.quota.transfer_of(Uuid::try_parse(&id).map_err(rule)?).await?;
    let reaches = |path: &str| Subject::parse(path).is_ok_and(|it| caller.reach(it).is_ok());
    let row = row.filter(|row| reaches(&row.from) || reaches(&row.to));
    Ok(reply(&TransferBody::of(&row.ok_or_else(ApiError::unknown_transfer)?)))
}

fn order(caller: &Caller<Consume>, body: NewTransferBody) -> Result<TransferOrder, ApiError> {
    let subject = |field: &'static str, text: &str| {
        Subject::parse(text).map_err(|error| ApiError::invalid(field, error))
    };
    let (from, to) = (subject("from", &body.from)?, subject("to", &body.to)?);
    if from == to {
        return Err(ApiError::invalid("to", "must be another subject than from"));
    }
    Ok(TransferOrder {
        from: caller.reach(from)?,
        to: caller.reach(to)?,
        metric: metric(&body.metric)?,
        amount: Units::new(body.amount).map_err(|error| ApiError::invalid("amount", error))?,
        note: note(body.note)?,
    })
}

impl<'a> TransferBody<'a> {
    /// A transfer as it is.
    #[must_use]
    pub fn of(row: &'a TransferRow) -> Self {
        Self {
            transfer_id: row.id,
            from: &row.from,
            to: &row.to,
            metric: row.metric.as_str(),
            amount: row.amount.get(),
            state: row.state.as_str(),
            note: row.note.as_deref(),
            requested_at: row.requested_at,
            ended_at: row.ended_at,
        }
    }
}
