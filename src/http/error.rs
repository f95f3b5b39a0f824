//! Why a request gets no decision. The one place where errors become statuses and codes.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;

use super::hold_end::ended;
use super::problem_code::ProblemCode;
use crate::domain::Permission;
use crate::domain::SubjectError;
use crate::quota::MissingFeature;
use crate::quota::QuotaError;
use crate::quota::Store;
use crate::quota::TransferRefusal;

/// What lies behind an [`ApiError`].
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why a request gets no decision. A refused consume is an answer, not an error.
///
/// As a response it is an empty one that carries the error; [`super::layers::edge`] writes the body, because it knows
/// the request's id.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request breaks a rule of its form.
    #[error("{field} {rule}")]
    InvalidRequest {
        /// The field, parameter or header; `the body` when it is no JSON.
        field: Cow<'static, str>,
        /// The rule that it breaks.
        rule: String,
    },
    /// The body is not declared as JSON, or is encoded beside.
    #[error("the content type must be application/json, without a content encoding")]
    UnsupportedMediaType,
    /// The body is longer than the service reads.
    #[error("the body must be at most {bytes_max} bytes")]
    BodyTooLarge {
        /// `server.body_bytes_max`.
        bytes_max: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// No credential.
    #[error("an API key or a token is needed")]
    NoCredential,
    /// A credential that is unknown, wrong, expired or revoked. Which of these is not told.
    #[error("the API key or token is not valid")]
    BadCredential,
    /// The credential does not go that far.
    #[error("the credential lacks the permission {0}")]
    PermissionDenied(Permission),
    /// The subject lies outside the caller's reach; whether it exists is not told.
    #[error("no such subject within the caller's reach")]
    UnknownSubject,
    /// The credential is fenced into a part of the tree, and the route is about all of it.
    #[error("the API key is fenced into a part of the tree, and this is about all of it")]
    Fenced,
    /// No such route.
    #[error("no such route")]
    NoRoute,
    /// The route does not answer the method; `Allow` names those that it does.
    #[error("the route does not answer this method")]
    MethodNotAllowed,
    /// The catalogue does not define the metric.
    #[error("the metric is not in the catalogue")]
    UnknownMetric,
    /// The catalogue does not define the plan.
    #[error("the plan is not in the catalogue")]
    UnknownPlan,
    /// The subject may not use the model.
    #[error("{0}")]
    ModelNotAllowed(&'static str),
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
    SubjectBlocked(String),
    /// A rule against abuse has blocked a level of the subject for a while.
    #[error("{level} is blocked for a while, because of what it did")]
    AbuseDetected {
        /// Which.
        level: String,
        /// When that ends.
        retry_after_s: u64,
    },
    /// Plans and profiles give a level of the subject more limits than a level may have.
    #[error("{0}")]
    TooManyLimits(String),
    /// What an admin's write is based on is not in force.
    #[error("the write is based on another version than {found}, which is in force")]
    StaleWrite {
        /// The version in force; 0 when there is nothing.
        found: u64,
    },
    /// An admin's write does not say what it is based on.
    #[error("the header If-Match is needed: the ETag of what was read, or * for whatever there is")]
    PreconditionRequired,
    /// The idempotency key was used with another payload.
    #[error("the idempotency key was used with another payload")]
    IdempotencyMismatch,
    /// What is asked does not fit what has become of a reservation, an event or a grant.
    #[error("{detail}")]
    Unfit {
        /// The status.
        status: StatusCode,
        /// The code.
        code: ProblemCode,
        /// What does not fit, for people.
        detail: String,
    },
    /// A store is away.
    #[error("a store is away")]
    StoreUnavailable {
        /// Which, for the log.
        store: Store,
        /// When to try again.
        retry_after_s: u64,
        /// What the store's client said, for the log.
        #[source]
        source: Option<Cause>,
    },
    /// More requests wait than the service is set to hold.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The request took longer than it may.
    #[error("the request took too long")]
    TimedOut,
    /// A bug. The cause is for the log.
    #[error("internal error")]
    Internal(#[source] Cause),
}

impl ApiError {
    /// A field, parameter or header that breaks a rule: `invalid("subject", "must not be empty")`.
    pub fn invalid(field: impl Into<Cow<'static, str>>, rule: impl fmt::Display) -> Self {
        Self::InvalidRequest { field: field.into(), rule: rule.to_string() }
    }

    /// A field, or a document, that is not what it should be. Both texts may hold the caller's own, so they are shortened.
    #[must_use]
    pub fn wrong(field: &str, reason: impl fmt::Display) -> Self {
        let reason = shortened(&reason.to_string(), 300);
        Self::invalid(shortened(field, 64), format_args!("is not valid: {reason}"))
    }

    /// A query with a parameter that is unknown, given twice or of a wrong type; the library's message names it.
    #[must_use]
    pub fn query(error: &QueryRejection) -> Self {
        let text = error.body_text();
        let cause = text.split_once(": ").map_or(text.as_str(), |(_, cause)| cause);
        Self::invalid("the query", format_args!("is not valid: {cause}"))
    }

    /// The same mistake as that of an item of a batch: `items[3].amount` in place of `amount`.
    #[must_use]
    pub fn of_item(self, at: usize) -> Self {
        match self {
            Self::InvalidRequest { field, rule } if field == "the body" => {
                Self::invalid(format!("items[{at}]"), rule)
            }
            Self::InvalidRequest { field, rule } => {
                Self::invalid(format!("items[{at}].{field}"), rule)
            }
            other => other,
        }
    }

    /// A text that is not a subject.
    #[must_use]
    pub fn subject(error: SubjectError) -> Self {
        Self::invalid("subject", error)
    }

    /// The status and the code.
    #[must_use]
    pub const fn status_and_code(&self) -> (StatusCode, ProblemCode) {
        use ProblemCode as Code;
        match self {
            Self::InvalidRequest { .. } => (StatusCode::BAD_REQUEST, Code::InvalidRequest),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::UnsupportedMediaType)
            }
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Code::BodyTooLarge),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, Code::BodyTimeout),
            Self::NoCredential | Self::BadCredential => {
                (StatusCode::UNAUTHORIZED, Code::Unauthenticated)
            }
            Self::PermissionDenied(_) | Self::Fenced => {
                (StatusCode::FORBIDDEN, Code::PermissionDenied)
            }
            Self::UnknownSubject => (StatusCode::NOT_FOUND, Code::UnknownSubject),
            Self::NoRoute => (StatusCode::NOT_FOUND, Code::UnknownRoute),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed),
            Self::UnknownMetric => (StatusCode::NOT_FOUND, Code::UnknownMetric),
            Self::UnknownPlan => (StatusCode::NOT_FOUND, Code::UnknownPlan),
            Self::ModelNotAllowed(_) => (StatusCode::FORBIDDEN, Code::ModelNotAllowed),
            Self::NoPlan => (StatusCode::FORBIDDEN, Code::NoPlan),
            Self::UnknownFeature => (StatusCode::NOT_FOUND, Code::UnknownFeature),
            Self::FeatureNotEntitled(_) => (StatusCode::FORBIDDEN, Code::FeatureNotEntitled),
            Self::SubjectBlocked(_) => (StatusCode::FORBIDDEN, Code::SubjectBlocked),
            Self::AbuseDetected { .. } => (StatusCode::TOO_MANY_REQUESTS, Code::AbuseDetected),
            Self::TooManyLimits(_) => (StatusCode::FORBIDDEN, Code::TooManyLimits),
            Self::StaleWrite { .. } => (StatusCode::PRECONDITION_FAILED, Code::StaleWrite),
            Self::PreconditionRequired => {
                (StatusCode::PRECONDITION_REQUIRED, Code::PreconditionRequired)
            }
            Self::IdempotencyMismatch => {
                (StatusCode::UNPROCESSABLE_ENTITY, Code::IdempotencyMismatch)
            }
            Self::Unfit { status, code, .. } => (*status, *code),
            Self::StoreUnavailable { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, Code::StoreUnavailable)
            }
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, Code::Overloaded),
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, Code::TimedOut),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
        }
    }

    /// Seconds after which the same request may succeed.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::StoreUnavailable { retry_after_s, .. }
            | Self::AbuseDetected { retry_after_s, .. } => Some((*retry_after_s).max(1)),
            Self::Overloaded | Self::TimedOut => Some(1),
            _ => None,
        }
    }

    /// Where the subject can get more.
    #[must_use]
    pub fn upgrade_url(&self) -> Option<&str> {
        match self {
            Self::FeatureNotEntitled(missing) => missing.upgrade_url.as_deref(),
            _ => None,
        }
    }

    /// The store that is away, for the log.
    #[must_use]
    pub const fn store(&self) -> Option<Store> {
        match self {
            Self::StoreUnavailable { store, .. } => Some(*store),
            _ => None,
        }
    }

    /// The `WWW-Authenticate` challenge of a 401 (RFC 6750 section 3): without a credential it names no error.
    #[must_use]
    pub const fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::NoCredential => Some("Bearer realm=\"headroom\""),
            Self::BadCredential => Some("Bearer realm=\"headroom\", error=\"invalid_token\""),
            _ => None,
        }
    }
}

impl ApiError {
    pub(super) fn unfit(status: StatusCode, code: ProblemCode, detail: impl fmt::Display) -> Self {
        Self::Unfit { status, code, detail: detail.to_string() }
    }

    /// A transfer that does not exist, or lies outside the caller's reach.
    #[must_use]
    pub fn unknown_transfer() -> Self {
        Self::unfit(StatusCode::NOT_FOUND, ProblemCode::UnknownTransfer, "no such transfer")
    }

    fn missing(code: ProblemCode, error: &QuotaError) -> Self {
        Self::unfit(StatusCode::NOT_FOUND, code, error)
    }

    fn conflict(code: ProblemCode, error: &QuotaError) -> Self {
        Self::unfit(StatusCode::CONFLICT, code, error)
    }
}

/// Which rule does not allow a transfer.
fn rule_of(refusal: TransferRefusal) -> String {
    match refusal {
        TransferRefusal::BelowMinimum => "the amount is below the least of a gift".to_owned(),
        TransferRefusal::AboveDailyMax { given } => {
            format!("the giver gave {given} today, and would pass the most of a day")
        }
        TransferRefusal::GiverRests { until } => format!("the giver may give again at {until}"),
        TransferRefusal::ReceiverRests { until } => {
            format!("the receiver may be given something again at {until}")
        }
        TransferRefusal::TooManyGrants => "the receiver has too many open grants".to_owned(),
    }
}

/// A text that may hold the caller's own, as it may stand in an answer: short and without control characters.
fn shortened(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).filter(|letter| !letter.is_control()).collect()
}

impl From<QuotaError> for ApiError {
    fn from(error: QuotaError) -> Self {
        match error {
            QuotaError::UnknownMetric => Self::UnknownMetric,
            QuotaError::ModelNotAllowed => {
                Self::ModelNotAllowed("the model is not in the catalogue")
            }
            QuotaError::AnonymousModel => {
                Self::ModelNotAllowed("the model is not open to callers who have not signed in")
            }
            QuotaError::NoPlan => Self::NoPlan,
            QuotaError::UnknownFeature => Self::UnknownFeature,
            QuotaError::FeatureNotEntitled(feature) => Self::FeatureNotEntitled(feature),
            QuotaError::Blocked(level) => Self::SubjectBlocked(level),
            QuotaError::Restrained { level, retry_after_s } => {
                Self::AbuseDetected { level, retry_after_s }
            }
            QuotaError::Misconfigured(error) => Self::TooManyLimits(error.to_string()),
            QuotaError::UnknownSubject => Self::UnknownSubject,
            QuotaError::BadProfile(error) => Self::wrong("the profile", error),
            QuotaError::BadCatalogue(error) => Self::wrong("the catalogue", error),
            QuotaError::Stale { found } => Self::StaleWrite { found },
            QuotaError::AmountTooLarge(bound) => {
                Self::invalid("amount", format_args!("times the catalogue's weight {bound}"))
            }
            QuotaError::IdempotencyMismatch => Self::IdempotencyMismatch,
            QuotaError::ReservationEnded { end, amount } => ended(end, amount),
            QuotaError::TransferRefused(refusal) => {
                Self::unfit(StatusCode::CONFLICT, ProblemCode::TransferRefused, rule_of(refusal))
            }
            QuotaError::UnknownReservation => {
                Self::missing(ProblemCode::UnknownReservation, &error)
            }
            QuotaError::UnknownEvent => Self::missing(ProblemCode::UnknownEvent, &error),
            QuotaError::UnknownGrant => Self::missing(ProblemCode::UnknownGrant, &error),
            QuotaError::UnknownRule => Self::missing(ProblemCode::UnknownRule, &error),
            QuotaError::TooManyRules => Self::conflict(ProblemCode::TooManyRules, &error),
            QuotaError::UnknownKey => Self::missing(ProblemCode::UnknownKey, &error),
            QuotaError::UnknownWebhook => Self::missing(ProblemCode::UnknownWebhook, &error),
            QuotaError::TooManyWebhooks => Self::conflict(ProblemCode::TooManyWebhooks, &error),
            QuotaError::FeedGone => Self::unfit(StatusCode::GONE, ProblemCode::FeedGone, &error),
            QuotaError::CommitDoesNotFit => Self::conflict(ProblemCode::CommitDoesNotFit, &error),
            QuotaError::NotRefundable => Self::conflict(ProblemCode::NotRefundable, &error),
            QuotaError::AlreadyRefunded => Self::conflict(ProblemCode::AlreadyRefunded, &error),
            QuotaError::NothingToRefund => Self::conflict(ProblemCode::NothingToRefund, &error),
            QuotaError::TooManyGrants => Self::conflict(ProblemCode::TooManyGrants, &error),
            QuotaError::InsufficientGrant => Self::conflict(ProblemCode::InsufficientGrant, &error),
            QuotaError::Unavailable { store, retry_after_s, source } => {
                Self::StoreUnavailable { store, retry_after_s, source }
            }
            QuotaError::Overloaded => Self::Overloaded,
            QuotaError::Internal(cause) => Self::Internal(cause),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status_and_code().0.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Chain;

    #[test]
    fn a_chain_shows_every_cause() {
        let error = ApiError::from(QuotaError::Internal("the script answered nil".into()));
        assert_eq!(Chain(&error).to_string(), "internal error: the script answered nil");
    }

    #[test]
    fn a_store_that_is_away_is_a_503_and_says_when_to_come_back() {
        let error = ApiError::from(QuotaError::Unavailable {
            store: Store::Redis,
            retry_after_s: 2,
            source: None,
        });
        assert_eq!(error.status_and_code().0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(error.retry_after_s(), Some(2));
    }

    #[test]
    fn the_challenge_names_an_error_only_after_a_credential() {
        assert_eq!(ApiError::NoCredential.challenge(), Some("Bearer realm=\"headroom\""));
        assert!(ApiError::BadCredential.challenge().unwrap().contains("invalid_token"));
    }
}
