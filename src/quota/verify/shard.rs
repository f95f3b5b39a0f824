//! The checks of one shard.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::counters::Field;
use crate::counters::SubjectState;
use crate::domain::Catalogue;
use crate::domain::Event;
use crate::domain::EventKind;
use crate::domain::Mode;
use crate::domain::Subject;
use crate::domain::Tally;
use crate::domain::limits_of;

use super::Progress;
use crate::quota::Quota;
use crate::quota::error::QuotaError;
use crate::quota::picture::Compared;
use crate::quota::picture::CounterKey;
use crate::quota::picture::Picture;

/// Subjects compared at once.
const SUBJECTS_MAX: usize = 1_000;
/// The checker reads all that is pending.
const ENTRIES_MAX: u32 = u32::MAX;
/// Keys that a step of a scan looks at.
const SCAN_KEYS: u32 = 500;

impl Quota {
    pub(super) async fn verify_shard(
        &self,
        shard: u16,
        progress: &mut Progress,
    ) -> Result<(), QuotaError> {
        let picture = self.picture(shard, &[], ENTRIES_MAX).await?;
        check_outbox(&picture, progress);
        let mut cursor = 0;
        let mut seen = BTreeSet::new();
        loop {
            let page = self.counters.scan_subjects(shard, cursor, SCAN_KEYS).await;
            let (next, paths) = page.map_err(QuotaError::of_counters)?;
            // A scan may name a key twice.
            let paths: Vec<String> =
                paths.into_iter().filter(|path| seen.insert(path.clone())).collect();
            for group in paths.chunks(SUBJECTS_MAX) {
                let picture = self.picture(shard, group, ENTRIES_MAX).await?;
                self.check_subjects(&picture, progress).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn check_subjects(
        &self,
        picture: &Picture,
        progress: &mut Progress,
    ) -> Result<(), QuotaError> {
        let expected = picture.expected_counters();
        for state in &picture.states {
            let epoch = picture.page.epoch.unwrap_or(0);
            progress.i6.expect(state.epoch <= epoch, || {
                format!("{} is of epoch {}, the shard of {epoch}", state.path, state.epoch)
            });
            if state.epoch == epoch {
                progress.loaded += 1;
                self.check_counters(state, &expected, picture, progress).await?;
            }
        }
        Ok(())
    }

    async fn check_counters(
        &self,
        state: &SubjectState,
        expected: &BTreeMap<CounterKey, i64>,
        picture: &Picture,
        progress: &mut Progress,
    ) -> Result<(), QuotaError> {
        for Compared { field, redis, postgres } in picture.compared(state, expected) {
            let describe = || {
                let Field { metric, period, .. } = field;
                format!("{} {metric} {} ({field})", state.path, period.as_str())
            };
            let differ =
                || format!("{}: redis {redis}, postgres and outbox {postgres}", describe());
            progress.i2.expect(redis == postgres, differ);
            let is_use = field.grant.is_none() && field.tally == Tally::Used;
            // A reset takes off what Redis may lose afterwards, and then what is used is below zero by as much.
            progress.i3.expect(redis >= 0 || is_use, || format!("{}: {redis}", describe()));
            if is_use {
                let carried = Field { tally: Tally::Carried, ..field.clone() };
                let carried = state.counters.iter().find(|(known, _)| *known == carried);
                let used = redis - carried.map_or(0, |(_, units)| *units);
                let key = (state.path.clone(), field.clone());
                let above = self.excess(picture, &key, used).await?;
                let depth = u8::try_from(state.path.split('/').count()).unwrap_or(u8::MAX);
                let line = (depth, field.metric.clone(), field.period.as_str());
                let below = u64::try_from(redis.saturating_neg()).unwrap_or(0);
                *progress.excess.entry(line).or_default() += above + below;
            }
        }
        Ok(())
    }

    /// Units above the hard limit of a level whose limits are those that it always had: of a subject without a profile,
    /// by the first edition of the catalogue, whose counters no admin set and no commit passed. Elsewhere a limit may have
    /// been lowered below what is used, or what is used set above a limit.
    async fn excess(
        &self,
        picture: &Picture,
        key: &CounterKey,
        used: i64,
    ) -> Result<u64, QuotaError> {
        let units = above_limit(&self.edition().catalogue, key, used);
        let is_configured = picture.base.profiles.iter().any(|it| it.subject == key.0);
        let is_pending = |event: &Event| {
            (event.kind == EventKind::Set || event.deltas.overage)
                && event.levels().any(|level| level == key.0)
        };
        if units == 0
            || is_configured
            || self.edition().version > 1
            || picture.events().any(is_pending)
        {
            return Ok(0);
        }
        let since = chrono::DateTime::from_timestamp(key.1.at_s, 0).unwrap_or_default();
        let was_set = self.ledger.was_set(&key.0, since).await.map_err(QuotaError::of_ledger)?;
        Ok(if was_set { 0 } else { units })
    }
}

/// Units above the hard limit that a plan of the catalogue sets on the counter; 0 where it sets none.
fn above_limit(catalogue: &Catalogue, key: &CounterKey, used: i64) -> u64 {
    let Ok(subject) = Subject::parse(&key.0) else { return 0 };
    let levels = limits_of(catalogue, &subject, &[]);
    let Ok(Some(level)) = levels.map(|mut levels| levels.pop()) else { return 0 };
    let limit = level.limits.iter().find(|limit| {
        limit.metric.as_str() == key.1.metric
            && limit.period == key.1.period
            && limit.mode == Mode::Hard
    });
    let max = limit.and_then(|limit| limit.max).map_or(u64::MAX, crate::domain::Units::get);
    u64::try_from(used).unwrap_or(0).saturating_sub(max)
}

fn check_outbox(picture: &Picture, progress: &mut Progress) {
    let Picture { base, page, .. } = picture;
    let epoch = page.epoch.unwrap_or(0);
    progress.i6.expect(epoch == base.epoch, || {
        format!("redis is at epoch {epoch}, postgres at {}", base.epoch)
    });
    progress.i4.expect(page.floor <= base.seq, || {
        format!("trimmed up to {}, the cursor is at {}", page.floor, base.seq)
    });
    let mut last = base.seq;
    for entry in &page.entries {
        let first = entry.first_seq().unwrap_or(last + 1);
        progress.i5.expect(first == last + 1, || format!("event {first} follows {last}"));
        last = entry.last_seq;
    }
    progress.i5.expect(last == page.seq, || {
        format!("the outbox ends at {last}, the shard at {}", page.seq)
    });
    progress.pending += page.seq.saturating_sub(base.seq);
}

#[cfg(test)]
mod tests {
    use crate::counters::Entry;
    use crate::counters::OutboxPage;
    use crate::counters::Undecodable;
    use crate::domain::Period;
    use crate::ledger::Base;
    use crate::quota::samples;

    use super::*;

    /// The invariants that break where the cursor is at 5 of epoch 2, and how many events wait.
    fn broken(change: fn(&mut OutboxPage)) -> (Vec<&'static str>, u64) {
        let undecodable = Undecodable { raw: Vec::new(), reason: String::new() };
        let entry =
            |last_seq, events| Entry { epoch: 2, last_seq, written_at_ms: 0, events, bytes: 0 };
        let entries = vec![entry(7, Err(undecodable.clone())), entry(9, Err(undecodable))];
        let (counters, held, grants, profiles) = (vec![], vec![], vec![], vec![]);
        let mut picture = Picture {
            base: Base { epoch: 2, seq: 5, counters, held, grants, profile_version: 0, profiles },
            states: Vec::new(),
            page: samples::page(2, 5, 9, entries),
            now_s: 0,
        };
        change(&mut picture.page);
        let mut progress = Progress { pending: 2, ..Progress::new() };
        check_outbox(&picture, &mut progress);
        let checks = [&progress.i4, &progress.i5, &progress.i6];
        let broken = checks.iter().filter(|check| check.broken > 0).map(|check| check.name);
        (broken.collect(), progress.pending)
    }

    /// Guards the guard: what breaks I4, I5 and I6 is told, and nothing else is. What cannot be decoded has all places up to its own.
    #[test]
    fn what_is_wrong_with_an_outbox_is_told_by_its_invariant() {
        assert_eq!(broken(|_| {}), (vec![], 6));
        assert_eq!(broken(|page| page.floor = 6), (vec!["I4"], 6));
        assert_eq!(broken(|page| page.seq = 10), (vec!["I5"], 7));
        assert_eq!(broken(|page| page.entries.clear()), (vec!["I5"], 6));
        assert_eq!(broken(|page| page.entries[0].events = Ok(Vec::new())).0, ["I5"; 0]);
        assert_eq!(broken(|page| page.epoch = Some(3)), (vec!["I6"], 6));
        assert_eq!(broken(|page| page.epoch = None), (vec!["I6"], 6));
    }

    #[test]
    fn only_the_hard_limit_of_the_same_metric_and_period_is_passed() {
        let catalogue = "metrics = ['messages', 'tokens']
            default_plan = 'free'
            [plans.free]
            limits = [
                { metric = 'tokens', period = 'month', max = 1 },
                { metric = 'messages', period = 'day', max = 2, mode = 'soft' },
                { metric = 'messages', period = 'week', max = 3 },
                { metric = 'messages', period = 'month', max = 4 },
            ]";
        let catalogue = Catalogue::parse(catalogue).unwrap();
        let above = |metric, period, used| {
            let key = ("user:u_1".to_owned(), Field::used(metric, period, false, 0));
            above_limit(&catalogue, &key, used)
        };

        assert_eq!([3, 4, 5, 9].map(|used| above("messages", Period::Month, used)), [0, 0, 1, 5]);
        assert_eq!(above("messages", Period::Day, 9), 0, "a soft limit may be passed");
        assert_eq!(above("messages", Period::Lifetime, 9), 0);
        assert_eq!(above("messages", Period::Month, -9), 0);
    }
}
