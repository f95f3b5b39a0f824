//! Refusals on their way into Postgres: a bounded queue that a decision never waits for.

use std::sync::Mutex;
use std::sync::PoisonError;

use uuid::Uuid;

use crate::domain::Decision;
use crate::domain::Denial;
use crate::domain::DenialCode;
use crate::domain::DeniedLimit;
use crate::ledger::LedgerError;
use crate::telemetry::Chain;
use crate::telemetry::names;

use super::Quota;
use super::error::QuotaError;
use super::event_ledger::EventLedger;
use super::order::Ask;
use super::order::Order;

/// Refusals that wait at most; what comes on top is dropped and counted.
const WAITING_MAX: usize = 16_384;
/// Refusals written at once.
const BATCH_MAX: usize = 4_096;

/// Refusals that are not yet in Postgres.
#[derive(Default)]
pub(super) struct DenialQueue {
    waiting: Mutex<Vec<Denial>>,
    /// Held by whoever writes, so that who waits for it knows that all before is written.
    writing: tokio::sync::Mutex<()>,
}

impl DenialQueue {
    fn push(&self, denial: Denial) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX {
            waiting.push(denial);
        } else {
            metrics::counter!(names::DENIALS_DROPPED_TOTAL).increment(1);
        }
    }

    /// The oldest, which stay in the queue until they are taken off.
    fn oldest(&self) -> Vec<Denial> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting[..waiting.len().min(BATCH_MAX)].to_vec()
    }

    fn take_off(&self, count: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain(..count);
    }
}

impl<L: EventLedger> Quota<L> {
    /// Notes the outcome of a consume when it was refused. Waits for nothing.
    pub(super) fn note_denial(&self, order: &Order, outcome: &Result<Decision, QuotaError>) {
        if let Some(denial) = denial_of(order, outcome, self.redis_now_ms()) {
            self.denials.push(denial);
        }
    }
}

impl Quota {
    /// Writes the refusals that wait, so that those noted before the call are in Postgres or lost when it returns.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away: they go on waiting.
    pub async fn write_denials(&self) -> Result<(), QuotaError> {
        let _writing = self.denials.writing.lock().await;
        // The queue cannot hold more batches than that.
        for _ in 0..=WAITING_MAX / BATCH_MAX {
            let batch = self.denials.oldest();
            if batch.is_empty() {
                break;
            }
            match self.ledger.write_denials(&batch).await {
                Ok(()) => metrics::counter!(names::DENIALS_TOTAL).increment(batch.len() as u64),
                Err(LedgerError::BadData(cause)) => {
                    tracing::error!(error = %Chain(&*cause), "refusals could not be stored");
                    metrics::counter!(names::DENIALS_DROPPED_TOTAL).increment(batch.len() as u64);
                }
                Err(error) => return Err(QuotaError::of_ledger(error)),
            }
            self.denials.take_off(batch.len());
        }
        Ok(())
    }
}

/// What there is to note of a consume; nothing unless it was refused.
fn denial_of(order: &Order, outcome: &Result<Decision, QuotaError>, now_ms: i64) -> Option<Denial> {
    let code = match outcome {
        Ok(decision) if decision.allowed => return None,
        Ok(_) => DenialCode::LimitExceeded,
        Err(error) => code_of(error)?,
    };
    let decision = outcome.as_ref().ok();
    let violated = decision.and_then(|it| it.limits.iter().find(|state| state.violated));
    let named = match &order.ask {
        Ask::Metric(metric) => Some(metric),
        Ask::Model(_) | Ask::Feature(_) => None,
    };
    Some(Denial {
        denial_id: order.context.made_id.unwrap_or_else(Uuid::now_v7),
        denied_at_ms: decision.map_or(now_ms, |it| it.decided_at_ms),
        subject: order.subject.as_str().to_owned(),
        code,
        limit: violated
            .map(|state| DeniedLimit { name: state.name(), level: state.subject.to_string() }),
        metric: violated.map(|state| &state.metric).or(named).map(ToString::to_string),
        model: order.ask.model().map(str::to_owned),
        amount: order.amount.get(),
        plan: decision.map(|it| it.plan.clone()).unwrap_or_default(),
        request_id: order.context.request_id.clone(),
        trace_id: order.context.trace_id.clone(),
    })
}

/// The code of a refusal by catalogue or profile; no other error is one.
const fn code_of(error: &QuotaError) -> Option<DenialCode> {
    match error {
        QuotaError::Blocked(_) | QuotaError::Restrained { .. } => Some(DenialCode::SubjectBlocked),
        QuotaError::FeatureNotEntitled(_) => Some(DenialCode::FeatureNotEntitled),
        QuotaError::ModelNotAllowed | QuotaError::AnonymousModel => {
            Some(DenialCode::ModelNotAllowed)
        }
        QuotaError::NoPlan => Some(DenialCode::NoPlan),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Amount;
    use crate::domain::Metric;
    use crate::domain::Subject;
    use crate::quota::RequestContext;

    fn order() -> Order {
        Order {
            subject: Subject::parse("user:u_1").unwrap(),
            ask: Ask::Metric(Metric::new("messages").unwrap()),
            amount: Amount::ONE,
            metadata: None,
            idempotency_key: None,
            context: RequestContext::default(),
        }
    }

    #[test]
    fn what_is_no_refusal_is_not_noted() {
        let allowed = Ok(Decision { allowed: true, ..Decision::default() });
        assert_eq!(denial_of(&order(), &allowed, 7), None);
        assert_eq!(denial_of(&order(), &Err(QuotaError::Overloaded), 7), None);
        let blocked = Err(QuotaError::Blocked("user:u_1".to_owned()));
        let denial = denial_of(&order(), &blocked, 7).unwrap();
        assert_eq!((denial.code, denial.denied_at_ms), (DenialCode::SubjectBlocked, 7));
        assert_eq!((denial.metric.as_deref(), denial.limit), (Some("messages"), None));
    }

    #[test]
    fn a_full_queue_drops_what_comes_on_top() {
        let queue = DenialQueue::default();
        let refused = Err(QuotaError::NoPlan);
        for _ in 0..=WAITING_MAX {
            queue.push(denial_of(&order(), &refused, 7).unwrap());
        }

        assert_eq!(queue.waiting.lock().unwrap().len(), WAITING_MAX);
        assert_eq!(queue.oldest().len(), BATCH_MAX);
        queue.take_off(BATCH_MAX);
        assert_eq!(queue.waiting.lock().unwrap().len(), WAITING_MAX - BATCH_MAX);
    }
}
