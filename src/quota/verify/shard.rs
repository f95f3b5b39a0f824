//! The checks of one shard.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::counters::Field;
use crate::counters::OutboxPage;
use crate::counters::SubjectState;
use crate::domain::Event;
use crate::domain::EventKind;
use crate::domain::Mode;
use crate::domain::Period;
use crate::domain::Profile;
use crate::domain::Subject;
use crate::domain::Tally;
use crate::domain::Window;
use crate::domain::limits_of;
use crate::ledger::Base;

use super::Progress;
use crate::quota::Quota;
use crate::quota::error::QuotaError;
use crate::quota::loader::counts;

/// Subjects compared at once.
const SUBJECTS_MAX: usize = 1_000;
/// Pictures taken of a group of subjects before the checker gives up because the outbox is trimmed ahead of each.
const PICTURES_MAX: usize = 20;

/// A counter of one level, and the level's path.
type CounterKey = (String, Field);

/// Redis and Postgres at instants that can be compared.
struct Picture {
    base: Base,
    states: Vec<SubjectState>,
    page: OutboxPage,
    now_s: i64,
}

impl Quota {
    pub(super) async fn verify_shard(
        &self,
        shard: u16,
        progress: &mut Progress,
    ) -> Result<(), QuotaError> {
        let picture = self.picture(shard, &[]).await?;
        check_outbox(&picture, progress);
        let mut cursor = 0;
        let mut seen = BTreeSet::new();
        loop {
            let page = self.counters.scan_subjects(shard, cursor).await;
            let (next, paths) = page.map_err(QuotaError::of_counters)?;
            // A scan may name a key twice.
            let paths: Vec<String> =
                paths.into_iter().filter(|path| seen.insert(path.clone())).collect();
            for group in paths.chunks(SUBJECTS_MAX) {
                let picture = self.picture(shard, group).await?;
                self.check_subjects(&picture, progress).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Postgres first, then Redis: what happened in between is in the outbox after the cursor.
    async fn picture(&self, shard: u16, paths: &[String]) -> Result<Picture, QuotaError> {
        let mut trimmed = None;
        for _ in 0..PICTURES_MAX {
            let names: Vec<&str> = paths.iter().map(String::as_str).collect();
            let now = self.redis_now();
            let ended_after = now - Window::ENDS_APART_MAX;
            let base = self.ledger.base(shard, &names, ended_after).await;
            let base = base.map_err(QuotaError::of_ledger)?;
            let read = self.counters.inspect(shard, paths, base.epoch, base.seq).await;
            let (states, page) = read.map_err(QuotaError::of_counters)?;
            // The flusher may have trimmed since Postgres was read. But a cursor that was read after a trim and is
            // behind it breaks I4: no other picture would be better.
            let is_behind =
                trimmed.is_some_and(|(epoch, floor)| epoch == base.epoch && floor > base.seq);
            if page.floor <= base.seq || is_behind {
                return Ok(Picture { base, states, page, now_s: now.timestamp() });
            }
            trimmed = page.epoch.map(|epoch| (epoch, page.floor));
        }
        Err(QuotaError::Internal("the outbox is trimmed faster than it can be verified".into()))
    }

    async fn check_subjects(
        &self,
        picture: &Picture,
        progress: &mut Progress,
    ) -> Result<(), QuotaError> {
        let expected = expected_counters(picture);
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
        let counters = state.counters.iter();
        let found: BTreeMap<CounterKey, i64> =
            counters.map(|(field, count)| ((state.path.clone(), field.clone()), *count)).collect();
        let first = (state.path.clone(), Field::used("", Period::Minute, false, i64::MIN));
        let of_level = expected.range(first..).take_while(|(key, _)| key.0 == state.path);
        let keys: BTreeSet<&CounterKey> =
            of_level.map(|(key, _)| key).chain(found.keys()).collect();
        for key in keys {
            if !is_current(state, key, picture) {
                continue;
            }
            let (redis, postgres) = (found.get(key).unwrap_or(&0), expected.get(key).unwrap_or(&0));
            let describe = || {
                let Field { metric, period, .. } = &key.1;
                format!("{} {metric} {} ({})", key.0, period.as_str(), key.1)
            };
            let differ =
                || format!("{}: redis {redis}, postgres and outbox {postgres}", describe());
            progress.i2.expect(redis == postgres, differ);
            progress.i3.expect(*redis >= 0, || format!("{}: {redis}", describe()));
            if key.1.grant.is_none() && key.1.tally == Tally::Used {
                let carried = Field { tally: Tally::Carried, ..key.1.clone() };
                let carried = found.get(&(state.path.clone(), carried)).unwrap_or(&0);
                progress.excess += self.excess(picture, key, redis - carried).await?;
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
        let units = self.above_limit(key, used);
        let is_configured = picture.base.profiles.iter().any(|it| it.subject == key.0);
        let is_pending = |event: &Event| {
            (event.kind == EventKind::Set || event.deltas.overage)
                && event.levels().any(|level| level == key.0)
        };
        if units == 0
            || is_configured
            || self.edition().version > 1
            || events(&picture.page).any(is_pending)
        {
            return Ok(0);
        }
        let since = chrono::DateTime::from_timestamp(key.1.at_s, 0).unwrap_or_default();
        let was_set = self.ledger.was_set(&key.0, since).await.map_err(QuotaError::of_ledger)?;
        Ok(if was_set { 0 } else { units })
    }

    fn above_limit(&self, key: &CounterKey, used: i64) -> u64 {
        let edition = self.edition();
        let Ok(subject) = Subject::parse(&key.0) else { return 0 };
        let levels = limits_of(&edition.catalogue, &subject, &[]);
        let Ok(Some(level)) = levels.map(|mut levels| levels.pop()) else { return 0 };
        let limit = level.limits.iter().find(|limit| {
            limit.metric.as_str() == key.1.metric
                && limit.period == key.1.period
                && limit.mode == Mode::Hard
        });
        let max = limit.and_then(|limit| limit.max).map_or(u64::MAX, crate::domain::Units::get);
        u64::try_from(used).unwrap_or(0).saturating_sub(max)
    }
}

/// Whether both stores keep the counter, and its window holds the instant. Counters of minutes and hours are in Redis
/// alone (docs/adr/0011); windows follow the level's calendar; a hold and a grant have ends of their own.
fn is_current(state: &SubjectState, key: &CounterKey, picture: &Picture) -> bool {
    let field = &key.1;
    if matches!(field.period, Period::Minute | Period::Hour) {
        return false;
    }
    // Redis' time may be a second ahead of what this node believes.
    let margin_s = 2;
    if matches!(field.tally, Tally::Held { until_s } if until_s <= picture.now_s + margin_s) {
        return false;
    }
    if field.grant.is_some() {
        return field.at_s > picture.now_s + margin_s;
    }
    let now = chrono::DateTime::from_timestamp(picture.now_s, 0).unwrap_or_default();
    let profile = picture.base.profiles.iter().find(|it| it.subject == state.path);
    let profile =
        profile.and_then(|it| Profile::parse_stored(&it.profile).ok()).unwrap_or_default();
    field.period.window_at(now, &profile.calendar()).start_s == field.at_s
}

/// Postgres' counters plus the outbox after the cursor, for the levels of the picture.
fn expected_counters(picture: &Picture) -> BTreeMap<CounterKey, i64> {
    let mut expected = BTreeMap::new();
    for state in &picture.states {
        for (field, count) in counts(&picture.base, &state.path, i64::MIN) {
            expected.insert((state.path.clone(), field), count);
        }
    }
    let levels: BTreeSet<&str> = picture.states.iter().map(|state| state.path.as_str()).collect();
    for event in events(&picture.page) {
        for delta in &event.deltas.lines {
            let level = event.level(delta.depth);
            if levels.contains(level) {
                let key = (level.to_owned(), Field::of_delta(delta));
                *expected.entry(key).or_insert(0) += delta.units;
            }
        }
    }
    expected
}

fn events(page: &OutboxPage) -> impl Iterator<Item = &Event> {
    page.entries.iter().filter_map(|entry| entry.events.as_ref().ok()).flatten()
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
