//! What a caller asks for.

use crate::domain::Amount;
use crate::domain::Metric;
use crate::domain::Subject;

/// What is to be charged: a model by the catalogue's weights, or one metric. A feature is only looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A chat model; the catalogue says which metrics it charges. 1–128 visible ASCII characters.
    Model(String),
    /// One metric, by name.
    Metric(Metric),
    /// A feature, by name; for a check.
    Feature(String),
}

impl Ask {
    /// The model, when one is asked for.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Model(model) => Some(model),
            Self::Metric(_) | Self::Feature(_) => None,
        }
    }
}

/// Where a request came from, for logs and the message log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// The request's id, the caller's own or made at the edge. At most 64 bytes.
    pub request_id: String,
    /// The same id when this service made it; it then serves as the event's id too.
    pub made_id: Option<uuid::Uuid>,
    /// The W3C trace id, 32 hexadecimal digits, when the caller sent a `traceparent`.
    pub trace_id: Option<String>,
}

/// A consume or a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who is charged.
    pub subject: Subject,
    /// What is charged.
    pub ask: Ask,
    /// How often: multiplied by the catalogue's weights.
    pub amount: Amount,
    /// The caller's own data for the message log: JSON text of at most 2,048 bytes.
    pub metadata: Option<String>,
    /// The caller's idempotency key, 1–255 bytes, unquoted.
    pub idempotency_key: Option<String>,
    /// Where the request came from.
    pub context: RequestContext,
}

/// Which counters a reset clears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResetScope {
    /// One metric, or all.
    pub metric: Option<Metric>,
    /// One period, or all but `lifetime`, which is cleared only when named.
    pub period: Option<crate::domain::Period>,
}
