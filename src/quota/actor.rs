//! Who does an admin's act, and why.

use crate::ledger::Act;
use crate::ledger::Action;
use crate::ledger::AuditFilter;
use crate::ledger::AuditRow;
use crate::ledger::IncidentRow;

use super::Quota;
use super::error::QuotaError;
use super::order::RequestContext;

/// Who does an admin's act, and why. Kept in the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The id of an API key, or `cli`; 1–200 bytes.
    pub name: String,
    /// Why, in the actor's words; at most [`Actor::REASON_BYTES_MAX`] bytes.
    pub reason: Option<String>,
    /// Makes a repetition of an act on counters known: the caller's idempotency key, 1–255 bytes, unquoted.
    pub idempotency_key: Option<String>,
    /// The request that asks for it; the default outside a request.
    pub context: RequestContext,
}

impl Actor {
    /// The longest reason, in bytes.
    pub const REASON_BYTES_MAX: usize = 500;

    /// Whoever runs a command.
    #[must_use]
    pub fn command_line(reason: Option<String>) -> Self {
        let (name, context) = ("cli".to_owned(), RequestContext::default());
        Self { name, reason, idempotency_key: None, context }
    }

    /// The service itself, which changes what follows from usage.
    pub(super) fn service(reason: String) -> Self {
        let (name, context) = ("headroom".to_owned(), RequestContext::default());
        Self { name, reason: Some(reason), idempotency_key: None, context }
    }

    pub(super) fn act<'a>(&'a self, action: Action, target: &'a str) -> Act<'a> {
        let request_id = Some(self.context.request_id.as_str()).filter(|id| !id.is_empty());
        Act { actor: &self.name, action, target, reason: self.reason.as_deref(), request_id }
    }
}

/// Incidents of one answer.
const INCIDENTS_MAX: u32 = 100;

impl Quota {
    /// The latest 100 recoveries, the newest first.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn incidents(&self) -> Result<Vec<IncidentRow>, QuotaError> {
        self.ledger.incidents(INCIDENTS_MAX).await.map_err(QuotaError::of_ledger)
    }

    /// Acts of admins, newest first, at most `acts_max` and at most 1,000.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn audit(
        &self,
        filter: AuditFilter<'_>,
        acts_max: u32,
    ) -> Result<Vec<AuditRow>, QuotaError> {
        self.ledger.audit_page(filter, acts_max).await.map_err(QuotaError::of_ledger)
    }
}
