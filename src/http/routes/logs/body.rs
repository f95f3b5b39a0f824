//! A page of the log as JSON.

use chrono::DateTime;
use chrono::Utc;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::http::error::ApiError;
use crate::quota::LogRow;

/// A page of the log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Logs)]
pub struct LogsBody<'a> {
    /// Events and refusals, newest first.
    pub(super) logs: Vec<LogBody<'a>>,
    /// Where the next page begins; `null` after the last.
    #[schema(required)]
    pub(super) next_cursor: Option<String>,
}

/// An event or a refusal.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Log)]
pub struct LogBody<'a> {
    /// The event's id, or the refusal's.
    id: Uuid,
    /// When Redis decided.
    occurred_at: DateTime<Utc>,
    /// The kind of event, or `denied`.
    #[schema(example = "consume")]
    kind: &'a str,
    /// The whole path.
    #[schema(example = "user:u_1")]
    subject: &'a str,
    /// The chat model; `null` when a metric was named.
    #[schema(required)]
    model: Option<&'a str>,
    /// The plan whose limits were in force; empty when that is not known.
    plan: &'a str,
    /// Units charged by metric; none for a refusal.
    #[schema(value_type = std::collections::BTreeMap<String, i64>)]
    charges: &'a RawValue,
    /// Of a refusal: why.
    #[schema(required)]
    code: Option<&'a str>,
    /// Of a refusal: the first limit that left no room.
    #[schema(required)]
    limit: Option<&'a str>,
    /// Of a refusal: how much was asked for, before weights.
    #[schema(required)]
    amount: Option<u64>,
    /// The id of the request.
    request_id: String,
    /// The W3C trace id.
    #[schema(required)]
    trace_id: Option<&'a str>,
    /// The caller's own data.
    #[schema(required, value_type = Option<Object>)]
    metadata: Option<&'a RawValue>,
}

impl<'a> LogBody<'a> {
    pub(super) fn of(row: &'a LogRow) -> Result<Self, ApiError> {
        let misread = |error: serde_json::Error| ApiError::Internal(error.into());
        Ok(Self {
            id: row.id,
            occurred_at: row.occurred_at,
            kind: &row.kind,
            subject: &row.subject,
            model: row.model.as_deref(),
            plan: &row.plan,
            charges: serde_json::from_str(&row.charges).map_err(misread)?,
            code: row.code.as_deref(),
            limit: row.limit.as_deref(),
            amount: row.amount,
            request_id: request_id(row),
            trace_id: row.trace_id.as_deref(),
            metadata: row
                .metadata
                .as_deref()
                .map(serde_json::from_str)
                .transpose()
                .map_err(misread)?,
        })
    }
}

/// The log leaves out a request's id that is the event's own.
pub(super) fn request_id(row: &LogRow) -> String {
    row.request_id.clone().unwrap_or_else(|| row.id.to_string())
}
