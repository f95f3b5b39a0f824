//! Which subjects there are at and below one, and what a reset of them would clear.

use crate::domain::Calendar;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Profile;
use crate::domain::Subject;
use crate::domain::Window;
use crate::ledger::Base;
use crate::ledger::Counter;

use super::Quota;
use super::error::QuotaError;
use super::order::ResetScope;
use super::rewrite::Rewritten;

impl Quota {
    /// The paths of `prefix` and of all that lies below it that have a counter or a profile or had one: those after `after`
    /// in the order of bytes, at most `subjects_max` and at most 1,000. The next page is the one after the last path of this
    /// one. What is still in the outbox, and subjects that were only ever counted by the minute or hour, are not known
    /// here.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn subjects_within(
        &self,
        prefix: &Subject,
        after: Option<&str>,
        subjects_max: u32,
    ) -> Result<Vec<String>, QuotaError> {
        let found = self.ledger.subjects_within(prefix.as_str(), after, subjects_max).await;
        found.map_err(QuotaError::of_ledger)
    }

    /// The counters that [`Quota::clear`] would clear now, with the units that it would take off; nothing is written. As
    /// Postgres has them, so what is still in the outbox is not counted, nor are minutes and hours.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownMetric`]; [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn would_clear(
        &self,
        subject: &Subject,
        scope: &ResetScope,
    ) -> Result<Vec<Rewritten>, QuotaError> {
        if scope.metric.as_ref().is_some_and(|metric| !self.has_metric(metric)) {
            return Err(QuotaError::UnknownMetric);
        }
        let (shard, now) = (subject.shard(self.shard_count()), self.counters.redis_now());
        let ended_after = now - Window::ENDS_APART_MAX;
        let base = self.ledger.base(shard, &[subject.as_str()], ended_after).await;
        let base = base.map_err(QuotaError::of_ledger)?;
        let calendar = calendar(&base)?;
        let counters = base.counters.iter().filter_map(rewritten);
        let is_cleared = |it: &Rewritten| {
            it.units < 0
                && scope.metric.as_ref().is_none_or(|metric| *metric == it.metric)
                && scope.period.map_or(it.period != Period::Lifetime, |wanted| wanted == it.period)
                && it.window.start_s == it.period.window_at(now, &calendar).start_s
        };
        let mut counters: Vec<Rewritten> = counters.filter(is_cleared).collect();
        counters.sort_by(|a, b| (&a.metric, a.period).cmp(&(&b.metric, b.period)));
        Ok(counters)
    }
}

/// The calendar of the one subject that was asked for.
fn calendar(base: &Base) -> Result<Calendar, QuotaError> {
    let Some(row) = base.profiles.first() else { return Ok(Calendar::UTC) };
    let profile = Profile::parse_stored(&row.profile);
    Ok(profile.map_err(|error| QuotaError::Internal(error.into()))?.calendar())
}

/// A counter as a reset would report it; `None` for one that this version cannot name.
fn rewritten(counter: &Counter) -> Option<Rewritten> {
    let window = Window { start_s: counter.window_start_s, end_s: counter.window_end_s };
    Some(Rewritten {
        metric: Metric::new(&counter.metric).ok()?,
        period: Period::named(&counter.period)?,
        window,
        units: counter.used.checked_neg()?,
    })
}
