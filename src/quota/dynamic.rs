//! Limits that follow usage: computed anew every day, and put as overrides.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Datelike;
use chrono::Days;
use chrono::NaiveDate;
use chrono::TimeDelta;
use chrono::Utc;

use crate::domain::Catalogue;
use crate::domain::DaysUsed;
use crate::domain::Dynamic;
use crate::domain::Limit;
use crate::domain::Profile;
use crate::domain::Subject;
use crate::domain::Units;
use crate::domain::limits_of;
use crate::ledger::Expected;
use crate::telemetry::Chain;

use super::Quota;
use super::actor::Actor;
use super::error::QuotaError;

/// Subjects that are looked at in one page.
const PAGE_ROWS_MAX: u32 = 200;
/// How long a day may still be on its way into the rollups after it has ended.
const SETTLE: TimeDelta = TimeDelta::minutes(10);

/// One limit whose `max` is computed anew.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Recomputed {
    /// Whose limit.
    pub subject: String,
    /// Its name: `messages-day`.
    pub limit: String,
    /// What was in force.
    pub from: Option<Units>,
    /// What is in force now; `None` when the override goes, and the limit is that of the plan again.
    pub to: Option<Units>,
    /// Why.
    pub reason: String,
}

/// How far a recomputation of all subjects has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecomputePlace {
    /// Among the roots that have a profile, after this one.
    Configured(String),
    /// Among the others that used one of the metrics in one of the months, counted through, after this one.
    Used(usize, String),
}

impl RecomputePlace {
    /// The beginning.
    #[must_use]
    pub const fn first() -> Self {
        Self::Configured(String::new())
    }
}

/// A recomputation: for a day, written or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recomputation {
    /// The day (UTC) whose limits are computed, from the complete days before it.
    pub day: NaiveDate,
    /// Whether nothing is written.
    pub dry_run: bool,
}

/// A root's profile with its computed limits, and what is different in it.
struct Draft {
    subject: String,
    profile: Profile,
    changes: Vec<Recomputed>,
}

impl Quota {
    /// The day whose limits are in force now: today (UTC), ten minutes after it began.
    #[must_use]
    pub fn day_to_recompute(&self) -> NaiveDate {
        let settled: Option<DateTime<Utc>> = self.counters.redis_now().checked_sub_signed(SETTLE);
        settled.unwrap_or_else(|| self.counters.redis_now()).date_naive()
    }

    /// Computes the limits of all subjects for the day, unless that was done on `done_on`; answers the last day that is done.
    /// A day is computed once: it has to wait while something from before it is not in the rollups, as after Postgres was away.
    ///
    /// # Errors
    ///
    /// As [`Quota::recompute_page`].
    pub async fn recompute_after(
        &self,
        done_on: Option<NaiveDate>,
    ) -> Result<Option<NaiveDate>, QuotaError> {
        let day = self.day_to_recompute();
        if done_on >= Some(day) {
            return Ok(done_on);
        }
        if !self.are_rolled_up_before(day).await? {
            tracing::info!(%day, "limits that follow usage wait for the rollups");
            return Ok(done_on);
        }
        self.recompute_all(day).await?;
        Ok(Some(day))
    }

    /// Computes the limits of all subjects for the day, page by page.
    ///
    /// # Errors
    ///
    /// As [`Quota::recompute_page`].
    pub async fn recompute_all(&self, day: NaiveDate) -> Result<(), QuotaError> {
        let mut next = Some(RecomputePlace::first());
        // As many pages as there are subjects for: each begins after the last subject of the one before.
        while let Some(place) = next {
            let order = Recomputation { day, dry_run: false };
            let (changes, then) = self.recompute_page(&place, order).await?;
            if !changes.is_empty() {
                tracing::info!(limits = changes.len(), %day, "limits were computed from usage");
            }
            next = then;
        }
        Ok(())
    }

    /// Computes the limits of the next 200 subjects at most, and answers what changed and where to go on; none at the end. A
    /// subject that cannot be computed is logged and left as it is, and so is one whose profile somebody else changes
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away; go on from `place`.
    pub async fn recompute_page(
        &self,
        place: &RecomputePlace,
        order: Recomputation,
    ) -> Result<(Vec<Recomputed>, Option<RecomputePlace>), QuotaError> {
        let rules = Rules::of(&self.edition().catalogue, order.day);
        let (subjects, next) = match place {
            RecomputePlace::Configured(after) => self.configured_after(after, &rules).await?,
            RecomputePlace::Used(at, after) => self.used_after(*at, after, &rules).await?,
        };
        let mut changes = Vec::new();
        for path in subjects {
            let Ok(subject) = Subject::parse(&path) else { continue };
            match self.recompute_subject(&subject, order).await {
                Ok(of_subject) => changes.extend(of_subject),
                Err(error @ QuotaError::Unavailable { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!(subject = path, error = %Chain(&error), "no limits were computed");
                }
            }
        }
        Ok((changes, next))
    }

    async fn configured_after(
        &self,
        after: &str,
        rules: &Rules,
    ) -> Result<(Vec<String>, Option<RecomputePlace>), QuotaError> {
        let all = !rules.used.is_empty();
        let rows = self.ledger.configured_roots(after, all, PAGE_ROWS_MAX).await;
        let rows = rows.map_err(QuotaError::of_ledger)?;
        let next = match rows.last() {
            Some(row) => Some(RecomputePlace::Configured(row.subject.clone())),
            None => all.then(|| RecomputePlace::Used(0, String::new())),
        };
        Ok((rows.into_iter().map(|row| row.subject).collect(), next))
    }

    async fn used_after(
        &self,
        at: usize,
        after: &str,
        rules: &Rules,
    ) -> Result<(Vec<String>, Option<RecomputePlace>), QuotaError> {
        let Some((month, metric)) = rules.used.get(at) else { return Ok((Vec::new(), None)) };
        let found = self.ledger.unconfigured_users(*month, metric, after, PAGE_ROWS_MAX).await;
        let found = found.map_err(QuotaError::of_ledger)?;
        let next = match found.last() {
            Some(last) => RecomputePlace::Used(at, last.clone()),
            None => RecomputePlace::Used(at + 1, String::new()),
        };
        Ok((found, Some(next)))
    }

    /// Computes a root's limits for the day and puts them into its profile, if they differ from what is in force; answers
    /// what changed. Nothing when they were computed for that day already, or somebody else changes the profile meanwhile.
    ///
    /// # Errors
    ///
    /// [`QuotaError::BadProfile`] and the like when the profile has no room for them; [`QuotaError::Unavailable`] when a store
    /// is away.
    pub async fn recompute_subject(
        &self,
        subject: &Subject,
        order: Recomputation,
    ) -> Result<Vec<Recomputed>, QuotaError> {
        if subject.depth() > 1 {
            return Ok(Vec::new());
        }
        let view = self.subject(subject).await?;
        let Draft { profile, changes, .. } = self.draft(subject, &view.profile, order.day).await?;
        if changes.is_empty() || order.dry_run {
            return Ok(changes);
        }
        let actor = Actor::service(reason_of(&changes));
        let put = self.put_subject(subject, profile, Expected::Version(view.version), &actor);
        match put.await {
            Ok(_) => Ok(changes),
            Err(QuotaError::Stale { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The profile as it is to be. What was computed of a plan's limit is computed of it anew.
    async fn draft(
        &self,
        subject: &Subject,
        profile: &Profile,
        day: NaiveDate,
    ) -> Result<Draft, QuotaError> {
        let edition = self.edition();
        let mut own = profile.clone();
        own.limits.retain(|limit| !limit.of_plan);
        let in_force = in_force(&edition.catalogue, subject, &own);
        let has = |limit: &Limit| own.limits.iter().any(|it| it.is_same_entry(limit));
        let may_override = in_force.iter().all(has)
            || self.may_override(&edition.catalogue, subject, &own).await?;
        let mut draft = Draft {
            subject: subject.as_str().to_owned(),
            profile: own.clone(),
            changes: Vec::new(),
        };
        for limit in in_force {
            let before = profile.limits.iter().find(|it| it.is_same_entry(&limit));
            let is_own = has(&limit);
            if is_own || may_override {
                let now = self.computed(subject, &limit, before, day).await?;
                draft.take(&limit, before, now, is_own);
            }
        }
        draft.forget(profile);
        Ok(draft)
    }

    /// Whether a limit of the root's plan may become one of its profile. The default plan is that of a path's last level
    /// alone: where levels below are charged, an override of the root would limit them, too.
    async fn may_override(
        &self,
        catalogue: &Catalogue,
        subject: &Subject,
        own: &Profile,
    ) -> Result<bool, QuotaError> {
        if own.plan.is_some() || catalogue.scope_plans.contains_key(subject.scope(1)) {
            return Ok(true);
        }
        let within = self.ledger.subjects_within(subject.as_str(), None, 2).await;
        let within = within.map_err(QuotaError::of_ledger)?;
        Ok(within.iter().all(|path| path == subject.as_str()))
    }

    /// The limit as it is computed for the day; as it was when that was done already, or before there is a complete day to go
    /// by.
    async fn computed(
        &self,
        subject: &Subject,
        limit: &Limit,
        before: Option<&Limit>,
        day: NaiveDate,
    ) -> Result<Option<Limit>, QuotaError> {
        let Some(dynamic) = limit.dynamic else { return Ok(None) };
        let is_done = |it: &&Limit| it.dynamic == limit.dynamic && it.computed_on >= Some(day);
        if let Some(Limit { max, reason, computed_on, .. }) = before.filter(is_done).cloned() {
            return Ok(Some(Limit { max, reason, computed_on, ..limit.clone() }));
        }
        let used = self.days_used(subject, limit, dynamic, day).await?;
        Ok(used.map(|used| Limit {
            max: Some(dynamic.max(limit.period, &used)),
            reason: Some(dynamic.reason(limit.period, &used)),
            computed_on: Some(day),
            ..limit.clone()
        }))
    }

    async fn days_used(
        &self,
        subject: &Subject,
        limit: &Limit,
        dynamic: Dynamic,
        day: NaiveDate,
    ) -> Result<Option<DaysUsed>, QuotaError> {
        let (path, metric) = (subject.as_str(), limit.metric.as_str());
        let Some(to) = day.pred_opt() else { return Ok(None) };
        let first = self.ledger.first_used_on(to, path, metric).await;
        let first = first.map_err(QuotaError::of_ledger)?;
        let Some(days) = first.and_then(|first| dynamic.days_of(first, to)) else {
            return Ok(None);
        };
        let from = to.checked_sub_days(Days::new(u64::from(days) - 1)).unwrap_or(to);
        let units = self.ledger.units_used(from, to, path, metric).await;
        Ok(Some(DaysUsed { units: units.map_err(QuotaError::of_ledger)?, days, to }))
    }
}

impl Draft {
    /// Takes in a computed limit: in place of the one that was there, or as a new override. One that changes nothing leaves
    /// what there was.
    fn take(&mut self, limit: &Limit, before: Option<&Limit>, now: Option<Limit>, is_own: bool) {
        let in_force = before.unwrap_or(limit);
        // Before there is anything to go by, what there is stays.
        let Some(now) = now.or_else(|| before.cloned()) else { return };
        let now = Limit { of_plan: !is_own, ..now };
        let is_changed = !is_same_rule(in_force, &now);
        if is_changed {
            self.changes.push(Recomputed {
                subject: self.subject.clone(),
                limit: limit.name(),
                from: in_force.max,
                to: now.max,
                reason: now.reason.clone().unwrap_or_default(),
            });
        }
        let Some(entry) = (if is_changed { Some(now) } else { before.cloned() }) else { return };
        self.profile.limits.retain(|it| !it.is_same_entry(&entry));
        self.profile.limits.push(entry);
    }

    /// Says which overrides go: the plan's limit is gone, does not follow usage any more, or may not be replaced.
    fn forget(&mut self, before: &Profile) {
        let now = &self.profile.limits;
        let is_gone = |limit: &&Limit| !now.iter().any(|it| it.is_same_entry(limit));
        self.changes.extend(before.limits.iter().filter(is_gone).map(|limit| Recomputed {
            subject: self.subject.clone(),
            limit: limit.name(),
            from: limit.max,
            to: None,
            reason: "the limit is that of the plan again".to_owned(),
        }));
    }
}

/// Whether two entries say the same, however they came to it.
fn is_same_rule(a: &Limit, b: &Limit) -> bool {
    let bare =
        |limit: &Limit| Limit { reason: None, computed_on: None, of_plan: false, ..limit.clone() };
    bare(a) == bare(b)
}

/// The limits of the root that follow usage; none of one without access.
fn in_force(catalogue: &Catalogue, subject: &Subject, own: &Profile) -> Vec<Limit> {
    let levels = limits_of(catalogue, subject, &[own]).unwrap_or_default();
    let limits = levels.into_iter().next().map(|level| level.limits).unwrap_or_default();
    limits.into_iter().filter(|limit| limit.dynamic.is_some()).collect()
}

/// For the audit log: all the reasons, as far as they fit.
fn reason_of(changes: &[Recomputed]) -> String {
    let mut text = String::new();
    for change in changes {
        let part = match changes {
            [_] => change.reason.clone(),
            _ => format!("{}: {}", change.limit, change.reason),
        };
        let mark = if text.is_empty() { "" } else { "; " };
        if text.len() + mark.len() + part.len() <= Actor::REASON_BYTES_MAX {
            text = text + mark + &part;
        }
    }
    text
}

/// What plans ask for: usage of which metrics in which months.
struct Rules {
    used: Vec<(NaiveDate, Arc<str>)>,
}

impl Rules {
    fn of(catalogue: &Catalogue, day: NaiveDate) -> Self {
        let limits = catalogue.plans.values().flat_map(|plan| &plan.limits);
        let metrics: BTreeSet<&str> = limits
            .filter(|limit| limit.dynamic.is_some())
            .map(|limit| limit.metric.as_str())
            .collect();
        // A subject that used nothing for as long keeps what it has.
        let months: BTreeSet<NaiveDate> = (1..=u64::from(Dynamic::DAYS_MAX))
            .filter_map(|days| day.checked_sub_days(Days::new(days))?.with_day(1))
            .collect();
        let used = metrics.into_iter().flat_map(|metric| {
            let metric: Arc<str> = metric.into();
            months.iter().map(move |month| (*month, metric.clone()))
        });
        Self { used: used.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(reason_bytes: usize) -> Recomputed {
        Recomputed {
            subject: "user:u_1".into(),
            limit: "m-day".into(),
            from: None,
            to: None,
            reason: "r".repeat(reason_bytes),
        }
    }

    /// Guards that the audit log takes what is said: a reason that fits to the byte is in it, one more byte is not.
    #[test]
    fn reasons_are_taken_as_far_as_they_fit() {
        let other = "; m-day: ".len() + 10;
        let all = Actor::REASON_BYTES_MAX - other - "m-day: ".len();

        let fits = reason_of(&[change(all), change(10)]);
        let does_not = reason_of(&[change(all), change(11), change(9)]);

        assert_eq!(fits.len(), Actor::REASON_BYTES_MAX);
        assert_eq!(does_not.len(), Actor::REASON_BYTES_MAX - 1);
        assert_eq!(reason_of(&[change(3)]), "rrr");
    }
}
