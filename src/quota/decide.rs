//! Consume and check: one submission to the shard's lane, and what has to be done when it cannot decide yet.

use std::sync::Arc;
use std::time::Instant;

use chrono::DateTime;
use chrono::Utc;

use crate::counters::Again;
use crate::counters::Fault;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::counters::PackedSheet;
use crate::counters::StoredAnswer;
use crate::domain::Decision;
use crate::domain::LimitState;
use crate::domain::StoreAway;
use crate::domain::Subject;
use crate::domain::Units;
use crate::telemetry::names;

use super::Quota;
use super::error::QuotaError;
use super::error::Store;
use super::identity;
use super::order::Order;
use super::outcome;

/// Loads, recoveries and moved windows that one request may go through.
const ROUNDS_MAX: usize = 16;

impl Quota {
    /// Decides and charges: every limit of every level, or none.
    ///
    /// # Errors
    ///
    /// [`QuotaError`]; a refusal is a [`Decision`]. After [`QuotaError::Unavailable`] the charge may have happened; a
    /// repetition with the same idempotency key finds out.
    pub async fn consume(&self, order: Order) -> Result<Decision, QuotaError> {
        if order.amount.get() == 0 {
            return self.check(order).await;
        }
        let at = self.redis_now();
        let identity = identity::of_consume(&order, at);
        let sheet = self.resolver.order(&order.subject, &order.ask, order.amount, at)?;
        let operation = Operation {
            event_id: identity.event_id,
            idempotency: identity.idempotency,
            ..self.operation(OperationKind::Consume, &order, sheet)
        };
        self.decide(&order, operation).await
    }

    /// Decides without charging. Writes nothing but counters that were missing in Redis.
    ///
    /// # Errors
    ///
    /// As [`Quota::consume`].
    pub async fn check(&self, order: Order) -> Result<Decision, QuotaError> {
        let at = self.redis_now();
        let sheet = self.resolver.order(&order.subject, &order.ask, order.amount, at)?;
        let operation = self.operation(OperationKind::Check, &order, sheet);
        self.decide(&order, operation).await
    }

    /// Redis' time as this node believes it to be.
    pub(super) fn redis_now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.redis_now_ms()).unwrap_or_else(|| self.clock.now())
    }

    fn operation(&self, kind: OperationKind, order: &Order, sheet: Arc<PackedSheet>) -> Operation {
        Operation {
            kind,
            subject: order.subject.clone(),
            sheet,
            event_id: uuid::Uuid::nil(),
            idempotency: None,
            model: order.ask.model().map(str::to_owned),
            request_id: order.context.request_id.clone(),
            trace_id: order.context.trace_id.clone(),
            metadata: order.metadata.clone(),
            profile_version: 0,
            deadline: Instant::now() + self.options.request_timeout,
            since_seq: None,
        }
    }

    async fn decide(&self, order: &Order, operation: Operation) -> Result<Decision, QuotaError> {
        let remake = |at| self.resolver.order(&order.subject, &order.ask, order.amount, at);
        let sheet = operation.sheet.clone();
        let decision = match self.settle_on(Box::new(operation), remake).await {
            Ok((operation, Outcome::Decided { accepted, used, now_ms, .. })) => {
                self.decided(*operation, accepted, &used, now_ms)
            }
            Ok((operation, Outcome::Replayed(answer))) => self.replayed(&operation, answer),
            Ok((_, Outcome::Mismatch)) => return Err(QuotaError::IdempotencyMismatch),
            Ok((_, Outcome::Cleared { .. } | Outcome::Again(_))) => {
                return Err(QuotaError::Internal("a consume ended in another's outcome".into()));
            }
            Err(error) => self.degraded(order, &sheet, error)?,
        };
        outcome::count(&decision);
        Ok(decision)
    }

    /// Submits the operation until it is decided: loads, recovers and works windows out anew in between. The bound is
    /// the operation's deadline and [`ROUNDS_MAX`].
    pub(super) async fn settle_on(
        &self,
        mut operation: Box<Operation>,
        remake: impl Fn(DateTime<Utc>) -> Result<Arc<PackedSheet>, QuotaError>,
    ) -> Result<(Box<Operation>, Outcome), QuotaError> {
        for _ in 0..ROUNDS_MAX {
            let submitted = self.counters.submit(operation).await;
            let (back, outcome) = submitted.map_err(QuotaError::of_counters)?;
            operation = back;
            let again = match outcome.map_err(QuotaError::of_counters)? {
                Outcome::Again(again) => again,
                outcome => return Ok((operation, outcome)),
            };
            self.prepare(&mut operation, again, &remake).await?;
            if Instant::now() >= operation.deadline {
                break;
            }
        }
        Err(QuotaError::away(Store::Redis))
    }

    /// Does what has to be done before the operation can be decided.
    async fn prepare(
        &self,
        operation: &mut Operation,
        again: Again,
        remake: &impl Fn(DateTime<Utc>) -> Result<Arc<PackedSheet>, QuotaError>,
    ) -> Result<(), QuotaError> {
        let shard = operation.subject.shard(self.shard_count());
        match again {
            Again::Load => match self.loads.load(operation, shard).await? {
                Some(fault) => self.recover_in_time(shard, fault, operation.deadline).await,
                None => Ok(()),
            },
            Again::Recover(fault) => self.recover_in_time(shard, fault, operation.deadline).await,
            Again::Stale | Again::WrongWindow(_) => {
                if let Again::WrongWindow(now_ms) = again {
                    self.counters.set_clock_delta_ms(now_ms - self.clock.now_ms());
                }
                operation.sheet = remake(self.redis_now())?;
                Ok(())
            }
        }
    }

    /// Waits for a recovery, at most until the deadline; the recovery goes on without the request.
    async fn recover_in_time(
        &self,
        shard: u16,
        fault: Fault,
        deadline: Instant,
    ) -> Result<(), QuotaError> {
        let recovered = tokio::time::timeout_at(deadline.into(), self.recover(shard, fault)).await;
        recovered.unwrap_or_else(|_| Err(QuotaError::away(Store::Redis)))
    }

    fn decided(
        &self,
        operation: Operation,
        accepted: bool,
        used: &[Units],
        now_ms: i64,
    ) -> Decision {
        let is_charged = accepted && operation.kind == OperationKind::Consume;
        let limits = states(&operation, used, !accepted);
        self.decision(
            &operation.subject,
            Decision {
                allowed: accepted,
                event_id: is_charged.then_some(operation.event_id),
                limits,
                request_id: operation.request_id,
                plan: operation.sheet.sheet.plan.clone(),
                decided_at_ms: now_ms,
                ..Decision::default()
            },
        )
    }

    /// A stored answer. When an earlier attempt at this very request stored it and its reply was lost, the caller sees it
    /// for the first time.
    fn replayed(&self, operation: &Operation, answer: StoredAnswer) -> Decision {
        let subject = &operation.subject;
        let is_own = operation.since_seq.is_some() && operation.request_id == answer.request_id;
        let limits = answer.lines.into_iter().map(|line| LimitState {
            subject: subject.level(line.depth).to_owned(),
            metric: line.metric,
            period: line.period,
            window: line.window,
            max: line.max,
            mode: line.mode,
            used: line.used,
            reserved: Units::ZERO,
            violated: false,
        });
        self.decision(
            subject,
            Decision {
                allowed: true,
                event_id: Some(answer.event_id),
                limits: limits.collect(),
                replayed: !is_own,
                request_id: answer.request_id,
                plan: answer.plan,
                decided_at_ms: answer.now_ms,
                ..Decision::default()
            },
        )
    }

    /// The answer while Redis is away: the error, unless every limit is set to let requests pass.
    fn degraded(
        &self,
        order: &Order,
        sheet: &PackedSheet,
        error: QuotaError,
    ) -> Result<Decision, QuotaError> {
        let QuotaError::Unavailable { .. } = error else { return Err(error) };
        let sheet = &sheet.sheet;
        let is_open = |policy: Option<StoreAway>| {
            policy.unwrap_or(self.options.store_away) == StoreAway::Open
        };
        if !sheet.lines.iter().all(|line| is_open(line.limit.store_away)) {
            return Err(error);
        }
        metrics::counter!(names::DEGRADED_TOTAL).increment(1);
        tracing::warn!(
            subject = order.subject.as_str(),
            request_id = order.context.request_id,
            "allowed without a decision, because a store is away"
        );
        Ok(self.decision(
            &order.subject,
            Decision {
                allowed: true,
                degraded: true,
                request_id: order.context.request_id.clone(),
                plan: sheet.plan.clone(),
                decided_at_ms: self.redis_now_ms(),
                ..Decision::default()
            },
        ))
    }

    /// Adds where the subject can get more.
    fn decision(&self, subject: &Subject, decision: Decision) -> Decision {
        let plan = self.resolver.plan(subject.is_anonymous());
        let upgrade_url = plan.ok().and_then(|(_, plan)| plan.upgrade_url.clone());
        Decision { upgrade_url, ..decision }
    }
}

/// The limits of an operation's sheet with the counts that the script answered.
pub(super) fn states(operation: &Operation, used: &[Units], is_refused: bool) -> Vec<LimitState> {
    let lines = operation.sheet.sheet.lines.iter().zip(used);
    lines
        .map(|(line, used)| LimitState {
            subject: operation.subject.level(line.depth).to_owned(),
            metric: line.limit.metric.clone(),
            period: line.limit.period,
            window: line.window,
            max: line.limit.max,
            mode: line.limit.mode,
            used: *used,
            reserved: Units::ZERO,
            violated: is_refused && line.would_refuse(*used),
        })
        .collect()
}
