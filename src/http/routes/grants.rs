//! `GET` and `POST /v1/subjects/{subject}/grants`, and `DELETE …/grants/{grant_id}`: units beside what a plan allows.

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

use crate::domain::GrantSource;
use crate::domain::Period;
use crate::domain::Units;
use crate::domain::Window;
use crate::http::auth::Acting;
use crate::http::auth::Caller;
use crate::http::auth::Read;
use crate::http::body;
use crate::http::body::JsonBytes;
use crate::http::documented::ActHeaders;
use crate::http::documented::GrantProblems;
use crate::http::documented::ReadProblems;
use crate::http::documented::RevokeProblems;
use crate::http::error::ApiError;
use crate::http::fields::metric;
use crate::http::fields::note;
use crate::http::fields::subject;
use crate::http::fields::subject_and;
use crate::http::reply::reply;
use crate::http::state::Api;
use crate::http::subject_path::SubjectPath;
use crate::quota::GrantOrder;
use crate::quota::GrantRow;
use crate::quota::Quota;

const SOURCE_RULE: &str =
    "must be admin, promotion or purchase; gifts are made by POST /v1/transfers";
const EXPIRES_RULE: &str = "must be an rfc 3339 instant in the future, before the year 9999";

/// A grant that is to be made.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewGrant)]
pub struct NewGrantBody {
    /// What it is of.
    #[schema(example = "messages", max_length = 64)]
    metric: String,
    /// How many units.
    #[serde(deserialize_with = "body::within::<_, 1, 2_147_483_648>")]
    #[schema(minimum = 1, maximum = 2_147_483_648_u64)]
    amount: u64,
    /// When it ends; never when absent.
    #[schema(value_type = Option<DateTime<Utc>>, example = "2026-12-31T23:59:59Z")]
    expires_at: Option<String>,
    /// Where it comes from: `admin`, `promotion` or `purchase`.
    #[schema(default = "admin", example = "promotion")]
    source: Option<String>,
    /// What is to be said of it, at most 500 bytes.
    #[schema(max_length = 500)]
    note: Option<String>,
    /// With a period, the limit of that metric and period is `amount` higher until `expires_at`, which is then needed, and
    /// nothing is used up.
    period: Option<Period>,
}

/// The grants of a subject.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Grants)]
pub struct GrantsBody<'a> {
    /// The newest first, also those that have ended, at most 1,000.
    grants: Vec<GrantBody<'a>>,
}

/// A grant. What is used of it is as of the last flush.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Grant)]
pub struct GrantBody<'a> {
    /// Its number.
    id: u64,
    /// The subject that has it.
    #[schema(example = "user:u_1")]
    subject: &'a str,
    /// What it is of.
    #[schema(example = "messages")]
    metric: &'a str,
    /// The period of the limit that it raises; absent when its units are used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<Period>,
    /// How many units.
    amount: u64,
    /// Units used, or given away; 0 of a raised limit.
    used: i64,
    /// Units that are left to use; 0 unless it is open.
    remaining: u64,
    /// Where it comes from.
    source: GrantSource,
    /// Where it is in its life: `open`, `used_up`, `expired` or `revoked`.
    #[schema(example = "open")]
    state: &'static str,
    /// When it ends; `null` is never.
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
    /// What was said of it.
    #[schema(required)]
    note: Option<&'a str>,
    /// When it was given.
    created_at: DateTime<Utc>,
    /// Who gave it: the id of an API key, or `cli`.
    created_by: &'a str,
    /// When it was revoked.
    #[schema(required)]
    revoked_at: Option<DateTime<Utc>>,
    /// The gift that it is from.
    #[schema(required)]
    transfer_id: Option<Uuid>,
}

/// List grants.
///
/// All that the subject itself ever had. What is used of each is as of the last flush; usage and decisions show as
/// `granted_remaining` what is left at the moment.
#[utoipa::path(
    get,
    operation_id = "list_grants",
    path = "/v1/subjects/{subject}/grants",
    tag = "grants",
    params(SubjectPath),
    responses(
        (status = 200, description = "the grants", body = GrantsBody,
            example = json!({"grants": [{
                "id": 12, "subject": "user:u_1", "metric": "messages", "amount": 50, "used": 20, "remaining": 30,
                "source": "promotion", "state": "open", "expires_at": "2026-12-31T23:59:59Z", "note": "spring sale",
                "created_at": "2026-11-20T09:30:00.125Z", "created_by": "bootstrap", "revoked_at": null, "transfer_id": null
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
    let rows = api.quota.grants(&subject).await?;
    Ok(reply(&GrantsBody {
        grants: rows.iter().map(|row| GrantBody::of(row, &api.quota)).collect(),
    }))
}

/// Give a grant.
///
/// Bonus units, which are used when a limit of the plan is spent, the earliest expiry first; or, with `period`, a limit that is
/// higher for a while. When this answers, every node goes by it. A subject has at most 32 open ones.
#[utoipa::path(
    post,
    operation_id = "give_grant",
    path = "/v1/subjects/{subject}/grants",
    tag = "grants",
    params(SubjectPath, ActHeaders),
    request_body(content = NewGrantBody, examples(
        ("bonus units" = (value = json!({"metric": "messages", "amount": 50, "expires_at": "2026-12-31T23:59:59Z", "source": "promotion", "note": "spring sale"}))),
        ("a raised limit" = (value = json!({"metric": "messages", "amount": 100, "period": "month", "expires_at": "2026-12-31T23:59:59Z"})))
    )),
    responses(
        (status = 201, description = "the grant", body = GrantBody,
            example = json!({
                "id": 12, "subject": "user:u_1", "metric": "messages", "amount": 50, "used": 0, "remaining": 50,
                "source": "promotion", "state": "open", "expires_at": "2026-12-31T23:59:59Z", "note": "spring sale",
                "created_at": "2026-11-20T09:30:00.125Z", "created_by": "bootstrap", "revoked_at": null, "transfer_id": null
            })),
        GrantProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn give(
    State(api): State<Arc<Api>>,
    Acting { caller, actor }: Acting,
    path: Result<Path<String>, PathRejection>,
    bytes: JsonBytes,
) -> Result<Response, ApiError> {
    let subject = caller.reach(subject(path)?)?;
    let order = order(&api, body::parse(&bytes.0)?)?;
    let row = api.quota.give_grant(&subject, &order, &actor).await?;
    let mut response = reply(&GrantBody::of(&row, &api.quota));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Revoke a grant.
///
/// What is left of it is gone; what was used of it stays used. When this answers, every node goes by it.
#[utoipa::path(
    delete,
    operation_id = "revoke_grant",
    path = "/v1/subjects/{subject}/grants/{grant_id}",
    tag = "grants",
    params(
        SubjectPath,
        ("grant_id" = u64, Path, description = "its number", example = 12),
        ActHeaders,
    ),
    responses(
        (status = 200, description = "the grant as it was", body = GrantBody,
            example = json!({
                "id": 12, "subject": "user:u_1", "metric": "messages", "amount": 50, "used": 20, "remaining": 0,
                "source": "promotion", "state": "revoked", "expires_at": "2026-12-31T23:59:59Z", "note": "spring sale",
                "created_at": "2026-11-20T09:30:00.125Z", "created_by": "bootstrap",
                "revoked_at": "2026-11-22T08:26:40.500Z", "transfer_id": null
            })),
        RevokeProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn revoke(
    State(api): State<Arc<Api>>,
    Acting { caller, actor }: Acting,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let (subject, id) = subject_and(path)?;
    let subject = caller.reach(subject)?;
    let id = id.parse::<i64>().ok().and_then(|id| u64::try_from(id).ok());
    let id = id.ok_or_else(|| ApiError::invalid("grant_id", "must be the number of a grant"))?;
    let row = api.quota.revoke_grant(&subject, id, &actor).await?;
    Ok(reply(&GrantBody::of(&row, &api.quota)))
}

fn order(api: &Api, body: NewGrantBody) -> Result<GrantOrder, ApiError> {
    let now_s = api.quota.clock().now().timestamp();
    let expires_at = body.expires_at.as_deref().map(|text| expiry(text, now_s)).transpose()?;
    if body.period.is_some() && expires_at.is_none() {
        let rule = "is needed with period: the limit is higher until then";
        return Err(ApiError::invalid("expires_at", rule));
    }
    let source = body.source.as_deref().map_or(Some(GrantSource::Admin), GrantSource::named);
    let source = source.filter(|source| *source != GrantSource::Gift);
    Ok(GrantOrder {
        metric: metric(&body.metric)?,
        amount: Units::new(body.amount).map_err(|error| ApiError::invalid("amount", error))?,
        period: body.period,
        expires_at,
        source: source.ok_or_else(|| ApiError::invalid("source", SOURCE_RULE))?,
        note: note(body.note)?,
    })
}

fn expiry(text: &str, now_s: i64) -> Result<DateTime<Utc>, ApiError> {
    let at = DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc());
    let at = at.filter(|at| (now_s + 1..Window::LIFETIME.end_s).contains(&at.timestamp()));
    at.ok_or_else(|| ApiError::invalid("expires_at", EXPIRES_RULE))
}

impl<'a> GrantBody<'a> {
    /// A grant as it is now.
    #[must_use]
    pub fn of(row: &'a GrantRow, quota: &Quota) -> Self {
        let (state, remaining) = quota.standing(row);
        Self {
            id: row.grant.id,
            subject: &row.subject,
            metric: row.grant.metric.as_str(),
            period: row.grant.period,
            amount: row.grant.amount.get(),
            used: row.used,
            remaining,
            source: row.source,
            state: state.as_str(),
            expires_at: row.grant.expires_s.and_then(|at_s| DateTime::from_timestamp(at_s, 0)),
            note: row.note.as_deref(),
            created_at: row.created_at,
            created_by: &row.created_by,
            revoked_at: row.revoked_at,
            transfer_id: row.transfer_id,
        }
    }
}
