//! `GET /v1/incidents`: recoveries, and what they may have lost.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use chrono::DateTime;
use chrono::Utc;
use serde::Serialize;
use uuid::Uuid;

use crate::http::auth::Admin;
use crate::http::auth::Caller;
use crate::http::documented::CatalogueReadProblems;
use crate::http::error::ApiError;
use crate::http::reply::reply;
use crate::http::state::Api;
use crate::quota::IncidentRow;

/// All incidents.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Incidents)]
pub struct IncidentsBody {
    /// The latest 100, the newest first.
    incidents: Vec<IncidentBody>,
}

/// A recovery of a shard after Redis lost something.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Incident)]
pub struct IncidentBody {
    /// Its id.
    id: Uuid,
    /// The shard.
    shard: u16,
    /// When the recovery began.
    detected_at: DateTime<Utc>,
    /// What was noticed.
    reason: String,
    /// Events that the recovery found in the outbox and logged.
    salvaged: u64,
    /// The most acknowledged events that can be lost.
    lost_at_most: u64,
}

impl From<IncidentRow> for IncidentBody {
    fn from(row: IncidentRow) -> Self {
        let IncidentRow { incident_id: id, shard, detected_at, reason, .. } = row;
        Self {
            id,
            shard,
            detected_at,
            reason,
            salvaged: row.salvaged,
            lost_at_most: row.lost_at_most,
        }
    }
}

/// Read incidents.
///
/// Each is also told of on `GET /v1/stream`, as `shard-recovered`.
#[utoipa::path(
    get,
    operation_id = "read_incidents",
    path = "/v1/incidents",
    tag = "audit",
    responses((status = 200, description = "the latest incidents", body = IncidentsBody), CatalogueReadProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let incidents = api.quota.incidents().await?;
    Ok(reply(&IncidentsBody { incidents: incidents.into_iter().map(Into::into).collect() }))
}
