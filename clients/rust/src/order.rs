//! What is asked for.

use serde::Serialize;
use serde_json::Value;

/// Who is charged, for what, and how often.
#[derive(Clone, Debug, Serialize)]
pub struct Order {
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(flatten)]
    ask: Ask,
    amount: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    #[serde(skip)]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Ask {
    Model(String),
    Metric(String),
}

impl Order {
    /// One request of a model: the catalogue says which metrics it charges.
    pub fn model(model: impl Into<String>) -> Self {
        Self::new(Ask::Model(model.into()))
    }

    /// One unit of a metric.
    pub fn metric(metric: impl Into<String>) -> Self {
        Self::new(Ask::Metric(metric.into()))
    }

    fn new(ask: Ask) -> Self {
        Self { subject: None, ask, amount: 1, metadata: None, idempotency_key: None }
    }

    /// Who is charged, as `user:u_1`. Without, a caller who has not signed in.
    #[must_use]
    pub fn of(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// How often, at most 2^31.
    #[must_use]
    pub fn amount(self, amount: u64) -> Self {
        Self { amount, ..self }
    }

    /// The caller's own data for the message log: an object of at most 2,048 bytes of JSON.
    #[must_use]
    pub fn metadata(self, metadata: Value) -> Self {
        Self { metadata: Some(metadata), ..self }
    }

    /// A key by which a repetition is known: 1–255 visible ASCII characters. Without, each call has its own.
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        Self { idempotency_key: Some(key.into()), ..self }
    }

    /// The amount that is asked for.
    pub(crate) fn units(&self) -> u64 {
        self.amount
    }
}
