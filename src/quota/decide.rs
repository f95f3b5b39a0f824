//! Consume and check: one submission to the shard's lane, and the answer that comes of it.

use std::sync::Arc;
use std::time::Instant;

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

use crate::counters::More;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::counters::StoredAnswer;
use crate::counters::StoredLine;
use crate::domain::Amount;
use crate::domain::Catalogue;
use crate::domain::Counts;
use crate::domain::Decision;
use crate::domain::Limit;
use crate::domain::LimitState;
use crate::domain::Line;
use crate::domain::Memo;
use crate::domain::Metric;
use crate::domain::Mode;
use crate::domain::StoreAway;
use crate::domain::Subject;
use crate::domain::Units;
use crate::domain::decision::Hold;
use crate::domain::limits_of;
use crate::telemetry::names;

use super::Quota;
use super::error::QuotaError;
use super::event_ledger::EventLedger;
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

impl<L: EventLedger> Quota<L> {
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
        let identity = identity::of_consume(&order, self.counters.redis_now());
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
            hold: None,
            refunds: None,
            profile_versions: [0; Subject::LEVELS_MAX],
            deadline: Instant::now() + self.options.request_timeout,
            since_seq: None,
            since_epoch: 0,
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
    pub(super) fn answer(&self, settled: Settled, order: &Order) -> Result<Decision, QuotaError> {
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
        let measured = order.measure(&self.edition(), &profiles, self.counters.redis_now());
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
            decided_at_ms: self.counters.redis_now_ms(),
            ..Decision::default()
        })
    }
}

fn decision_of(settled: Settled) -> Result<Decision, QuotaError> {
    let Settled { operation, outcome, resolved, .. } = settled;
    let upgrade_url = resolved.as_ref().and_then(|resolved| resolved.upgrade_url.clone());
    let decision = match outcome {
        Outcome::Decided { accepted, used, more, now_ms, .. } => {
            let memo = resolved.map(|resolved| resolved.memo.clone()).unwrap_or_default();
            decided(*operation, accepted, &Told { used, more }, now_ms, memo)
        }
        Outcome::Replayed(answer) => replayed(&operation, answer),
        Outcome::Ended(end, amount) => return Err(QuotaError::ReservationEnded { end, amount }),
        Outcome::Mismatch => return Err(QuotaError::IdempotencyMismatch),
        _ => {
            return Err(QuotaError::Internal("a consume ended in another's outcome".into()));
        }
    };
    Ok(Decision { upgrade_url, ..decision })
}

fn decided(
    operation: Operation,
    accepted: bool,
    told: &Told,
    now_ms: i64,
    memo: Arc<Memo>,
) -> Decision {
    let is_event = accepted && operation.kind != OperationKind::Check;
    Decision {
        allowed: accepted,
        event_id: is_event.then_some(operation.event_id),
        limits: states(&operation, told, !accepted),
        memo,
        degraded: false,
        replayed: false,
        hold: operation.hold.filter(|_| accepted).map(|hold| Hold {
            id: String::new(),
            amount: operation.amount,
            until_s: hold.until_s,
        }),
        free_at_s: told.more.as_ref().and_then(|more| more.free_at_s),
        room_at_s: told.more.as_ref().and_then(|more| more.room_at_s),
        plan: operation.sheet.sheet.plan.clone(),
        request_id: operation.request_id,
        upgrade_url: None,
        recommended_plan: None,
        decided_at_ms: now_ms,
    }
}

/// A stored answer. When an earlier attempt at this very request stored it and its reply was lost, the caller sees it for
/// the first time.
fn replayed(operation: &Operation, answer: StoredAnswer) -> Decision {
    let subject = &operation.subject;
    let is_own = operation.since_seq.is_some() && operation.request_id == answer.request_id;
    Decision {
        allowed: true,
        event_id: Some(answer.event_id),
        limits: stored_states(subject, answer.lines, answer.more.as_deref()),
        hold: answer.hold.map(|hold| Hold {
            id: String::new(),
            amount: hold.amount,
            until_s: hold.until_s,
        }),
        replayed: !is_own,
        request_id: answer.request_id,
        plan: answer.plan,
        decided_at_ms: answer.now_ms,
        ..Decision::default()
    }
}

/// The limits of a stored answer.
pub(super) fn stored_states(
    subject: &Subject,
    lines: Vec<StoredLine>,
    more: Option<&More>,
) -> Vec<LimitState> {
    let level = levels(subject);
    let states = lines.into_iter().enumerate().map(|(at, line)| {
        let counts = counts(line.used, more, at);
        LimitState {
            subject: level(line.depth),
            would_deny: was_above(&line, counts),
            metric: line.metric,
            period: line.period,
            window: line.window,
            sliding: line.sliding,
            max: line.max,
            mode: line.mode,
            warning_percent: line.warning_percent,
            critical_percent: line.critical_percent,
            used: counts.used,
            reserved: counts.held,
            carried: counts.carried,
            granted: counts.granted,
            violated: false,
        }
    });
    states.collect()
}

/// What the script answered of the lines of a sheet.
pub(super) struct Told {
    pub(super) used: Vec<Units>,
    pub(super) more: Option<Box<More>>,
}

/// What counts of the line at a place.
fn counts(used: Units, more: Option<&More>, at: usize) -> Counts {
    let of = |column: fn(&More) -> &Vec<Units>| {
        more.and_then(|more| column(more).get(at).copied()).unwrap_or(Units::ZERO)
    };
    Counts {
        used,
        held: of(|more| &more.held),
        carried: of(|more| &more.carried),
        granted: of(|more| &more.granted),
    }
}

/// Whether a charge went above a limit in shadow mode.
fn was_above(line: &StoredLine, counts: Counts) -> bool {
    let is_above = |max: Units| counts.taken() > max.saturating_add(counts.carried.get());
    line.units > 0 && line.mode == Mode::Shadow && line.max.is_some_and(is_above)
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
    let depth = order.subject.levels().position(|it| *it == **level)?;
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
pub(super) fn states(operation: &Operation, told: &Told, is_refused: bool) -> Vec<LimitState> {
    let is_taken = matches!(operation.kind, OperationKind::Consume | OperationKind::Reserve);
    let is_charged = !is_refused && is_taken;
    let (level, amount) = (levels(&operation.subject), operation.amount);
    let is_hold = operation.kind == OperationKind::Reserve;
    let is_violated = |line: &Line, counts, spared| {
        line.would_refuse(counts, amount, spared)
            || is_hold && line.would_hold_too_much(counts, amount, spared)
    };
    let lines = operation.sheet.sheet.lines.iter().zip(&told.used).enumerate();
    let lines = lines.map(|(at, (line, used))| (line, counts(*used, told.more.as_deref(), at)));
    let lines: Vec<(&Line, Counts)> = lines.collect();
    let state = |&(line, counts): &(&Line, Counts)| {
        let (limit, spared) = (&line.limit, spared(line, &lines, amount));
        let (taken, added) = (counts.taken(), line.units(amount).saturating_sub(spared));
        let after = if is_charged { taken } else { taken.saturating_add(added) };
        LimitState {
            subject: level(line.depth),
            metric: limit.metric.clone(),
            period: limit.period,
            window: line.window,
            sliding: limit.sliding,
            max: limit.max,
            mode: limit.mode,
            warning_percent: limit.warning_percent,
            critical_percent: limit.critical_percent,
            used: counts.used,
            reserved: counts.held,
            carried: counts.carried,
            granted: counts.granted,
            violated: is_refused && is_violated(line, counts, spared),
            would_deny: line.would_deny(counts, after, amount),
        }
    };
    lines.iter().map(state).collect()
}

/// The units that a line is spared, because they would come from grants: as many as the limit with the least room on its
/// level and metric has none for. Counts are those before the charge.
fn spared(line: &Line, lines: &[(&Line, Counts)], amount: Units) -> u64 {
    let of_group = lines.iter().filter(|(other, counts)| {
        counts.granted > Units::ZERO
            && other.depth == line.depth
            && other.limit.metric == line.limit.metric
    });
    let spared = of_group.map(|(it, counts)| it.excess(*counts, amount).min(counts.granted.get()));
    spared.max().unwrap_or(0)
}

/// The levels of a subject by their depth, as texts that limits share.
fn levels(subject: &Subject) -> impl Fn(u8) -> Arc<str> {
    let (depth, levels) = (subject.depth(), subject.levels().map(Arc::from));
    let levels: Vec<Arc<str>> = levels.collect();
    move |at| levels[usize::from(at.clamp(1, depth)) - 1].clone()
}

#[cfg(test)]
mod tests;
