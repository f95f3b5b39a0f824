//! Consume and check: one submission to the shard's lane, and the answer that comes of it.

use std::time::Instant;

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::counters::StoredAnswer;
use crate::counters::StoredLine;
use crate::domain::Amount;
use crate::domain::Catalogue;
use crate::domain::Decision;
use crate::domain::Limit;
use crate::domain::LimitState;
use crate::domain::Line;
use crate::domain::Metric;
use crate::domain::Mode;
use crate::domain::StoreAway;
use crate::domain::Subject;
use crate::domain::Units;
use crate::domain::limits_of;
use crate::telemetry::names;

use super::Quota;
use super::error::QuotaError;
use super::identity;
use super::order::Ask;
use super::order::Order;
use super::order::RequestContext;
use super::outcome;
use super::profiles::LevelProfiles;
use super::resolve::Edition;
use super::settle::Measure;
use super::settle::Measured;
use super::settle::Settled;

impl Measure for Order {
    fn measure(
        &self,
        edition: &Edition,
        profiles: &LevelProfiles,
        at: DateTime<Utc>,
    ) -> Result<Measured, QuotaError> {
        let resolved = edition.order(self, profiles, at)?;
        Ok(Measured { sheet: resolved.sheet.clone(), resolved: Some(resolved) })
    }
}

impl Quota {
    /// Decides and charges: every limit of every level, or none.
    ///
    /// # Errors
    ///
    /// [`QuotaError`]; a refusal is a [`Decision`]. After [`QuotaError::Unavailable`] the charge may have happened; a
    /// repetition with the same idempotency key finds out.
    pub async fn consume(&self, order: Order) -> Result<Decision, QuotaError> {
        if order.amount == Amount::ZERO {
            return self.check(order).await;
        }
        let identity = identity::of_consume(&order, self.redis_now());
        let operation = Operation {
            event_id: identity.event_id,
            idempotency: identity.idempotency,
            ..self.operation(OperationKind::Consume, &order.subject, &order.context)
        };
        let outcome = self.decide(&order, operation).await;
        self.note_denial(&order, &outcome);
        outcome
    }

    /// Decides without charging. Writes nothing but counters that were missing in Redis.
    ///
    /// # Errors
    ///
    /// As [`Quota::consume`].
    pub async fn check(&self, order: Order) -> Result<Decision, QuotaError> {
        let operation = self.operation(OperationKind::Check, &order.subject, &order.context);
        self.decide(&order, operation).await
    }

    /// Redis' time as this node believes it to be.
    pub(super) fn redis_now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.redis_now_ms()).unwrap_or_else(|| self.clock.now())
    }

    /// An operation that asks for nothing yet. Its sheet and versions are made when it is settled.
    pub(super) fn operation(
        &self,
        kind: OperationKind,
        subject: &Subject,
        context: &RequestContext,
    ) -> Operation {
        Operation {
            kind,
            subject: subject.clone(),
            sheet: self.nothing.clone(),
            event_id: Uuid::nil(),
            idempotency: None,
            model: None,
            request_id: context.request_id.clone(),
            trace_id: context.trace_id.clone(),
            metadata: None,
            amount: Units::ZERO,
            profile_versions: [0; Subject::LEVELS_MAX],
            deadline: Instant::now() + self.options.request_timeout,
            since_seq: None,
        }
    }

    async fn decide(&self, order: &Order, operation: Operation) -> Result<Decision, QuotaError> {
        let operation = Operation {
            model: order.ask.model().map(str::to_owned),
            metadata: order.metadata.clone(),
            amount: order.amount.into(),
            ..operation
        };
        let decision = match self.settle_on(Box::new(operation), order).await {
            Ok(settled) => self.answer(settled, order)?,
            Err(error) => self.degraded(order, error)?,
        };
        outcome::count(&decision);
        Ok(decision)
    }

    /// The decision; a refusal with the plan that would have let the request pass.
    fn answer(&self, settled: Settled, order: &Order) -> Result<Decision, QuotaError> {
        let edition = settled.edition.clone();
        let decision = decision_of(settled)?;
        if decision.allowed {
            return Ok(decision);
        }
        let profiles = self.profiles.of(&order.subject);
        let recommended_plan = recommended(&edition.catalogue, &profiles, order, &decision);
        Ok(Decision { recommended_plan, ..decision })
    }

    /// The answer while Redis is away: the error, unless every limit is set to let requests pass.
    fn degraded(&self, order: &Order, error: QuotaError) -> Result<Decision, QuotaError> {
        let QuotaError::Unavailable { .. } = error else { return Err(error) };
        let profiles = self.profiles.of(&order.subject);
        let measured = order.measure(&self.edition(), &profiles, self.redis_now());
        let Ok(Measured { sheet, resolved }) = measured else { return Err(error) };
        let is_open = |policy: Option<StoreAway>| {
            policy.unwrap_or(self.options.store_away) == StoreAway::Open
        };
        let lines = &sheet.sheet.lines;
        let all_open = lines.iter().all(|line| is_open(line.limit.store_away));
        if !all_open || (lines.is_empty() && !is_open(None)) {
            return Err(error);
        }
        metrics::counter!(names::DEGRADED_TOTAL).increment(1);
        tracing::warn!(
            subject = order.subject.as_str(),
            request_id = order.context.request_id,
            "allowed without a decision, because a store is away"
        );
        Ok(Decision {
            allowed: true,
            degraded: true,
            request_id: order.context.request_id.clone(),
            plan: sheet.sheet.plan.clone(),
            upgrade_url: resolved.and_then(|resolved| resolved.upgrade_url.clone()),
            decided_at_ms: self.redis_now_ms(),
            ..Decision::default()
        })
    }
}

fn decision_of(settled: Settled) -> Result<Decision, QuotaError> {
    let Settled { operation, outcome, resolved, .. } = settled;
    let upgrade_url = resolved.as_ref().and_then(|resolved| resolved.upgrade_url.clone());
    let decision = match outcome {
        Outcome::Decided { accepted, used, now_ms, .. } => {
            decided(*operation, accepted, &used, now_ms)
        }
        Outcome::Replayed(answer) => replayed(&operation, answer),
        Outcome::Mismatch => return Err(QuotaError::IdempotencyMismatch),
        Outcome::Rewritten { .. } | Outcome::Again(_) => {
            return Err(QuotaError::Internal("a consume ended in another's outcome".into()));
        }
    };
    Ok(Decision { upgrade_url, ..decision })
}

fn decided(operation: Operation, accepted: bool, used: &[Units], now_ms: i64) -> Decision {
    let is_charged = accepted && operation.kind == OperationKind::Consume;
    Decision {
        allowed: accepted,
        event_id: is_charged.then_some(operation.event_id),
        limits: states(&operation, used, !accepted),
        plan: operation.sheet.sheet.plan.clone(),
        request_id: operation.request_id,
        decided_at_ms: now_ms,
        ..Decision::default()
    }
}

/// A stored answer. When an earlier attempt at this very request stored it and its reply was lost, the caller sees it for
/// the first time.
fn replayed(operation: &Operation, answer: StoredAnswer) -> Decision {
    let subject = &operation.subject;
    let is_own = operation.since_seq.is_some() && operation.request_id == answer.request_id;
    let limits = answer.lines.into_iter().map(|line| LimitState {
        subject: subject.level(line.depth).to_owned(),
        would_deny: was_above(&line),
        metric: line.metric,
        period: line.period,
        window: line.window,
        sliding: line.sliding,
        max: line.max,
        mode: line.mode,
        warning_percent: line.warning_percent,
        critical_percent: line.critical_percent,
        used: line.used,
        reserved: Units::ZERO,
        violated: false,
    });
    Decision {
        allowed: true,
        event_id: Some(answer.event_id),
        limits: limits.collect(),
        replayed: !is_own,
        request_id: answer.request_id,
        plan: answer.plan,
        decided_at_ms: answer.now_ms,
        ..Decision::default()
    }
}

/// Whether a charge went above a limit in shadow mode.
fn was_above(line: &StoredLine) -> bool {
    line.units > 0 && line.mode == Mode::Shadow && line.max.is_some_and(|max| line.used > max)
}

/// The cheapest listed plan that would have let the request pass, when one level refused it by limits of its plan alone:
/// another plan lifts neither an override nor a cap from above.
fn recommended(
    catalogue: &Catalogue,
    profiles: &LevelProfiles,
    order: &Order,
    refused: &Decision,
) -> Option<String> {
    let violated = || refused.limits.iter().filter(|state| state.violated);
    let level = &violated().next()?.subject;
    let depth = order.subject.levels().position(|it| it == level)?;
    let levels = limits_of(catalogue, &order.subject, &profiles.profiles()).ok()?;
    let current = levels.get(depth)?.plan?;
    let is_of_plan = |state: &LimitState| {
        let limits = &catalogue.plans[current].limits;
        let is_same = |it: &&Limit| {
            it.each.is_none() && it.metric == state.metric && it.period == state.period
        };
        state.subject == *level && limits.iter().find(is_same).is_some_and(|it| it.max == state.max)
    };
    if !violated().all(is_of_plan) {
        return None;
    }
    let states: Vec<LimitState> =
        refused.limits.iter().filter(|state| state.subject == *level).cloned().collect();
    catalogue.recommend(&states, &asked(catalogue, order)?, Some(current)).map(str::to_owned)
}

/// The metrics that an order charges, each with its units.
fn asked(catalogue: &Catalogue, order: &Order) -> Option<Vec<(Metric, Amount)>> {
    match &order.ask {
        Ask::Metric(metric) => Some(vec![(metric.clone(), order.amount)]),
        Ask::Model(model) => {
            let charges = &catalogue.model(model)?.1.charges;
            let weighted = charges.iter().map(|(metric, weight)| {
                order.amount.weighted(*weight).map(|amount| (metric.clone(), amount))
            });
            weighted.collect::<Result<_, _>>().ok()
        }
        Ask::Feature(_) => None,
    }
}

/// The limits of an operation's sheet with the counts that the script answered.
pub(super) fn states(operation: &Operation, used: &[Units], is_refused: bool) -> Vec<LimitState> {
    let is_charged = !is_refused && operation.kind == OperationKind::Consume;
    let lines = operation.sheet.sheet.lines.iter().zip(used);
    lines.map(|(line, used)| state(operation, line, *used, is_refused, is_charged)).collect()
}

fn state(
    operation: &Operation,
    line: &Line,
    used: Units,
    is_refused: bool,
    is_charged: bool,
) -> LimitState {
    let (limit, amount) = (&line.limit, operation.amount);
    let after = if is_charged { used } else { used.saturating_add(line.units(amount)) };
    LimitState {
        subject: operation.subject.level(line.depth).to_owned(),
        metric: limit.metric.clone(),
        period: limit.period,
        window: line.window,
        sliding: limit.sliding,
        max: limit.max,
        mode: limit.mode,
        warning_percent: limit.warning_percent,
        critical_percent: limit.critical_percent,
        used,
        reserved: Units::ZERO,
        violated: is_refused && line.would_refuse(used, amount),
        would_deny: line.would_deny(after, amount),
    }
}
