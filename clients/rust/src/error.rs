//! Why a request is not answered with what was asked for.

use http::HeaderMap;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::answers::Decision;

/// Why a request is not answered with what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// 429: a limit leaves no room. Nothing was charged.
    #[error("{0}")]
    QuotaExceeded(Box<Problem>),
    /// The service refuses for another reason, which is in the problem's status and code.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// No answer, or a 503, after every retry. What was asked may have been done: sent again with the same key, it is
    /// done once.
    #[error("headroom gives no answer: {reason}")]
    Unavailable {
        /// What the last attempt came to.
        reason: String,
        /// The key that all attempts had.
        idempotency_key: Option<String>,
    },
    /// A success whose body is not the service's.
    #[error("this is not answered by headroom: {0}")]
    Unreadable(#[source] serde_json::Error),
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
}

impl Error {
    /// What the service said, when it did.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::QuotaExceeded(problem) | Self::Refused(problem) => Some(problem),
            Self::Unavailable { .. } | Self::Unreadable(_) | Self::Settings(_) => None,
        }
    }
}

/// The service's own words: `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, Default)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// For programs: `limit_exceeded`, `model_not_allowed`, …; empty when the answer was no problem of the service.
    pub code: String,
    /// What is wrong with this request, for people.
    pub detail: String,
    /// The id of the request, as in the service's log.
    pub request_id: String,
    /// Names of the limits that leave no room.
    pub violated_policies: Vec<String>,
    /// Where the subject can get more.
    pub upgrade_url: Option<String>,
    /// In a refused decision: every limit that the request was measured against.
    pub decision: Option<Decision>,
    /// `RateLimit`, `RateLimit-Policy` and `Retry-After`, as far as they were sent.
    pub headers: HeaderMap,
    /// The body as it came, to be passed on.
    pub body: Value,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, code, detail, request_id, .. } = self;
        write!(out, "{} {code}: {detail} (request {request_id})", status.as_u16())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    code: String,
    detail: String,
    request_id: String,
    #[serde(rename = "violated-policies")]
    violated_policies: Vec<String>,
    upgrade_url: Option<String>,
}

impl Problem {
    /// Reads any answer that is no success, also one of something between here and the service.
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap, bytes: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let fields: Fields = serde_json::from_value(body.clone()).unwrap_or_default();
        let decision = serde_json::from_value::<Decision>(body.clone()).ok();
        Self {
            status,
            code: fields.code,
            detail: fields.detail,
            request_id: fields.request_id,
            violated_policies: fields.violated_policies,
            upgrade_url: fields.upgrade_url,
            decision: decision.map(|decision| decision.with(headers)),
            headers: Decision::default().with(headers).headers,
            body,
        }
    }
}
