//! What many routes have in common in the OpenAPI document: problems, with the bodies that the service really answers, and
//! the headers of admins.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::IntoResponses;
use utoipa::openapi::ContentBuilder;
use utoipa::openapi::Ref;
use utoipa::openapi::RefOr;
use utoipa::openapi::Response;
use utoipa::openapi::ResponseBuilder;
use utoipa::openapi::example::ExampleBuilder;

use super::body::BatchBytes;
use super::error::ApiError;
use super::problem::Problem;
use super::problem_code::ProblemCode;
use crate::domain::Permission;
use crate::domain::Units;
use crate::quota::HoldEnd;
use crate::quota::MissingFeature;
use crate::quota::QuotaError;
use crate::quota::Store;
use crate::quota::TransferRefusal;

type Responses = BTreeMap<String, RefOr<Response>>;

/// Why a subject cannot be read.
#[derive(Debug)]
pub struct ReadProblems;

/// Why a request gets no decision.
#[derive(Debug)]
pub struct DecisionProblems;

/// Why nothing of a batch is decided.
#[derive(Debug)]
pub struct BatchProblems;

/// Why a subject's profile cannot be changed.
#[derive(Debug)]
pub struct WriteProblems;

/// Why counters of a subject cannot be changed.
#[derive(Debug)]
pub struct ActProblems;

/// Why a reservation cannot be settled.
#[derive(Debug)]
pub struct HoldProblems;

/// Why an event cannot be refunded.
#[derive(Debug)]
pub struct RefundProblems;

/// Why a grant cannot be given.
#[derive(Debug)]
pub struct GrantProblems;

/// Why a grant cannot be revoked.
#[derive(Debug)]
pub struct RevokeProblems;

/// Why units cannot be given away.
#[derive(Debug)]
pub struct TransferProblems;

/// Why a transfer cannot be read.
#[derive(Debug)]
pub struct TransferReadProblems;

/// Why something about all subjects cannot be read.
#[derive(Debug)]
pub struct CatalogueReadProblems;

/// Why analysts get no answer.
#[derive(Debug)]
pub struct AnalyticsProblems;

/// Why the log cannot be read.
#[derive(Debug)]
pub struct LogProblems;

/// Why what happens cannot be followed.
#[derive(Debug)]
pub struct StreamProblems;

/// Why the drift report cannot be read.
#[derive(Debug)]
pub struct DriftProblems;

/// Why alerts cannot be read or their rules changed.
#[derive(Debug)]
pub struct AlertProblems;

/// Why API keys cannot be read, made or revoked.
#[derive(Debug)]
pub struct KeyProblems;

/// Why webhooks cannot be read or changed.
#[derive(Debug)]
pub struct WebhookProblems;

/// Why the catalogue cannot be changed.
#[derive(Debug)]
pub struct CatalogueWriteProblems;

/// What a caller says of a request that they may send again.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub struct RepeatHeaders {
    /// 1 to 255 visible ASCII characters, quoted or not; remembered for a subject and an operation.
    #[param(rename = "Idempotency-Key", example = "\"8e03978e-40d5-43e8-bc93-6894a57f9324\"")]
    pub idempotency_key: Option<String>,
    /// 1 to 64 visible ASCII characters, sent back; made when absent.
    #[param(rename = "X-Request-Id")]
    pub request_id: Option<String>,
    /// W3C Trace Context, carried into logs and events.
    #[param(rename = "traceparent")]
    pub traceparent: Option<String>,
}

/// What an admin says about an act.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub struct ActHeaders {
    /// 1 to 255 visible ASCII characters, quoted or not: the same act under the same key is done once.
    #[param(rename = "Idempotency-Key", example = "\"8e03978e-40d5-43e8-bc93-6894a57f9324\"")]
    pub idempotency_key: Option<String>,
    /// Why, for the audit log: UTF-8 of at most 500 bytes.
    #[param(rename = "X-Reason", example = "ticket 4711")]
    pub reason: Option<String>,
}

/// What an admin says about a change of what is configured.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub struct WriteHeaders {
    /// The `ETag` of what was read, or `*` for whatever there is. Needed, unless `If-None-Match` is there.
    #[param(rename = "If-Match", example = "\"7\"")]
    pub matches: Option<String>,
    /// `*`: there must be nothing yet.
    #[param(rename = "If-None-Match", example = "*")]
    pub none_matches: Option<String>,
    /// Why, for the audit log: UTF-8 of at most 500 bytes.
    #[param(rename = "X-Reason", example = "ticket 4711")]
    pub reason: Option<String>,
}

impl IntoResponses for ReadProblems {
    fn responses() -> Responses {
        documented([
            ApiError::invalid("subject", "each segment must be scope:id"),
            ApiError::PermissionDenied(Permission::Read),
            ApiError::NoPlan,
            ApiError::UnknownSubject,
            ApiError::UnknownMetric,
        ])
    }
}

impl IntoResponses for DecisionProblems {
    fn responses() -> Responses {
        let upgrade_url = Some("https://app.example/billing/upgrade".to_owned());
        let missing = MissingFeature { feature: "export".to_owned(), upgrade_url };
        let own = [
            ApiError::invalid("amount", "must be between 0 and 2147483648"),
            ApiError::PermissionDenied(Permission::Consume),
            ApiError::ModelNotAllowed("the model is not in the catalogue"),
            ApiError::FeatureNotEntitled(missing),
            ApiError::SubjectBlocked("org:acme".to_owned()),
            ApiError::NoPlan,
            ApiError::UnknownSubject,
            ApiError::UnknownMetric,
            ApiError::UnknownFeature,
            ApiError::IdempotencyMismatch,
        ];
        documented(own.into_iter().chain(of_bodies()))
    }
}

impl IntoResponses for BatchProblems {
    fn responses() -> Responses {
        let mismatch = "items[3].idempotency_key stands for another payload before";
        documented([
            ApiError::invalid("items[3].amount", "must be between 0 and 2147483648"),
            ApiError::PermissionDenied(Permission::Consume),
            ApiError::unfit(
                StatusCode::UNPROCESSABLE_ENTITY,
                ProblemCode::IdempotencyMismatch,
                mismatch,
            ),
            ApiError::BodyTimeout,
            ApiError::BodyTooLarge { bytes_max: BatchBytes::MAX },
            ApiError::UnsupportedMediaType,
        ])
    }
}

impl IntoResponses for WriteProblems {
    fn responses() -> Responses {
        let own = [
            ApiError::wrong("limits[0].max", "max must be -1 (unlimited) or 0 to 9007199254740991"),
            ApiError::PermissionDenied(Permission::Admin),
            ApiError::UnknownSubject,
        ];
        documented(own.into_iter().chain(of_writes()))
    }
}

impl IntoResponses for ActProblems {
    fn responses() -> Responses {
        let own = [
            ApiError::invalid("amount", "must be 1 to 2147483648"),
            ApiError::PermissionDenied(Permission::Admin),
            ApiError::NoPlan,
            ApiError::UnknownSubject,
            ApiError::UnknownMetric,
            ApiError::IdempotencyMismatch,
        ];
        documented(own.into_iter().chain(of_bodies()))
    }
}

impl IntoResponses for HoldProblems {
    fn responses() -> Responses {
        let ended = |end| QuotaError::ReservationEnded { end, amount: Units::ZERO };
        let own = [
            ApiError::invalid("amount", "must be a whole number between 0 and 2147483648"),
            ApiError::PermissionDenied(Permission::Consume),
            QuotaError::UnknownReservation.into(),
            ended(HoldEnd::Committed).into(),
            ended(HoldEnd::Released).into(),
            ended(HoldEnd::Expired).into(),
            QuotaError::CommitDoesNotFit.into(),
            ApiError::IdempotencyMismatch,
        ];
        documented(own.into_iter().chain(of_bodies()))
    }
}

impl IntoResponses for RefundProblems {
    fn responses() -> Responses {
        let own = [
            ApiError::invalid("event_id", "must be a uuid"),
            ApiError::PermissionDenied(Permission::Consume),
            QuotaError::UnknownEvent.into(),
            QuotaError::NotRefundable.into(),
            QuotaError::AlreadyRefunded.into(),
            QuotaError::NothingToRefund.into(),
        ];
        documented(own.into_iter().chain(of_bodies()))
    }
}

impl IntoResponses for GrantProblems {
    fn responses() -> Responses {
        let own = [
            ApiError::invalid("amount", "must be a whole number between 1 and 2147483648"),
            ApiError::PermissionDenied(Permission::Admin),
            ApiError::UnknownSubject,
            ApiError::UnknownMetric,
            QuotaError::TooManyGrants.into(),
            ApiError::IdempotencyMismatch,
        ];
        documented(own.into_iter().chain(of_bodies()))
    }
}

impl IntoResponses for RevokeProblems {
    fn responses() -> Responses {
        documented([
            ApiError::invalid("grant_id", "must be the number of a grant"),
            ApiError::PermissionDenied(Permission::Admin),
            ApiError::UnknownSubject,
            QuotaError::UnknownGrant.into(),
        ])
    }
}

impl IntoResponses for TransferProblems {
    fn responses() -> Responses {
        let own = [
            ApiError::invalid("to", "must be another subject than from"),
            ApiError::PermissionDenied(Permission::Consume),
            ApiError::UnknownSubject,
            ApiError::UnknownMetric,
            QuotaError::TransferRefused(TransferRefusal::BelowMinimum).into(),
            QuotaError::InsufficientGrant.into(),
            ApiError::IdempotencyMismatch,
        ];
        documented(own.into_iter().chain(of_bodies()))
    }
}

impl IntoResponses for TransferReadProblems {
    fn responses() -> Responses {
        documented([
            ApiError::invalid("transfer_id", "must be a uuid"),
            ApiError::PermissionDenied(Permission::Read),
            ApiError::unknown_transfer(),
        ])
    }
}

impl IntoResponses for CatalogueReadProblems {
    fn responses() -> Responses {
        documented([
            ApiError::invalid("limit", "must be 1 to 200"),
            ApiError::PermissionDenied(Permission::Read),
            ApiError::Fenced,
            ApiError::UnknownPlan,
        ])
    }
}

impl IntoResponses for DriftProblems {
    fn responses() -> Responses {
        documented([ApiError::PermissionDenied(Permission::Admin), ApiError::Fenced])
    }
}

impl IntoResponses for AnalyticsProblems {
    fn responses() -> Responses {
        documented([
            ApiError::invalid("days", "must be 1 to 92"),
            ApiError::PermissionDenied(Permission::Read),
            ApiError::Fenced,
            ApiError::UnknownMetric,
        ])
    }
}

impl IntoResponses for AlertProblems {
    fn responses() -> Responses {
        let own = [
            ApiError::invalid("threshold", "must be 1 to 2147483648"),
            ApiError::PermissionDenied(Permission::Admin),
            ApiError::Fenced,
            QuotaError::UnknownRule.into(),
            QuotaError::TooManyRules.into(),
        ];
        documented(own.into_iter().chain(of_bodies()))
    }
}

impl IntoResponses for KeyProblems {
    fn responses() -> Responses {
        let own = [
            ApiError::invalid("name", "must be 1 to 100 characters"),
            ApiError::PermissionDenied(Permission::Admin),
            ApiError::Fenced,
            QuotaError::UnknownKey.into(),
        ];
        documented(own.into_iter().chain(of_bodies()))
    }
}

impl IntoResponses for WebhookProblems {
    fn responses() -> Responses {
        let own = [
            ApiError::invalid("url", "must be an https url of at most 2000 bytes"),
            ApiError::PermissionDenied(Permission::Admin),
            ApiError::Fenced,
            QuotaError::UnknownWebhook.into(),
            QuotaError::TooManyWebhooks.into(),
        ];
        documented(own.into_iter().chain(of_bodies()))
    }
}

impl IntoResponses for StreamProblems {
    fn responses() -> Responses {
        documented([
            ApiError::invalid("Last-Event-ID", "must be the id of an event"),
            ApiError::PermissionDenied(Permission::Read),
            ApiError::UnknownSubject,
            QuotaError::FeedGone.into(),
        ])
    }
}

impl IntoResponses for LogProblems {
    fn responses() -> Responses {
        documented([
            ApiError::invalid("limit", "must be 1 to 1000"),
            ApiError::PermissionDenied(Permission::Read),
            ApiError::UnknownSubject,
        ])
    }
}

impl IntoResponses for CatalogueWriteProblems {
    fn responses() -> Responses {
        let own = [
            ApiError::wrong(
                "the catalogue",
                "plans.free.limits must have at most 32 entries, got 33",
            ),
            ApiError::PermissionDenied(Permission::Admin),
            ApiError::Fenced,
        ];
        documented(own.into_iter().chain(of_writes()))
    }
}

fn of_writes() -> impl Iterator<Item = ApiError> {
    of_bodies().chain([ApiError::StaleWrite { found: 8 }, ApiError::PreconditionRequired])
}

fn of_bodies() -> impl Iterator<Item = ApiError> {
    let bytes_max = 16_384;
    let all = [
        ApiError::BodyTimeout,
        ApiError::BodyTooLarge { bytes_max },
        ApiError::UnsupportedMediaType,
    ];
    all.into_iter()
}

/// Those that every route may answer.
fn of_all() -> impl Iterator<Item = ApiError> {
    let away =
        ApiError::StoreUnavailable { store: Store::Postgres, retry_after_s: 1, source: None };
    [ApiError::NoCredential, away, ApiError::Overloaded, ApiError::TimedOut].into_iter()
}

/// The errors as responses: one a status, with an example each.
fn documented(errors: impl IntoIterator<Item = ApiError>) -> Responses {
    let mut by_status: BTreeMap<StatusCode, Vec<ApiError>> = BTreeMap::new();
    for error in errors.into_iter().chain(of_all()) {
        by_status.entry(error.status_and_code().0).or_default().push(error);
    }
    by_status
        .iter()
        .map(|(status, errors)| (status.as_str().to_owned(), response(errors)))
        .collect()
}

fn response(errors: &[ApiError]) -> RefOr<Response> {
    let examples = errors.iter().map(|error| {
        let problem = Problem::of(error, "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d", "");
        let problem = Problem { instance: None, ..problem };
        let value = serde_json::to_value(&problem).ok();
        (error.to_string(), ExampleBuilder::new().summary(problem.title).value(value).build())
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build();
    let details: Vec<String> = errors.iter().map(ToString::to_string).collect();
    ResponseBuilder::new()
        .description(details.join("; or: "))
        .content("application/problem+json", content)
        .build()
        .into()
}
