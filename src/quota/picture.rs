//! What both stores say of some subjects, at instants that can be compared.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::counters::Field;
use crate::counters::OutboxPage;
use crate::counters::SubjectState;
use crate::domain::Event;
use crate::domain::Period;
use crate::domain::Profile;
use crate::domain::Tally;
use crate::domain::Window;
use crate::domain::event::Delta;
use crate::ledger::Base;

use super::Quota;
use super::error::QuotaError;
use super::loader::counts;

/// Pictures taken of a group of subjects before the checker gives up because the outbox is trimmed ahead of each.
const PICTURES_MAX: usize = 20;

/// A counter of one level, and the level's path.
pub(super) type CounterKey = (String, Field);

/// Redis and Postgres at instants that can be compared.
pub(super) struct Picture {
    pub(super) base: Base,
    pub(super) states: Vec<SubjectState>,
    pub(super) page: OutboxPage,
    pub(super) now_s: i64,
}

/// A counter by both stores.
pub(super) struct Compared<'a> {
    pub(super) field: &'a Field,
    pub(super) redis: i64,
    /// What Postgres and the outbox after the cursor add up to.
    pub(super) postgres: i64,
}

impl Quota {
    /// Postgres first, then Redis: what happened in between is in the outbox after the cursor, of which at most
    /// `entries_max` entries are read.
    pub(super) async fn picture(
        &self,
        shard: u16,
        paths: &[String],
        entries_max: u32,
    ) -> Result<Picture, QuotaError> {
        let mut trimmed = None;
        for _ in 0..PICTURES_MAX {
            let names: Vec<&str> = paths.iter().map(String::as_str).collect();
            let now = self.counters.redis_now();
            let ended_after = now - Window::ENDS_APART_MAX;
            let base = self.ledger.base(shard, &names, ended_after).await;
            let base = base.map_err(QuotaError::of_ledger)?;
            let after = (base.epoch, base.seq);
            let read = self.counters.inspect(shard, paths, after, entries_max).await;
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
}

impl Picture {
    /// Whether the shard serves in Postgres' epoch, and every event after the cursor is in the picture.
    pub(super) fn is_whole(&self) -> bool {
        let Self { base, page, .. } = self;
        let last = page.entries.last().map_or(base.seq, |entry| entry.last_seq);
        page.epoch == Some(base.epoch)
            && !page.is_fenced
            && page.floor <= base.seq
            && last == page.seq
            && page.entries.iter().all(|entry| entry.events.is_ok())
    }

    /// Postgres' counters plus the outbox after the cursor, for the levels of the picture.
    pub(super) fn expected_counters(&self) -> BTreeMap<CounterKey, i64> {
        let mut expected = BTreeMap::new();
        for state in &self.states {
            for (field, count) in counts(&self.base, &state.path, i64::MIN) {
                expected.insert((state.path.clone(), field), count);
            }
        }
        let levels: BTreeSet<&str> = self.states.iter().map(|state| state.path.as_str()).collect();
        for event in self.events() {
            let of_picture = |delta: &&Delta| levels.contains(event.level(delta.depth));
            for delta in event.deltas.lines.iter().filter(of_picture) {
                let key = (event.level(delta.depth).to_owned(), Field::of_delta(delta));
                *expected.entry(key).or_insert(0) += delta.units;
            }
        }
        expected
    }

    /// The current counters of a level by both stores, of which `expected` is the answer of
    /// [`Picture::expected_counters`].
    pub(super) fn compared<'a>(
        &self,
        state: &'a SubjectState,
        expected: &'a BTreeMap<CounterKey, i64>,
    ) -> Vec<Compared<'a>> {
        let found: BTreeMap<&Field, i64> =
            state.counters.iter().map(|(field, count)| (field, *count)).collect();
        let first = (state.path.clone(), Field::used("", Period::Minute, false, i64::MIN));
        let of_level = expected.range(first..).take_while(|(key, _)| key.0 == state.path);
        let of_level: BTreeMap<&Field, i64> =
            of_level.map(|(key, count)| (&key.1, *count)).collect();
        let fields: BTreeSet<&Field> = of_level.keys().chain(found.keys()).copied().collect();
        let current = fields.into_iter().filter(|field| self.is_current(state, field));
        let count = |by: &BTreeMap<&Field, i64>, field| by.get(field).copied().unwrap_or(0);
        let compare = |field| {
            let (redis, postgres) = (count(&found, field), count(&of_level, field));
            Compared { field, redis, postgres }
        };
        current.map(compare).collect()
    }

    /// Whether both stores keep the counter, and its window holds the instant. Counters of minutes and hours are in Redis
    /// alone (docs/adr/0011); windows follow the level's calendar; a hold and a grant have ends of their own.
    fn is_current(&self, state: &SubjectState, field: &Field) -> bool {
        if matches!(field.period, Period::Minute | Period::Hour) {
            return false;
        }
        // Redis' time may be a second ahead of what this node believes.
        let margin_s = 2;
        if matches!(field.tally, Tally::Held { until_s } if until_s <= self.now_s + margin_s) {
            return false;
        }
        if field.grant.is_some() {
            return field.at_s > self.now_s + margin_s;
        }
        let now = chrono::DateTime::from_timestamp(self.now_s, 0).unwrap_or_default();
        let profile = self.base.profiles.iter().find(|it| it.subject == state.path);
        let profile =
            profile.and_then(|it| Profile::parse_stored(&it.profile).ok()).unwrap_or_default();
        field.period.window_at(now, &profile.calendar()).start_s == field.at_s
    }

    /// The events after the cursor that can be read.
    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.page.entries.iter().filter_map(|entry| entry.events.as_ref().ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use crate::counters::Entry;
    use crate::counters::Undecodable;
    use crate::ledger::LevelProfile;
    use crate::quota::samples;

    use super::*;

    const NOW_S: i64 = 1_795_305_600;
    const DAY_S: i64 = 86_400;

    fn entry(last_seq: u64) -> Entry {
        Entry { epoch: 2, last_seq, written_at_ms: 0, events: Ok(Vec::new()), bytes: 0 }
    }

    /// A shard whose cursor is at 5, with one entry behind it.
    fn picture(profiles: Vec<LevelProfile>) -> Picture {
        let (counters, held, grants) = (Vec::new(), Vec::new(), Vec::new());
        Picture {
            base: Base { epoch: 2, seq: 5, counters, held, grants, profile_version: 0, profiles },
            states: Vec::new(),
            page: samples::page(2, 5, 6, vec![entry(6)]),
            now_s: NOW_S,
        }
    }

    fn is_whole(change: fn(&mut OutboxPage)) -> bool {
        let mut picture = picture(Vec::new());
        change(&mut picture.page);
        picture.is_whole()
    }

    /// Guards against faults that are none, and those that are not seen: only whole pictures are compared.
    #[test]
    fn a_picture_is_whole_when_nothing_after_the_cursor_is_missing() {
        assert!(is_whole(|_| {}));
        assert!(!is_whole(|page| page.epoch = Some(3)));
        assert!(!is_whole(|page| page.epoch = None));
        assert!(!is_whole(|page| page.is_fenced = true));
        assert!(!is_whole(|page| page.floor = 6));
        assert!(!is_whole(|page| page.seq = 7));
        assert!(!is_whole(|page| page.entries.clear()));
        assert!(!is_whole(|page| {
            let undecodable = Undecodable { raw: Vec::new(), reason: String::new() };
            page.entries[0].events = Err(undecodable);
        }));
    }

    fn state() -> SubjectState {
        let (path, counters) = ("user:u_1".to_owned(), Vec::new());
        SubjectState { path, epoch: 2, profile_version: 0, counters }
    }

    /// Guards the margin: Redis' clock may be a second ahead, and then it has dropped what ends.
    #[test]
    fn what_ends_within_two_seconds_is_not_compared() {
        let picture = picture(Vec::new());
        let is_current = |field: &Field| picture.is_current(&state(), field);
        let grant = |end_s| Field::of_grant("messages", 1, end_s);
        let held = |until_s| Field {
            tally: Tally::Held { until_s },
            ..Field::used("messages", Period::Day, false, NOW_S)
        };

        assert_eq!([NOW_S + 2, NOW_S + 3].map(|at| is_current(&grant(at))), [false, true]);
        assert_eq!([NOW_S + 2, NOW_S + 3].map(|at| is_current(&held(at))), [false, true]);
    }

    #[test]
    fn a_window_is_current_by_the_calendar_of_its_own_level() {
        let of = |subject: &str, time_zone: &str| LevelProfile {
            subject: subject.to_owned(),
            version: 1,
            profile: format!("{{\"time_zone\":\"{time_zone}\"}}"),
        };
        let picture = picture(vec![of("org:a", "Asia/Tokyo"), of("user:u_1", "Etc/GMT+1")]);
        let day = |start_s| Field::used("messages", Period::Day, false, start_s);
        let is_current = |start_s| picture.is_current(&state(), &day(start_s));

        // At midnight in UTC the day that began at 1 o'clock is not over there.
        let here = NOW_S - DAY_S + 3_600;
        assert_eq!([here, NOW_S, NOW_S - 9 * 3_600].map(is_current), [true, false, false]);
        assert!(!picture.is_current(&state(), &Field::used("messages", Period::Hour, false, here)));
    }
}
