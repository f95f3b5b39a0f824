//! `GET /v1/drift`: where Redis differs from Postgres.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::http::auth::Admin;
use crate::http::auth::Caller;
use crate::http::documented::DriftProblems;
use crate::http::error::ApiError;
use crate::http::reply::reply;
use crate::http::state::Api;
use crate::quota::DriftReport;
use crate::quota::DriftRound;
use crate::quota::DriftRow;

/// What the drift auditor found.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Drift)]
pub struct DriftBody {
    /// Subjects whose counters in Redis differ from Postgres and the outbox.
    subjects: u64,
    /// By how many units, in all.
    units: u64,
    /// The walk through all loaded subjects that is under way.
    round: RoundBody,
    /// The last whole walk; `null` before there was one.
    #[schema(required)]
    last_round: Option<RoundBody>,
    /// The 100 subjects that differ most, the most first.
    found: Vec<FoundBody>,
}

/// A walk through all loaded subjects.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = DriftRound)]
pub struct RoundBody {
    /// When it began.
    started_at: DateTime<Utc>,
    /// When it ended; `null` while it is under way.
    #[schema(required)]
    ended_at: Option<DateTime<Utc>>,
    /// Subjects compared; those that differ are compared again and again.
    compared: u64,
    /// Subjects that could not be compared, because too much of their shard was on its way into Postgres.
    left_out: u64,
}

/// A subject that differs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = DriftFound)]
pub struct FoundBody {
    /// The level of a subject.
    #[schema(example = "org:acme/user:u_1")]
    subject: String,
    /// By how many units.
    units: u64,
    /// When that was seen first.
    found_at: DateTime<Utc>,
    /// When that was last seen.
    seen_at: DateTime<Utc>,
    /// The counters that differ.
    counters: Vec<CounterBody>,
}

/// A counter that differs.
#[derive(Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[schema(as = DriftCounter)]
pub struct CounterBody {
    /// What is counted.
    metric: String,
    /// The period; `lifetime` for a grant.
    #[schema(example = "month")]
    period: String,
    /// When the window begins; `null` for a grant.
    #[schema(required)]
    starts_at: Option<DateTime<Utc>>,
    /// The grant, when it is the count of one.
    #[schema(required)]
    grant: Option<u64>,
    /// `used`, `held`, `carried` or `refunded`.
    count: String,
    /// What Redis says.
    redis: i64,
    /// What Postgres and the outbox add up to.
    postgres: i64,
}

/// Read the drift report.
///
/// A background task compares the counters of all loaded subjects in Redis with Postgres and the outbox, `drift.keys_per_s` keys a
/// second. What differs twice in a row stands here until it differs no more; `headroom repair` mends it.
#[utoipa::path(
    get,
    operation_id = "read_drift",
    path = "/v1/drift",
    tag = "drift",
    responses((status = 200, description = "what differs, and how far the comparison has come", body = DriftBody), DriftProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    Ok(reply(&body(api.quota.drift().await?)?))
}

fn body(report: DriftReport) -> Result<DriftBody, ApiError> {
    let DriftReport { sums, round, last_round, found } = report;
    let found = found.into_iter().map(found_body).collect::<Result<_, _>>();
    Ok(DriftBody {
        subjects: sums.subjects,
        units: sums.units,
        round: round_body(round),
        last_round: last_round.map(round_body),
        found: found.map_err(|error| ApiError::Internal(error.into()))?,
    })
}

const fn round_body(round: DriftRound) -> RoundBody {
    let DriftRound { started_at, ended_at, compared, left_out } = round;
    RoundBody { started_at, ended_at, compared, left_out }
}

fn found_body(row: DriftRow) -> Result<FoundBody, serde_json::Error> {
    let DriftRow { subject, units, counters, suspected_at, seen_at } = row;
    let counters = serde_json::from_str(&counters)?;
    Ok(FoundBody { subject, units, found_at: suspected_at, seen_at, counters })
}
