//! Why a use-case gave no answer. A refused consume is an answer, not an error.

use std::fmt;

use crate::counters::CountersError;
use crate::counters::HoldEnd;
use crate::domain::CatalogueError;
use crate::domain::Grant;
use crate::domain::LevelLimitsError;
use crate::domain::ProfileError;
use crate::domain::Units;
use crate::domain::units::AmountTooLarge;
use crate::ledger::LedgerError;
use crate::ledger::TransferRefusal;

/// What lies behind a [`QuotaError`].
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The store that could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The counters.
    Redis,
    /// The ledger.
    Postgres,
}

/// A feature that a request needs and its subject does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFeature {
    /// Its name in the catalogue.
    pub feature: String,
    /// Where the subject can get more, when its plan says so.
    pub upgrade_url: Option<String>,
}

impl fmt::Display for MissingFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.feature, f)
    }
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
    /// The catalogue does not define the feature.
    #[error("the feature is not in the catalogue")]
    UnknownFeature,
    /// The subject does not have a feature that the request needs.
    #[error("the subject does not have the feature {0}")]
    FeatureNotEntitled(MissingFeature),
    /// An admin has blocked a level of the subject.
    #[error("{0} is blocked")]
    Blocked(String),
    /// A rule against abuse has blocked a level of the subject for a while.
    #[error("{level} is blocked for a while, because of what it did")]
    Restrained {
        /// Which.
        level: String,
        /// When that ends.
        retry_after_s: u64,
    },
    /// The subject's profiles do not fit the catalogue (any more).
    #[error("the subject's profiles do not fit the catalogue")]
    Misconfigured(#[source] LevelLimitsError),
    /// Nothing is configured for the subject.
    #[error("nothing is configured for the subject")]
    UnknownSubject,
    /// A profile that is not within its bounds, or names what the catalogue does not define.
    #[error("the profile does not fit")]
    BadProfile(#[source] ProfileError),
    /// A catalogue that is not one.
    #[error("the catalogue does not fit")]
    BadCatalogue(#[source] CatalogueError),
    /// There is no such rule.
    #[error("no such rule")]
    UnknownRule,
    /// There are as many rules as there may be.
    #[error("there are 100 rules, which is the most")]
    TooManyRules,
    /// There is no such API key in force.
    #[error("no such key is in force")]
    UnknownKey,
    /// There is no such webhook.
    #[error("no such webhook")]
    UnknownWebhook,
    /// There are as many webhooks as there may be.
    #[error("there are 100 webhooks, which is the most")]
    TooManyWebhooks,
    /// What comes after that place of the live feed is no longer there, or never was.
    #[error("what comes after that event is not there")]
    FeedGone,
    /// What an admin's write is based on is not in force.
    #[error("version {found} is in force")]
    Stale {
        /// The version in force; 0 when there is nothing.
        found: u64,
    },
    /// The amount times the catalogue's weight is too large.
    #[error("the amount is too large")]
    AmountTooLarge(#[source] AmountTooLarge),
    /// The idempotency key was used with another payload.
    #[error("the idempotency key was used with another payload")]
    IdempotencyMismatch,
    /// The text is no reservation's id, or none that this service gave out.
    #[error("no such reservation")]
    UnknownReservation,
    /// The reservation has ended before; or, when one is made, there is one of that id.
    #[error("the reservation has ended, or is there already: {end:?}")]
    ReservationEnded {
        /// How.
        end: HoldEnd,
        /// The amount that was committed, or is held.
        amount: Units,
    },
    /// A commit above the held amount, which had to stay within the limits, does not fit.
    #[error("the amount is above what is held, and does not fit")]
    CommitDoesNotFit,
    /// The log has no such event, or none of a kind that can be given back.
    #[error("no such event")]
    UnknownEvent,
    /// The event is of a kind that cannot be given back.
    #[error("an event of that kind cannot be refunded")]
    NotRefundable,
    /// The event was given back before.
    #[error("the event was refunded before")]
    AlreadyRefunded,
    /// Nothing of the event can be given back: its windows have ended, or its limits do not allow it.
    #[error("nothing of the event can be given back")]
    NothingToRefund,
    /// The subject has no such grant, or it was revoked before.
    #[error("no such grant")]
    UnknownGrant,
    /// The subject has as many open grants as it may.
    #[error("the subject has {max} open grants already", max = Grant::OPEN_MAX)]
    TooManyGrants,
    /// A rule for gifts does not allow the transfer.
    #[error("the transfer is not allowed")]
    TransferRefused(TransferRefusal),
    /// The subject's grants do not have as much to give.
    #[error("the grants do not have as much")]
    InsufficientGrant,
    /// A store is away. Nothing was charged, unless the request carried no idempotency key and its fate is unknown.
    #[error("a store is away")]
    Unavailable {
        /// Which.
        store: Store,
        /// When to try again.
        retry_after_s: u64,
        /// What the store's client said, when it said anything.
        #[source]
        source: Option<Cause>,
    },
    /// More requests wait than the service is set to hold.
    #[error("too many requests are waiting")]
    Overloaded,
    /// A bug. The cause is for the log, never for the caller.
    #[error("internal error")]
    Internal(#[source] Cause),
}

impl QuotaError {
    /// Whether a newer profile may let the request pass.
    pub(super) const fn may_depend_on_profiles(&self) -> bool {
        matches!(
            self,
            Self::NoPlan
                | Self::FeatureNotEntitled(_)
                | Self::Blocked(_)
                | Self::Restrained { .. }
                | Self::Misconfigured(_)
        )
    }

    /// A store that did not answer in time.
    pub(super) const fn away(store: Store) -> Self {
        Self::Unavailable { store, retry_after_s: 1, source: None }
    }

    pub(super) fn of_counters(error: CountersError) -> Self {
        let (store, retry_after_s) = match &error {
            CountersError::Unavailable { .. } | CountersError::Stopped => (Store::Redis, 1),
            // Redis holds what Postgres has not taken; that takes longer to pass.
            CountersError::OutboxFull => (Store::Postgres, 5),
            CountersError::Overloaded => return Self::Overloaded,
            CountersError::Protocol(_) | CountersError::Unfit(_) => {
                return Self::Internal(error.into());
            }
        };
        Self::Unavailable { store, retry_after_s, source: Some(error.into()) }
    }

    pub(super) fn of_ledger(error: LedgerError) -> Self {
        match error {
            LedgerError::Unavailable(_) | LedgerError::Conflict(_) | LedgerError::CursorMoved => {
                let source = Some(error.into());
                Self::Unavailable { store: Store::Postgres, retry_after_s: 1, source }
            }
            LedgerError::BadData(_)
            | LedgerError::Migration(_)
            | LedgerError::BadUrl(_)
            | LedgerError::Internal(_) => Self::Internal(error.into()),
        }
    }
}
