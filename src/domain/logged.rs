//! Rows of the message log, as they are kept elsewhere.

use uuid::Uuid;

/// A row of the message log. Documents are JSON texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// The operation's id.
    pub event_id: Uuid,
    /// When Redis decided, in Unix microseconds.
    pub occurred_at_us: i64,
    /// The shard's epoch.
    pub epoch: i64,
    /// Place in the epoch.
    pub seq: i64,
    /// The shard.
    pub shard: i64,
    /// The whole path that was charged.
    pub subject: String,
    /// What happened.
    pub kind: String,
    /// The chat model.
    pub model: Option<String>,
    /// The plan whose limits were in force.
    pub plan: String,
    /// Units charged by metric.
    pub charges: String,
    /// What was added to each counter.
    pub deltas: String,
    /// The request's id.
    pub request_id: Option<String>,
    /// The W3C trace id.
    pub trace_id: Option<String>,
    /// The caller's own data.
    pub metadata: Option<String>,
}
