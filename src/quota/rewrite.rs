//! What admins do to counters: reset, set and decrement. Each is an event in the same outbox as every other, and lands in
//! the audit log with it.

use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

use crate::counters::Clearing;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::counters::PackedSheet;
use crate::counters::StoredLine;
use crate::domain::Amount;
use crate::domain::Calendar;
use crate::domain::Limit;
use crate::domain::Line;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Sheet;
use crate::domain::Subject;
use crate::domain::Units;
use crate::domain::Window;

use super::Quota;
use super::actor::Actor;
use super::error::QuotaError;
use super::identity;
use super::order::ResetScope;
use super::profiles::LevelProfiles;
use super::resolve::Charge;
use super::resolve::Edition;
use super::settle::Measure;
use super::settle::Measured;
use super::usage::Usage;

/// What an admin's act did to one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// What is counted.
    pub metric: Metric,
    /// The counter's period.
    pub period: Period,
    /// The instance of the period.
    pub window: Window,
    /// Units that were added; negative when they were taken back.
    pub units: i64,
}

/// What an admin's act did, and what it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewriteReport {
    /// The event that stands in the log.
    pub event_id: Uuid,
    /// The counters that changed.
    pub counters: Vec<Rewritten>,
    /// The subject's limits afterwards.
    pub usage: Usage,
}

/// What an admin's act did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The event that stands in the log.
    pub event_id: Uuid,
    /// The counters that changed, in the order of metrics and periods.
    pub counters: Vec<Rewritten>,
}

/// Another value for the counters of a metric that is counted elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetOrder {
    /// What is counted.
    pub metric: Metric,
    /// Only the counter of this period; all when absent.
    pub period: Option<Period>,
    /// The value.
    pub count: NewCount,
}

/// How a counter gets its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewCount {
    /// This value.
    Absolute(Units),
    /// So much lower, at most to zero.
    Less(Units),
}

impl Quota {
    /// Clears the subject's own counters in their current windows: those of the scope, and lifetime counters only when the
    /// scope names them. Later charges count from zero, and no event that is still on its way brings anything back.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownMetric`], [`QuotaError::NoPlan`]; [`QuotaError::Unavailable`] when a store is away.
    pub async fn reset(
        &self,
        subject: &Subject,
        scope: ResetScope,
        actor: &Actor,
    ) -> Result<RewriteReport, QuotaError> {
        // What cannot be told afterwards is not done: `clear` is for subjects without a plan.
        self.usage(subject).await?;
        let rewrite = self.clear(subject, scope, actor).await?;
        self.report(subject, rewrite).await
    }

    /// As [`Quota::reset`], without a look at the usage afterwards: also for a subject that has no plan.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownMetric`]; [`QuotaError::Unavailable`] when a store is away.
    pub async fn clear(
        &self,
        subject: &Subject,
        scope: ResetScope,
        actor: &Actor,
    ) -> Result<Rewrite, QuotaError> {
        if scope.metric.as_ref().is_some_and(|metric| !self.has_metric(metric)) {
            return Err(QuotaError::UnknownMetric);
        }
        let operation = self.operation(OperationKind::Reset, subject, &actor.context);
        let metric = scope.metric.as_ref().map_or("", Metric::as_str);
        let payload = format!("{metric} {:?}", scope.period);
        let asked = Asked { action: "usage.reset", payload, actor };
        self.rewrite(operation, &Reset { subject, scope }, asked).await
    }

    /// Gives the counters of a metric that is counted elsewhere another value: those of all limits that the subject's own
    /// level has on it, or of one period. Counters of minutes and hours are left alone.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownMetric`], [`QuotaError::NoPlan`]; [`QuotaError::Unavailable`] when a store is away.
    pub async fn set_usage(
        &self,
        subject: &Subject,
        order: &SetOrder,
        actor: &Actor,
    ) -> Result<RewriteReport, QuotaError> {
        if !self.has_metric(&order.metric) {
            return Err(QuotaError::UnknownMetric);
        }
        let (kind, amount, action) = match order.count {
            NewCount::Absolute(units) => (OperationKind::Set, units, "usage.set"),
            NewCount::Less(units) => (OperationKind::Decrement, units, "usage.decrement"),
        };
        let operation = Operation { amount, ..self.operation(kind, subject, &actor.context) };
        let payload = format!("{} {:?} {:?}", order.metric, order.period, order.count);
        let asked = Asked { action, payload, actor };
        let rewrite = self.rewrite(operation, &SetCount { subject, order }, asked).await?;
        self.report(subject, rewrite).await
    }

    async fn rewrite(
        &self,
        operation: Operation,
        measure: &impl Measure,
        asked: Asked<'_>,
    ) -> Result<Rewrite, QuotaError> {
        let Asked { action, payload, actor } = asked;
        let at = self.counters.redis_now();
        let identity = identity::of_act(action, &operation.subject, &payload, actor, at);
        let operation = Operation {
            event_id: identity.event_id,
            idempotency: identity.idempotency,
            metadata: Some(metadata(action, actor)),
            ..operation
        };
        let settled = self.settle_on(Box::new(operation), measure).await?;
        let (event_id, lines) = match settled.outcome {
            Outcome::Rewritten { lines, .. } => (settled.operation.event_id, lines),
            Outcome::Replayed(answer) => (answer.event_id, answer.lines),
            Outcome::Mismatch => return Err(QuotaError::IdempotencyMismatch),
            _ => {
                return Err(QuotaError::Internal("an act ended in another's outcome".into()));
            }
        };
        let mut counters: Vec<Rewritten> = lines.into_iter().map(rewritten).collect();
        counters.sort_by(|a, b| (&a.metric, a.period).cmp(&(&b.metric, b.period)));
        Ok(Rewrite { event_id, counters })
    }

    async fn report(
        &self,
        subject: &Subject,
        rewrite: Rewrite,
    ) -> Result<RewriteReport, QuotaError> {
        let Rewrite { event_id, counters } = rewrite;
        Ok(RewriteReport { event_id, counters, usage: self.usage(subject).await? })
    }
}

/// What is asked of a rewrite, for what is logged and for knowing it again.
struct Asked<'a> {
    action: &'static str,
    /// Differs where what is asked does.
    payload: String,
    actor: &'a Actor,
}

/// Who did it and why, for the message log and, from there, for the audit log.
fn metadata(action: &str, actor: &Actor) -> String {
    let (name, reason) = (&actor.name, &actor.reason);
    serde_json::json!({ "action": action, "actor": name, "reason": reason }).to_string()
}

fn rewritten(line: StoredLine) -> Rewritten {
    let StoredLine { metric, period, window, units, .. } = line;
    Rewritten { metric, period, window, units }
}

/// The counters that a reset clears.
struct Reset<'a> {
    subject: &'a Subject,
    scope: ResetScope,
}

impl Measure for Reset<'_> {
    fn measure(
        &self,
        _edition: &Edition,
        profiles: &LevelProfiles,
        at: DateTime<Utc>,
    ) -> Result<Measured, QuotaError> {
        let calendar = profiles.profiles().last().map_or(Calendar::UTC, |own| own.calendar());
        let clearings = clearings(self.scope.period, at, calendar);
        let sheet =
            PackedSheet::reset(self.subject.depth(), self.scope.metric.as_ref(), &clearings);
        Ok(Measured { sheet: Arc::new(sheet), resolved: None })
    }
}

/// The windows of an instant: of one period, or of all but `lifetime`.
fn clearings(wanted: Option<Period>, at: DateTime<Utc>, calendar: Calendar) -> Vec<Clearing> {
    let is_wanted = |period: &Period| match wanted {
        Some(wanted) => *period == wanted,
        None => *period != Period::Lifetime,
    };
    let periods = || Period::ALL.into_iter().filter(is_wanted);
    let whole = periods().map(|period| {
        let window = period.window_at(at, &calendar);
        Clearing { period, sliding: false, from_s: window.start_s, window }
    });
    let sliced = periods().filter_map(|period| {
        let slices = period.slices(at)?;
        let from_s = slices.earlier_s[slices.earlier_s.len() - 1];
        Some(Clearing { period, sliding: true, from_s, window: slices.current })
    });
    whole.chain(sliced).collect()
}

/// The counters that are set or lowered.
struct SetCount<'a> {
    subject: &'a Subject,
    order: &'a SetOrder,
}

impl Measure for SetCount<'_> {
    fn measure(
        &self,
        edition: &Edition,
        profiles: &LevelProfiles,
        at: DateTime<Utc>,
    ) -> Result<Measured, QuotaError> {
        let SetOrder { metric, period, .. } = self.order;
        let charge = Charge::Metric(metric.clone());
        let resolved = edition.resolve(self.subject, profiles, charge, at)?;
        let all = &resolved.sheet.sheet;
        let depth = self.subject.depth();
        let mut lines: Vec<Line> = all
            .lines
            .iter()
            .filter(|line| line.depth == depth && is_set(line, *period))
            .cloned()
            .collect();
        if lines.is_empty() {
            let limit = Limit::new(metric.clone(), period.unwrap_or(Period::Month), None);
            let calendar = profiles.profiles().last().map_or(Calendar::UTC, |own| own.calendar());
            lines.push(Line::at(depth, limit, Amount::ONE, at, &calendar));
        }
        let rolling = all.rolling.iter().filter(|line| line.depth == depth).cloned().collect();
        let sheet = Sheet { plan: all.plan.clone(), depth, lines, rolling, ..Sheet::default() };
        Ok(Measured { sheet: Arc::new(PackedSheet::charge(sheet)), resolved: None })
    }
}

/// Whether a set reaches the counter of a line.
fn is_set(line: &Line, wanted: Option<Period>) -> bool {
    let period = line.limit.period;
    !matches!(period, Period::Minute | Period::Hour) && wanted.is_none_or(|it| it == period)
}
