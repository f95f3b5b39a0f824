//! Requests that were refused.

use uuid::Uuid;

/// Why a request was refused. The names are those of the answers' `code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DenialCode {
    /// A limit left no room.
    LimitExceeded,
    /// Only what others hold left no room.
    ReservedByOthers,
    /// A level of the subject is blocked, by an admin or by a rule.
    SubjectBlocked,
    /// The subject lacks a feature.
    FeatureNotEntitled,
    /// The subject may not use the model.
    ModelNotAllowed,
    /// The subject has no plan.
    NoPlan,
}

impl DenialCode {
    /// The name in answers and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LimitExceeded => "limit_exceeded",
            Self::ReservedByOthers => "reserved_by_others",
            Self::SubjectBlocked => "subject_blocked",
            Self::FeatureNotEntitled => "feature_not_entitled",
            Self::ModelNotAllowed => "model_not_allowed",
            Self::NoPlan => "no_plan",
        }
    }
}

/// A consume that was refused. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// An id of its own, a `UUIDv7`.
    pub denial_id: Uuid,
    /// When it was refused, in Unix milliseconds.
    pub denied_at_ms: i64,
    /// The whole path that would have been charged.
    pub subject: String,
    /// Why.
    pub code: DenialCode,
    /// The first limit that left no room.
    pub limit: Option<DeniedLimit>,
    /// What the limit counts, or the metric that was named.
    pub metric: Option<String>,
    /// The chat model that was asked for.
    pub model: Option<String>,
    /// How much was asked for, before weights.
    pub amount: u32,
    /// The plan whose limits were in force; empty when that is not known.
    pub plan: String,
    /// The request's id.
    pub request_id: String,
    /// The W3C trace id, 32 hexadecimal digits.
    pub trace_id: Option<String>,
}

/// A limit that left no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedLimit {
    /// Its name: `messages-month`.
    pub name: String,
    /// The level of the subject that it belongs to, as a path.
    pub level: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_called_as_in_answers() {
        let codes = [
            (DenialCode::LimitExceeded, "limit_exceeded"),
            (DenialCode::ReservedByOthers, "reserved_by_others"),
            (DenialCode::SubjectBlocked, "subject_blocked"),
            (DenialCode::FeatureNotEntitled, "feature_not_entitled"),
            (DenialCode::ModelNotAllowed, "model_not_allowed"),
            (DenialCode::NoPlan, "no_plan"),
        ];
        assert!(codes.into_iter().all(|(code, name)| code.as_str() == name));
    }
}
