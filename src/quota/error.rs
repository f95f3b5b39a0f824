//! Why a use-case gave no answer. A refused consume is an answer, not an error.

use crate::domain::units::AmountTooLarge;

/// The store that could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The counters.
    Redis,
    /// The ledger.
    Postgres,
}

/// Why a use-case gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// The catalogue does not define the metric.
    #[error("the metric is not in the catalogue")]
    UnknownMetric,
    /// No rule of the catalogue covers the model.
    #[error("the model is not in the catalogue")]
    ModelNotAllowed,
    /// The caller has not signed in and the model is not open to such callers.
    #[error("the model is not open to callers who have not signed in")]
    AnonymousModel,
    /// The subject has no plan, and the catalogue names no default.
    #[error("the subject has no plan")]
    NoPlan,
    /// The amount times the catalogue's weight is too large.
    #[error("the amount is too large")]
    AmountTooLarge(#[source] AmountTooLarge),
    /// The idempotency key was used with another payload.
    #[error("the idempotency key was used with another payload")]
    IdempotencyMismatch,
    /// A store is away. Nothing was charged, unless the request carried no idempotency key and its fate is unknown.
    #[error("a store is away")]
    Unavailable {
        /// Which.
        store: Store,
        /// When to try again.
        retry_after_s: u64,
    },
    /// More requests wait than the service is set to hold.
    #[error("too many requests are waiting")]
    Overloaded,
    /// A bug. The message is for the log, never for the caller.
    #[error("internal error: {0}")]
    Internal(String),
}
