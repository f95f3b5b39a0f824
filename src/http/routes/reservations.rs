//! `POST /v1/reservations`, `POST /v1/reservations/{id}:commit`, `:release` and `:extend`, and
//! `GET /v1/subjects/{subject}/reservations`: units held for work whose cost is not known yet.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Path;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::decisions::Call;
use super::decisions::DecisionQuery;
use crate::domain::Amount;
use crate::domain::Metric;
use crate::domain::Units;
use crate::http::auth::Caller;
use crate::http::auth::Consume;
use crate::http::auth::Read;
use crate::http::body;
use crate::http::body::JsonBytes;
use crate::http::body::JsonBytesOrNone;
use crate::http::documented::DecisionProblems;
use crate::http::documented::HoldProblems;
use crate::http::documented::ReadProblems;
use crate::http::documented::RepeatHeaders;
use crate::http::error::ApiError;
use crate::http::fields::subject;
use crate::http::fields::undecodable;
use crate::http::hold;
use crate::http::hold::HoldBody;
use crate::http::hold::HoldState;
use crate::http::hold::ReservationBody;
use crate::http::idempotency::Repeatable;
use crate::http::order_body::storable;
use crate::http::problem::Problem;
use crate::http::reply::reply;
use crate::http::reserve_body;
use crate::http::reserve_body::ReserveBody;
use crate::http::state::Api;
use crate::http::subject_path::SubjectPath;
use crate::quota::Ask;
use crate::quota::CommitOrder;
use crate::quota::EndOrder;
use crate::quota::OpenReservation;
use crate::quota::QuotaError;

/// The route of all that settles a reservation, since a route cannot end in a parameter and a word.
pub(crate) const ROUTE: &str = "/v1/reservations/{reservation_id}";

/// What the work took.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Commit)]
pub struct CommitBody {
    /// How much the work took; the catalogue's weights multiply it, as they did what was held. 0 is as good as a release.
    #[serde(deserialize_with = "body::within::<_, 0, 2_147_483_648>")]
    #[schema(minimum = 0, maximum = 2_147_483_648_u64)]
    amount: u64,
    /// Refuses an amount above the held one that does not fit. Else it is charged even past the limits.
    #[serde(default)]
    strict: bool,
    /// The caller's own data for the message log, at most 2,048 bytes of JSON.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// Nothing that has to be said.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Release)]
pub struct ReleaseBody {
    /// The caller's own data for the message log, at most 2,048 bytes of JSON.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// How long the units are held from now on.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Extend)]
pub struct ExtendBody {
    /// In seconds from now; it may also end the hold earlier.
    #[serde(deserialize_with = "body::within::<_, 1, 86_400>")]
    #[schema(minimum = 1, maximum = 86_400)]
    ttl_s: u64,
}

/// The open reservations of a subject.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Reservations)]
pub struct ReservationsBody<'a> {
    /// The newest first, at most 1,000.
    reservations: Vec<OpenBody<'a>>,
}

/// An open reservation. It has either `model` or `metric`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OpenReservation)]
pub struct OpenBody<'a> {
    /// What to commit, release or extend it by.
    #[schema(example = "rsv_WyIwMTlhYWI3Yy0uLi4")]
    reservation_id: &'a str,
    /// The reserve's event in the message log.
    event_id: Uuid,
    /// The model that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    /// The metric that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<&'a str>,
    /// The amount that is held.
    amount: u64,
    /// When it was made.
    reserved_at: DateTime<Utc>,
    /// When the hold ends by itself.
    expires_at: DateTime<Utc>,
    /// What the caller said of it.
    #[schema(required, value_type = Option<Object>)]
    metadata: Option<&'a RawValue>,
}

/// Reserve.
///
/// Decides as a consume does, and holds what it would charge until the work is done: then commit what it took, or release it.
/// Who does neither has the units back at `expires_at`. A refusal that only holds of others cause has the code
/// `reserved_by_others`, and `Retry-After` says when the first of them ends by itself.
#[utoipa::path(
    post,
    path = "/v1/reservations",
    tag = "reservations",
    params(DecisionQuery, RepeatHeaders),
    request_body(content = ReserveBody, example = json!({"subject": "user:u_1", "metric": "tokens", "amount": 4096, "ttl_s": 120})),
    responses(
        (status = 200, description = "accepted and held", body = ReservationBody,
            headers(
                ("RateLimit-Policy" = String, description = "all limits: `q` units in windows of `w` seconds"),
                ("RateLimit" = String, description = "all limits: `r` units remain, the window ends in `t` seconds"),
                ("Idempotent-Replayed" = String, description = "`true` when the answer repeats an earlier one"),
            ),
            example = json!({
                "allowed": true,
                "event_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "limits": [
                    {"name": "tokens-day", "subject": "user:u_1", "metric": "tokens", "period": "day", "limit": 50000, "used": 12000, "reserved": 4096, "remaining": 33904, "granted_remaining": 0, "window_start": "2026-11-22T00:00:00Z", "resets_at": "2026-11-23T00:00:00Z", "mode": "hard", "warning": "none"}
                ],
                "degraded": false,
                "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "plan": "chat",
                "reservation_id": "rsv_WyIwMTlhYWI3Yy0uLi4",
                "expires_at": "2026-11-22T08:28:41Z",
                "amount": 4096
            })),
        (status = 429, description = "refused: nothing is held", body = Problem, content_type = "application/problem+json",
            headers(("Retry-After" = String, description = "seconds until the latest violated window ends, or until the first hold of others does")),
            example = json!({
                "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "title": "Request cannot be satisfied as assigned quota has been exceeded",
                "status": 429,
                "detail": "no room for the request in tokens-day while others hold what they do",
                "instance": "/v1/reservations",
                "code": "reserved_by_others",
                "violated-policies": ["tokens-day"],
                "request_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "allowed": false,
                "event_id": null,
                "limits": [
                    {"name": "tokens-day", "subject": "user:u_1", "metric": "tokens", "period": "day", "limit": 50000, "used": 12000, "reserved": 36864, "remaining": 1136, "granted_remaining": 0, "window_start": "2026-11-22T00:00:00Z", "resets_at": "2026-11-23T00:00:00Z", "mode": "hard", "warning": "critical"}
                ],
                "degraded": false,
                "plan": "chat"
            })),
        DecisionProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn reserve(
    State(api): State<Arc<Api>>,
    caller: Caller<Consume>,
    mut call: Call,
    bytes: JsonBytes,
) -> Result<Response, ApiError> {
    let (wanted, time) = reserve_body::parse(&bytes.0)?;
    let order = call.order(&caller, wanted)?;
    let decision = api.quota.reserve(order, time).await?;
    Ok(call.answer(&decision, "/v1/reservations", &api))
}

/// `POST /v1/reservations/{reservation_id}:commit`, `:release` and `:extend`.
pub(crate) async fn settle(
    State(api): State<Arc<Api>>,
    caller: Caller<Consume>,
    call: Repeatable,
    path: Result<Path<String>, PathRejection>,
    bytes: JsonBytesOrNone,
) -> Result<Response, ApiError> {
    let Path(last) = path.map_err(|_| undecodable("reservation_id"))?;
    let (id, action) = last.rsplit_once(':').ok_or(ApiError::NoRoute)?;
    let settling = Settling { api: &api, id, caller, call };
    match action {
        "commit" => commit(settling, &bytes.0).await,
        "release" => release(settling, &bytes.0).await,
        "extend" => extend(settling, &bytes.0).await,
        _ => Err(ApiError::NoRoute),
    }
}

/// A request that settles a reservation.
pub(crate) struct Settling<'a> {
    api: &'a Api,
    id: &'a str,
    caller: Caller<Consume>,
    call: Repeatable,
}

impl Settling<'_> {
    /// What is asked, of a reservation within the caller's reach.
    fn order(self, metadata: Option<&Value>) -> Result<EndOrder, ApiError> {
        let reservation = self.api.quota.reservation_id(self.id)?;
        let reached = self.caller.reach(reservation.subject.clone());
        reached.map_err(|_| QuotaError::UnknownReservation)?;
        Ok(EndOrder {
            reservation,
            metadata: metadata.map(storable).transpose()?,
            context: self.call.scope.context(),
            idempotency_key: self.call.key,
        })
    }
}

/// Commit a reservation.
///
/// Charges what the work took in the windows in which it was held. Less than was held: the rest is free again. More: it is
/// charged too, even past the limits, with `overage`; with `strict` it is refused when it does not fit, and the hold goes
/// on. After `expires_at` it is charged all the same, with `late`.
#[utoipa::path(
    post,
    operation_id = "commit_reservation",
    path = "/v1/reservations/{reservation_id}:commit",
    tag = "reservations",
    params(
        ("reservation_id" = String, Path, description = "the id that the reserve gave", example = "rsv_WyIwMTlhYWI3Yy0uLi4"),
        RepeatHeaders,
    ),
    request_body(content = CommitBody, example = json!({"amount": 1234})),
    responses(
        (status = 200, description = "charged", body = HoldBody,
            headers(("Idempotent-Replayed" = String, description = "`true` when the answer repeats an earlier one")),
            example = json!({
                "reservation_id": "rsv_WyIwMTlhYWI3Yy0uLi4",
                "event_id": "019aab7c-4a11-7c1a-9d53-0d1f0a2b3c4d",
                "state": "committed", "amount": 1234, "reserved": 4096, "returned": 2862, "overage": false, "late": false,
                "expires_at": "2026-11-22T08:28:41Z",
                "limits": [
                    {"name": "tokens-day", "subject": "user:u_1", "metric": "tokens", "period": "day", "limit": 50000, "used": 13234, "reserved": 0, "remaining": 36766, "granted_remaining": 0, "window_start": "2026-11-22T00:00:00Z", "resets_at": "2026-11-23T00:00:00Z", "mode": "hard", "warning": "none"}
                ],
                "plan": "chat",
                "request_id": "019aab7c-4a11-7c1a-9d53-0d1f0a2b3c4d"
            })),
        HoldProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn commit(settling: Settling<'_>, bytes: &[u8]) -> Result<Response, ApiError> {
    let (api, id) = (settling.api, settling.id);
    let CommitBody { amount, strict, metadata } = body::parse(bytes)?;
    let amount = Amount::new(amount).map_err(|error| ApiError::invalid("amount", error))?;
    let order = settling.order(metadata.as_ref())?;
    let ended = api.quota.commit(&order, CommitOrder { amount, is_strict: strict }).await?;
    let legacy_headers = api.server.legacy_rate_limit_headers;
    Ok(hold::response(id, &ended, HoldState::Committed, amount.into(), legacy_headers))
}

/// Release a reservation.
///
/// The work took nothing: what was held is free again. The body may be left out.
#[utoipa::path(
    post,
    operation_id = "release_reservation",
    path = "/v1/reservations/{reservation_id}:release",
    tag = "reservations",
    params(
        ("reservation_id" = String, Path, description = "the id that the reserve gave", example = "rsv_WyIwMTlhYWI3Yy0uLi4"),
        RepeatHeaders,
    ),
    request_body(content = Option<ReleaseBody>, example = json!({})),
    responses(
        (status = 200, description = "given back", body = HoldBody,
            headers(("Idempotent-Replayed" = String, description = "`true` when the answer repeats an earlier one")),
            example = json!({
                "reservation_id": "rsv_WyIwMTlhYWI3Yy0uLi4",
                "event_id": "019aab7c-4a11-7c1a-9d53-0d1f0a2b3c4d",
                "state": "released", "amount": 0, "reserved": 4096, "returned": 4096, "overage": false, "late": false,
                "expires_at": "2026-11-22T08:28:41Z",
                "limits": [
                    {"name": "tokens-day", "subject": "user:u_1", "metric": "tokens", "period": "day", "limit": 50000, "used": 12000, "reserved": 0, "remaining": 38000, "granted_remaining": 0, "window_start": "2026-11-22T00:00:00Z", "resets_at": "2026-11-23T00:00:00Z", "mode": "hard", "warning": "none"}
                ],
                "plan": "chat",
                "request_id": "019aab7c-4a11-7c1a-9d53-0d1f0a2b3c4d"
            })),
        HoldProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn release(settling: Settling<'_>, bytes: &[u8]) -> Result<Response, ApiError> {
    let (api, id) = (settling.api, settling.id);
    let ReleaseBody { metadata } =
        if bytes.is_empty() { ReleaseBody::default() } else { body::parse(bytes)? };
    let order = settling.order(metadata.as_ref())?;
    let ended = api.quota.release(&order).await?;
    let legacy_headers = api.server.legacy_rate_limit_headers;
    Ok(hold::response(id, &ended, HoldState::Released, Units::ZERO, legacy_headers))
}

/// Extend a reservation.
///
/// Holds the units for so long from now on, for work that takes longer than was thought.
#[utoipa::path(
    post,
    operation_id = "extend_reservation",
    path = "/v1/reservations/{reservation_id}:extend",
    tag = "reservations",
    params(
        ("reservation_id" = String, Path, description = "the id that the reserve gave", example = "rsv_WyIwMTlhYWI3Yy0uLi4"),
        RepeatHeaders,
    ),
    request_body(content = ExtendBody, example = json!({"ttl_s": 300})),
    responses(
        (status = 200, description = "held for longer", body = HoldBody,
            headers(("Idempotent-Replayed" = String, description = "`true` when the answer repeats an earlier one")),
            example = json!({
                "reservation_id": "rsv_WyIwMTlhYWI3Yy0uLi4",
                "event_id": "019aab7c-4a11-7c1a-9d53-0d1f0a2b3c4d",
                "state": "held", "amount": 0, "reserved": 4096, "returned": 0, "overage": false, "late": false,
                "expires_at": "2026-11-22T08:33:12Z",
                "limits": [
                    {"name": "tokens-day", "subject": "user:u_1", "metric": "tokens", "period": "day", "limit": 50000, "used": 12000, "reserved": 4096, "remaining": 33904, "granted_remaining": 0, "window_start": "2026-11-22T00:00:00Z", "resets_at": "2026-11-23T00:00:00Z", "mode": "hard", "warning": "none"}
                ],
                "plan": "chat",
                "request_id": "019aab7c-4a11-7c1a-9d53-0d1f0a2b3c4d"
            })),
        HoldProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn extend(settling: Settling<'_>, bytes: &[u8]) -> Result<Response, ApiError> {
    let (api, id) = (settling.api, settling.id);
    let ExtendBody { ttl_s } = body::parse(bytes)?;
    let order = settling.order(None)?;
    let ended = api.quota.extend(&order, Duration::from_secs(ttl_s)).await?;
    let legacy_headers = api.server.legacy_rate_limit_headers;
    Ok(hold::response(id, &ended, HoldState::Held, Units::ZERO, legacy_headers))
}

/// List open reservations.
///
/// What the subject itself holds, as of the last flush: one that was made a moment ago may be missing, and one that was
/// settled a moment ago may still be there. After an extend the id's text is another one than before; both name the same
/// reservation.
#[utoipa::path(
    get,
    operation_id = "list_reservations",
    path = "/v1/subjects/{subject}/reservations",
    tag = "reservations",
    params(SubjectPath),
    responses(
        (status = 200, description = "the open reservations", body = ReservationsBody,
            example = json!({"reservations": [{
                "reservation_id": "rsv_WyIwMTlhYWI3Yy0uLi4", "event_id": "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d",
                "metric": "tokens", "amount": 4096, "reserved_at": "2026-11-22T08:26:40.500Z",
                "expires_at": "2026-11-22T08:28:41Z", "metadata": null
            }]})),
        ReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let subject = caller.reach(subject(path)?)?;
    let open = api.quota.open_reservations(&subject).await?;
    let reservations = open.iter().map(OpenBody::of).collect::<Result<_, _>>()?;
    Ok(reply(&ReservationsBody { reservations }))
}

impl<'a> OpenBody<'a> {
    /// An open reservation.
    ///
    /// # Errors
    ///
    /// [`ApiError::Internal`] when its metadata is no JSON.
    pub fn of(open: &'a OpenReservation) -> Result<Self, ApiError> {
        let misread = |error: serde_json::Error| ApiError::Internal(error.into());
        let metric = match &open.parts.ask {
            Ask::Metric(metric) => Some(metric),
            Ask::Model(_) | Ask::Feature(_) => None,
        };
        let metadata = open.metadata.as_deref().map(serde_json::from_str).transpose();
        Ok(Self {
            reservation_id: &open.id,
            event_id: open.parts.event_id,
            model: open.parts.ask.model(),
            metric: metric.map(Metric::as_str),
            amount: open.parts.amount.get().into(),
            reserved_at: open.reserved_at,
            expires_at: open.expires_at,
            metadata: metadata.map_err(misread)?,
        })
    }
}
