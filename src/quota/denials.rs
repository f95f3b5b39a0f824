//! Refusals on their way into Postgres: a bounded queue that a decision never waits for.

use std::sync::Mutex;
use std::sync::PoisonError;

use uuid::Uuid;

use crate::domain::Decision;
use crate::domain::Denial;
use crate::domain::DenialCode;
use crate::domain::DeniedLimit;
use crate::ledger::DenialBatch;
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
    writing: tokio::sync::Mutex<Writer>,
}

/// What this node has written.
struct Writer {
    id: Uuid,
    /// Batches that are in Postgres, or could not be stored.
    ended: u64,
    /// Refusals in the batch that was begun; 0 before it is. It stays as it is until it has ended: whether it is in Postgres is not
    /// known when the answer was lost.
    begun: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self { id: Uuid::now_v7(), ended: 0, begun: 0 }
    }
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

    /// The batch that was begun, or one of the oldest; they stay in the queue until it has ended.
    fn begin(&self, writer: &mut Writer) -> DenialBatch {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.begun == 0 {
            writer.begun = waiting.len().min(BATCH_MAX);
        }
        let denials = waiting[..writer.begun].to_vec();
        DenialBatch { writer_id: writer.id, number: writer.ended + 1, denials }
    }

    fn end(&self, writer: &mut Writer) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain(..writer.begun);
        writer.begun = 0;
        writer.ended += 1;
    }
}

impl<L: EventLedger> Quota<L> {
    /// Notes the outcome of a consume when it was refused. Waits for nothing.
    pub(super) fn note_denial(&self, order: &Order, outcome: &Result<Decision, QuotaError>) {
        if let Some(denial) = denial_of(order, outcome, self.counters.redis_now_ms()) {
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
        let mut writer = self.denials.writing.lock().await;
        // The queue cannot hold more batches than that.
        for _ in 0..=WAITING_MAX / BATCH_MAX {
            let batch = self.denials.begin(&mut writer);
            let count = batch.denials.len() as u64;
            if count == 0 {
                break;
            }
            match self.ledger.write_denials(&batch).await {
                Ok(()) => metrics::counter!(names::DENIALS_TOTAL).increment(count),
                Err(LedgerError::BadData(cause)) => {
                    tracing::error!(error = %Chain(&*cause), "refusals could not be stored");
                    metrics::counter!(names::DENIALS_DROPPED_TOTAL).increment(count);
                }
                Err(error) => return Err(QuotaError::of_ledger(error)),
            }
            self.denials.end(&mut writer);
        }
        Ok(())
    }

    /// Forgets what nodes that have ended have written last.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn drop_old_denial_writers(&self) -> Result<(), QuotaError> {
        self.ledger.drop_old_denial_writers().await.map_err(QuotaError::of_ledger)?;
        Ok(())
    }
}

/// What there is to note of a consume; nothing unless it was refused.
fn denial_of(order: &Order, outcome: &Result<Decision, QuotaError>, now_ms: i64) -> Option<Denial> {
    let code = match outcome {
        Ok(decision) if decision.allowed => return None,
        Ok(decision) if decision.free_at_s.is_some() => DenialCode::ReservedByOthers,
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
    use crate::quota::error::MissingFeature;

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
        let missing = MissingFeature { feature: "export".to_owned(), upgrade_url: None };
        let not_entitled = Err(QuotaError::FeatureNotEntitled(missing));
        let denial = denial_of(&order(), &not_entitled, 7).unwrap();
        assert_eq!(denial.code, DenialCode::FeatureNotEntitled);
    }

    #[test]
    fn a_full_queue_drops_what_comes_on_top() {
        let queue = DenialQueue::default();
        let refused = Err(QuotaError::NoPlan);
        for _ in 0..=WAITING_MAX {
            queue.push(denial_of(&order(), &refused, 7).unwrap());
        }

        assert_eq!(queue.waiting.lock().unwrap().len(), WAITING_MAX);
        let mut writer = Writer::default();
        assert_eq!(queue.begin(&mut writer).denials.len(), BATCH_MAX);
        queue.end(&mut writer);
        assert_eq!(queue.waiting.lock().unwrap().len(), WAITING_MAX - BATCH_MAX);
    }

    /// Whether it is in Postgres is not known: what is sent again has to be what was sent.
    #[test]
    fn a_batch_that_was_begun_stays_as_it_is_until_it_has_ended() {
        let (queue, mut writer) = (DenialQueue::default(), Writer::default());
        let push = || queue.push(denial_of(&order(), &Err(QuotaError::NoPlan), 7).unwrap());
        push();
        let sent = queue.begin(&mut writer);
        push();

        let again = queue.begin(&mut writer);
        queue.end(&mut writer);
        let next = queue.begin(&mut writer);

        assert_eq!((sent.number, sent.denials.len()), (1, 1));
        assert_eq!(again, sent);
        assert_eq!((next.number, next.denials.len()), (2, 1));
        assert_ne!(next.denials, sent.denials);
    }
}
