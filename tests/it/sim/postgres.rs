//! The tables that the simulation has of Postgres, and what a transaction does to them.

use std::collections::BTreeMap;
use std::sync::Weak;

use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::domain::Period;
use headroom::domain::Tally;
use headroom::domain::event::Delta;
use headroom::ledger::Batch;
use headroom::ledger::Cursor;
use headroom::ledger::FlushGuards;
use headroom::ledger::Flushed;
use headroom::ledger::Incident;
use headroom::ledger::LedgerError;
use headroom::ledger::OwnCall;
use uuid::Uuid;

use super::holds::Holds;

/// A counter: level, metric, period and the first second of its window.
pub type Key = (String, String, String, i64);

/// What is used in a window, and where the window ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub end_s: i64,
    pub units: i64,
}

/// An incident, as far as the checker looks at it.
#[derive(Clone, Debug)]
pub struct Found {
    pub old_epoch: u64,
    pub expected_seq: u64,
    pub cursor_seq: u64,
    pub lost_at_most: u64,
    lost_places: u64,
    missed_before: u64,
    missed_after: u64,
}

/// All tables, of one shard.
pub struct Postgres {
    pub cursor: Cursor,
    /// Each event once, with the epoch it came from.
    pub log: BTreeMap<Uuid, (u64, Event)>,
    pub counters: BTreeMap<Key, Used>,
    pub holds: Holds,
    pub incidents: Vec<Found>,
    /// Events that came though the log had them already.
    pub duplicates: u64,
    /// Alive while a recovery holds the cursor's row.
    pub lock: Weak<()>,
}

impl Postgres {
    pub fn new() -> Self {
        let cursor = Cursor { shard: 0, epoch: 1, seq: 0, fence: None, forget: Vec::new() };
        Self {
            cursor,
            log: BTreeMap::new(),
            counters: BTreeMap::new(),
            holds: Holds::default(),
            incidents: Vec::new(),
            duplicates: 0,
            lock: Weak::new(),
        }
    }

    /// Waiting for the cursor's row ends in an error, some time.
    pub fn lock_cursor(&self) -> Result<(), LedgerError> {
        match self.lock.upgrade() {
            Some(_) => Err(LedgerError::Conflict("the lock was not given in time".into())),
            None => Ok(()),
        }
    }

    /// What `ledger/flush.rs` does in its transaction.
    pub fn flush(&mut self, batch: &Batch, guards: FlushGuards) -> Result<Flushed, LedgerError> {
        self.lock_cursor()?;
        let is_there = (self.cursor.epoch, self.cursor.seq) == (batch.epoch, batch.from_seq);
        if guards.compare_and_set && !is_there {
            return Err(LedgerError::CursorMoved);
        }
        assert!(batch.dead.is_empty(), "everything can be decoded: {:?}", batch.dead);
        let known = self.write(batch.epoch, &batch.events, guards);
        let mut forget: Vec<String> = self.cursor.forget.clone();
        forget.extend(batch.forget.iter().cloned());
        forget.extend(known.iter().flat_map(|event| event.levels().map(str::to_owned)));
        forget.sort_unstable();
        forget.dedup();
        (self.cursor.seq, self.cursor.forget) = (batch.to_seq, forget.clone());
        Ok(Flushed {
            inserted: (batch.events.len() - known.len()) as u64,
            duplicates: known.iter().map(|event| event.seq).collect(),
            forget,
            profiles: Vec::new(),
        })
    }

    /// Logs events, counts those that are new in the log, and answers the others.
    pub fn write<'a>(
        &mut self,
        epoch: u64,
        events: &'a [Event],
        guards: FlushGuards,
    ) -> Vec<&'a Event> {
        let mut known = Vec::new();
        for event in events {
            let is_known = self.log.contains_key(&event.event_id);
            if is_known {
                known.push(event);
            } else {
                self.log.insert(event.event_id, (epoch, event.clone()));
                self.holds.keep(event);
            }
            if !(is_known && guards.dedupe) {
                add(&mut self.counters, event);
            }
        }
        self.duplicates += known.len() as u64;
        known
    }

    /// Begins another epoch, and answers it.
    pub fn begin_epoch(&mut self, epoch: u64, fence: Uuid) -> u64 {
        self.cursor = Cursor { shard: 0, epoch, seq: 0, fence: Some(fence), forget: Vec::new() };
        epoch
    }

    pub fn note_incident(&mut self, incident: &Incident) {
        self.incidents.push(Found {
            old_epoch: self.cursor.epoch,
            expected_seq: incident.expected_seq,
            cursor_seq: self.cursor.seq,
            lost_at_most: incident.lost_at_most,
            lost_places: incident.lost_at_most,
            missed_before: 0,
            missed_after: 0,
        });
    }

    /// What `raise_loss` does.
    pub fn raise_loss(&mut self, epoch: u64, seq: u64, calls: &[OwnCall]) {
        for incident in self.incidents.iter_mut().filter(|it| it.old_epoch == epoch) {
            incident.lost_places += seq.saturating_sub(incident.expected_seq);
            incident.expected_seq = incident.expected_seq.max(seq);
            let is_there = |call: &OwnCall| {
                let logged = self.log.get(&call.last_id);
                logged.is_some_and(|(at, event)| (*at, event.seq) == (epoch, call.last))
            };
            for call in calls.iter().filter(|call| !is_there(call)) {
                let (events, places) = (u64::from(call.events), incident.cursor_seq + 1);
                let before = events.min(places.saturating_sub(call.first));
                incident.missed_before += before;
                incident.missed_after += events - before;
            }
            let after = incident.lost_places.max(incident.missed_after);
            incident.lost_at_most = incident.lost_at_most.max(incident.missed_before + after);
        }
    }

    /// What all events of the log do to the counters.
    pub fn sums_of_log(&self) -> BTreeMap<Key, Used> {
        let mut sums = BTreeMap::new();
        self.log.values().for_each(|(_, event)| add(&mut sums, event));
        sums
    }
}

/// Adds what an event used.
fn add(counters: &mut BTreeMap<Key, Used>, event: &Event) {
    let is_used = |delta: &&Delta| delta.tally == Tally::Used && delta.grant.is_none();
    for delta in event.deltas.lines.iter().filter(is_used) {
        if !is_kept(delta.period) {
            continue;
        }
        let (metric, period) = (delta.metric.as_str().to_owned(), delta.period.as_str().to_owned());
        let level = event.level(delta.depth).to_owned();
        let key = (level, metric, period, delta.window.start_s);
        let used = counters.entry(key).or_default();
        used.end_s = delta.window.end_s;
        used.units += delta.units;
    }
}

/// Counters of minutes and hours are in Redis alone.
pub const fn is_kept(period: Period) -> bool {
    !matches!(period, Period::Minute | Period::Hour)
}

/// The reservation that an event begins or ends.
pub fn reservation_of(event: &Event) -> Option<Uuid> {
    match event.kind {
        EventKind::Reserve => Some(event.event_id),
        EventKind::Commit | EventKind::Release | EventKind::Expire => event.of,
        _ => None,
    }
}
