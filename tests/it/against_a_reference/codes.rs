//! The reference's names of errors.

use headroom::quota::HoldEnd;
use headroom::quota::QuotaError;

use super::case::Case;

impl Case {
    /// The reference's name of an error.
    pub(super) fn code(&self, error: &QuotaError) -> String {
        match error {
            QuotaError::UnknownMetric => "unknown_metric".to_owned(),
            QuotaError::ModelNotAllowed => "model_not_allowed".to_owned(),
            QuotaError::AnonymousModel => "anonymous_model".to_owned(),
            QuotaError::NoPlan => "no_plan".to_owned(),
            QuotaError::UnknownFeature => "unknown_feature".to_owned(),
            QuotaError::FeatureNotEntitled(missing) => format!("not_entitled {}", missing.feature),
            QuotaError::Blocked(subject) => format!("blocked {}", self.path(subject)),
            QuotaError::Misconfigured(_) => "misconfigured".to_owned(),
            QuotaError::UnknownSubject => "unknown_subject".to_owned(),
            QuotaError::BadProfile(_) => "bad_profile".to_owned(),
            QuotaError::IdempotencyMismatch => "mismatch".to_owned(),
            QuotaError::ReservationEnded { end, amount } => ended(*end, amount.get()),
            QuotaError::CommitDoesNotFit => "does_not_fit".to_owned(),
            QuotaError::UnknownEvent => "unknown_event".to_owned(),
            QuotaError::NotRefundable => "not_refundable".to_owned(),
            QuotaError::AlreadyRefunded => "already_refunded".to_owned(),
            QuotaError::NothingToRefund => "nothing_to_refund".to_owned(),
            QuotaError::UnknownGrant => "unknown_grant".to_owned(),
            QuotaError::TooManyGrants => "too_many_grants".to_owned(),
            QuotaError::InsufficientGrant => "insufficient_grant".to_owned(),
            other => format!("{other:?}"),
        }
    }
}

fn ended(end: HoldEnd, amount: u64) -> String {
    let how = match end {
        HoldEnd::Committed => "committed",
        HoldEnd::CommittedLate => "late",
        HoldEnd::Released => "released",
        HoldEnd::Expired => "expired",
        HoldEnd::Open => "open",
    };
    format!("ended {how} {amount}")
}
