//! The state of a subject's limits.

use std::time::Instant;

use chrono::DateTime;
use chrono::Utc;

use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::domain::LimitState;
use crate::domain::Subject;
use crate::domain::Units;

use super::Quota;
use super::decide::states;
use super::error::QuotaError;

/// The state of a subject's limits at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Whose.
    pub subject: Subject,
    /// The plan that the limits come from.
    pub plan: String,
    /// Every limit of the plan.
    pub limits: Vec<LimitState>,
    /// When an admin last cleared counters of the subject.
    pub last_reset_at: Option<DateTime<Utc>>,
    /// When Redis looked, in Unix milliseconds.
    pub decided_at_ms: i64,
}

impl Quota {
    /// The state of every limit of the subject's plan. Writes nothing but counters that were missing in Redis.
    ///
    /// # Errors
    ///
    /// [`QuotaError::NoPlan`] when the subject has none, [`QuotaError::Unavailable`] when a store is away.
    pub async fn usage(&self, subject: &Subject) -> Result<Usage, QuotaError> {
        let remake = |at| self.resolver.everything(subject, at);
        let operation = Operation {
            kind: OperationKind::Check,
            subject: subject.clone(),
            sheet: remake(self.redis_now())?,
            event_id: uuid::Uuid::nil(),
            idempotency: None,
            model: None,
            request_id: String::new(),
            trace_id: None,
            metadata: None,
            amount: Units::ZERO,
            profile_versions: [0; Subject::LEVELS_MAX],
            deadline: Instant::now() + self.options.request_timeout,
            since_seq: None,
        };
        let (operation, outcome) = self.settle_on(Box::new(operation), remake).await?;
        let Outcome::Decided { used, reset_at_ms, now_ms, .. } = outcome else {
            return Err(QuotaError::Internal("a look ended in another's outcome".into()));
        };
        let last_reset_at =
            (reset_at_ms > 0).then(|| DateTime::from_timestamp_millis(reset_at_ms)).flatten();
        Ok(Usage {
            subject: subject.clone(),
            plan: operation.sheet.sheet.plan.clone(),
            limits: states(&operation, &used, false),
            last_reset_at,
            decided_at_ms: now_ms,
        })
    }
}
