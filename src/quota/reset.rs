//! The admin's reset: an event with negative deltas, in the same outbox as every other.

use std::sync::Arc;
use std::time::Instant;

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

use crate::counters::Clearing;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::counters::PackedSheet;
use crate::domain::Calendar;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Subject;
use crate::domain::Units;
use crate::domain::Window;

use super::Quota;
use super::error::QuotaError;
use super::order::RequestContext;
use super::order::ResetScope;
use super::usage::Usage;

/// One counter that a reset cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// What was counted.
    pub metric: Metric,
    /// The counter's period.
    pub period: Period,
    /// The instance of the period.
    pub window: Window,
    /// Units that were taken back.
    pub units: u64,
}

/// What a reset did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetReport {
    /// The event that stands in the log.
    pub event_id: Uuid,
    /// The counters that were above zero.
    pub cleared: Vec<Cleared>,
    /// The subject's limits afterwards.
    pub usage: Usage,
}

impl Quota {
    /// Clears the subject's counters in their current windows: those of the scope, and lifetime counters only when the
    /// scope names them. Later charges count from zero, and no event that is still on its way brings anything back.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownMetric`], [`QuotaError::NoPlan`]; [`QuotaError::Unavailable`] when a store is away.
    pub async fn reset(
        &self,
        subject: &Subject,
        scope: ResetScope,
        context: RequestContext,
    ) -> Result<ResetReport, QuotaError> {
        if let Some(metric) = &scope.metric
            && !self.resolver.has_metric(metric)
        {
            return Err(QuotaError::UnknownMetric);
        }
        let remake = |at| Ok(Arc::new(sheet(subject, &scope, at)));
        let operation = Operation {
            kind: OperationKind::Reset,
            subject: subject.clone(),
            sheet: remake(self.redis_now())?,
            event_id: context.made_id.unwrap_or_else(Uuid::now_v7),
            idempotency: None,
            model: None,
            request_id: context.request_id,
            trace_id: context.trace_id,
            metadata: None,
            amount: Units::ZERO,
            profile_versions: [0; Subject::LEVELS_MAX],
            deadline: Instant::now() + self.options.request_timeout,
            since_seq: None,
        };
        let (operation, outcome) = self.settle_on(Box::new(operation), remake).await?;
        let Outcome::Rewritten { lines, .. } = outcome else {
            return Err(QuotaError::Internal("a reset ended in another's outcome".into()));
        };
        let mut cleared: Vec<Cleared> = lines
            .into_iter()
            .map(|line| Cleared {
                metric: line.metric,
                period: line.period,
                window: line.window,
                units: line.units.unsigned_abs(),
            })
            .collect();
        cleared.sort_by(|a, b| (&a.metric, a.period).cmp(&(&b.metric, b.period)));
        let usage = self.usage(subject).await?;
        Ok(ResetReport { event_id: operation.event_id, cleared, usage })
    }
}

/// What a reset clears, in the windows of an instant.
fn sheet(subject: &Subject, scope: &ResetScope, at: DateTime<Utc>) -> PackedSheet {
    let is_wanted = |period: &Period| match scope.period {
        Some(wanted) => *period == wanted,
        None => *period != Period::Lifetime,
    };
    let periods = || Period::ALL.into_iter().filter(is_wanted);
    let whole = periods().map(|period| {
        let window = period.window_at(at, &Calendar::UTC);
        Clearing { period, sliding: false, from_s: window.start_s, window }
    });
    let sliced = periods().filter_map(|period| {
        let slices = period.slices(at)?;
        let from_s = slices.earlier_s[slices.earlier_s.len() - 1];
        Some(Clearing { period, sliding: true, from_s, window: slices.current })
    });
    let clearings: Vec<Clearing> = whole.chain(sliced).collect();
    PackedSheet::reset(subject.depth(), scope.metric.as_ref(), &clearings)
}
