//! What a problem is, for programs, and how that is told.

use serde::Serialize;

const IANA: &str = "https://iana.org/assignments/http-problem-types#";

/// What a problem is, for programs. The set only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// A limit leaves no room for the request.
    LimitExceeded,
    /// Only what others hold leaves no room for the request.
    ReservedByOthers,
    /// No such reservation.
    UnknownReservation,
    /// The reservation was committed before.
    ReservationAlreadyCommitted,
    /// The reservation was released before.
    ReservationAlreadyReleased,
    /// The reservation has expired.
    ReservationExpired,
    /// There is a reservation of that id.
    ReservationExists,
    /// The amount is above what is held, and does not fit.
    CommitDoesNotFit,
    /// No such event.
    UnknownEvent,
    /// An event of that kind cannot be refunded.
    NotRefundable,
    /// The event was refunded before.
    AlreadyRefunded,
    /// Nothing of the event can be given back.
    NothingToRefund,
    /// No such grant.
    UnknownGrant,
    /// The subject has as many open grants as it may.
    TooManyGrants,
    /// No such transfer.
    UnknownTransfer,
    /// A rule for gifts does not allow the transfer.
    TransferRefused,
    /// The grants do not have as much.
    InsufficientGrant,
    /// The request breaks a rule of its form.
    InvalidRequest,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// The body is longer than the service reads.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTimeout,
    /// No credential, or one that is not valid.
    Unauthenticated,
    /// The credential does not go that far.
    PermissionDenied,
    /// The subject does not exist or lies outside the caller's reach.
    UnknownSubject,
    /// The catalogue does not define the plan.
    UnknownPlan,
    /// No such route.
    UnknownRoute,
    /// The route does not answer the method.
    MethodNotAllowed,
    /// The catalogue does not define the metric.
    UnknownMetric,
    /// The subject may not use the model.
    ModelNotAllowed,
    /// The subject has no plan.
    NoPlan,
    /// The catalogue does not define the feature.
    UnknownFeature,
    /// The subject does not have a feature that the request needs.
    FeatureNotEntitled,
    /// An admin has blocked a level of the subject.
    SubjectBlocked,
    /// A rule against abuse has blocked a level of the subject for a while.
    AbuseDetected,
    /// Plans and profiles give a level of the subject more limits than a level may have.
    TooManyLimits,
    /// What comes after that event of the feed is not there.
    FeedGone,
    /// No such rule.
    UnknownRule,
    /// There are as many rules as there may be.
    TooManyRules,
    /// No such API key in force.
    UnknownKey,
    /// No such webhook.
    UnknownWebhook,
    /// There are as many webhooks as there may be.
    TooManyWebhooks,
    /// What an admin's write is based on is not in force.
    StaleWrite,
    /// An admin's write does not say what it is based on.
    PreconditionRequired,
    /// The idempotency key was used with another payload.
    IdempotencyMismatch,
    /// A store is away.
    StoreUnavailable,
    /// More requests wait than the service is set to hold.
    Overloaded,
    /// The request took longer than it may.
    TimedOut,
    /// A bug; the log has the cause under the same request id.
    Internal,
}

impl ProblemCode {
    /// A URI: one registered with IANA where there is one, else `urn:headroom:problem:<code>`.
    #[must_use]
    pub fn kind(self) -> String {
        match self.registered() {
            Some(name) => format!("{IANA}{name}"),
            None => format!("urn:headroom:problem:{}", self.text()),
        }
    }

    const fn registered(self) -> Option<&'static str> {
        match self {
            Self::LimitExceeded | Self::ReservedByOthers => Some("quota-exceeded"),
            Self::AbuseDetected => Some("abnormal-usage-detected"),
            Self::StoreUnavailable | Self::Overloaded | Self::TimedOut => {
                Some("temporary-reduced-capacity")
            }
            _ => None,
        }
    }

    /// The code as it stands in answers.
    #[must_use]
    pub fn text(self) -> String {
        let value = serde_json::to_value(self).ok();
        value.and_then(|code| code.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// The kind of problem, for people. Titles of registered kinds are those of draft-ietf-httpapi-ratelimit-headers-11.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::LimitExceeded | Self::ReservedByOthers => {
                "Request cannot be satisfied as assigned quota has been exceeded"
            }
            Self::StoreUnavailable | Self::Overloaded | Self::TimedOut => {
                "Request cannot be satisfied due to temporary server capacity constraints"
            }
            Self::UnknownReservation => "The reservation is unknown",
            Self::ReservationAlreadyCommitted => "The reservation is committed",
            Self::ReservationAlreadyReleased => "The reservation is released",
            Self::ReservationExpired => "The reservation has expired",
            Self::UnknownRule => "The rule is unknown",
            Self::TooManyRules => "Too many rules",
            Self::UnknownKey => "The key is unknown",
            Self::UnknownWebhook => "The webhook is unknown",
            Self::TooManyWebhooks => "Too many webhooks",
            Self::FeedGone => "The feed has moved on",
            Self::ReservationExists => "The reservation exists",
            Self::CommitDoesNotFit => "The amount does not fit",
            Self::UnknownEvent => "The event is unknown",
            Self::NotRefundable => "The event cannot be refunded",
            Self::AlreadyRefunded => "The event is refunded",
            Self::NothingToRefund => "Nothing can be given back",
            Self::UnknownGrant => "The grant is unknown",
            Self::TooManyGrants => "The subject has too many grants",
            Self::UnknownTransfer => "The transfer is unknown",
            Self::TransferRefused => "The transfer is not allowed",
            Self::InsufficientGrant => "The grants do not have as much",
            Self::InvalidRequest => "The request is not valid",
            Self::UnsupportedMediaType => "The content type is not supported",
            Self::BodyTooLarge => "The body is too large",
            Self::BodyTimeout => "The body did not arrive in time",
            Self::Unauthenticated => "A valid credential is needed",
            Self::PermissionDenied => "The credential does not go that far",
            Self::UnknownSubject => "The subject is unknown",
            Self::UnknownPlan => "The plan is unknown",
            Self::UnknownRoute => "The route is unknown",
            Self::MethodNotAllowed => "The method is not allowed",
            Self::UnknownMetric => "The metric is unknown",
            Self::ModelNotAllowed => "The model is not allowed",
            Self::NoPlan => "The subject has no plan",
            Self::UnknownFeature => "The feature is unknown",
            Self::FeatureNotEntitled => "The subject does not have the feature",
            Self::SubjectBlocked => "The subject is blocked",
            Self::AbuseDetected => {
                "Request cannot be satisfied due to detection of abnormal request pattern"
            }
            Self::TooManyLimits => "A level has too many limits",
            Self::StaleWrite => "Another version is in force",
            Self::PreconditionRequired => "The write must say what it is based on",
            Self::IdempotencyMismatch => "The idempotency key was used before",
            Self::Internal => "Something is wrong with the service",
        }
    }
}
