//! The tables of reservations.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::domain::Tally;
use headroom::domain::event::Delta;
use headroom::ledger::HeldCounter;
use headroom::ledger::ReservationRow;
use headroom::ledger::ReservationState;
use uuid::Uuid;

use super::postgres::is_kept;
use super::postgres::reservation_of;

/// A reservation: how it began, if the log has that, and how it ended.
#[derive(Clone, Debug, Default)]
struct Life {
    reserve: Option<Event>,
    end: Option<(ReservationState, Event)>,
}

impl Life {
    fn state(&self) -> ReservationState {
        self.end.as_ref().map_or(ReservationState::Open, |(state, _)| *state)
    }
}

/// What is held of one counter until one instant: level, metric, period, window and instant.
type HeldKey = (String, String, &'static str, (i64, i64), i64);

/// The reservations, by their ids.
#[derive(Clone, Debug, Default)]
pub struct Holds(BTreeMap<Uuid, Life>);

impl Holds {
    /// Takes in an event that is new in the log. The first end counts, and a late commit after an expiry.
    pub fn keep(&mut self, event: &Event) {
        let Some(id) = reservation_of(event) else { return };
        let life = self.0.entry(id).or_default();
        let state = match event.kind {
            EventKind::Commit if event.deltas.late => ReservationState::Late,
            EventKind::Commit => ReservationState::Committed,
            EventKind::Release => ReservationState::Released,
            EventKind::Expire => ReservationState::Expired,
            _ => {
                life.reserve = Some(event.clone());
                return;
            }
        };
        let is_late = state == ReservationState::Late;
        if life.end.is_none() || (is_late && life.state() == ReservationState::Expired) {
            life.end = Some((state, event.clone()));
        }
    }

    /// The reservation, when the log has its beginning.
    pub fn row(&self, id: Uuid) -> Option<ReservationRow> {
        row(id, self.0.get(&id)?)
    }

    /// The open ones that have lapsed by `now`, the longest overdue first.
    pub fn due(&self, now: DateTime<Utc>) -> Vec<ReservationRow> {
        let rows = self.0.iter().filter_map(|(id, life)| row(*id, life));
        let is_due = |row: &ReservationRow| row.state == ReservationState::Open && row.until <= now;
        let mut due: Vec<ReservationRow> = rows.filter(is_due).collect();
        due.sort_by_key(|row| (row.until, row.id));
        due
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.0.values().filter(|life| life.reserve.is_some() && life.end.is_none()).count()
    }

    /// What the open ones hold of counters that Postgres has, from `after_s` on.
    pub fn held(&self, levels: &[String], after_s: i64) -> Vec<HeldCounter> {
        let mut sums: BTreeMap<HeldKey, i64> = BTreeMap::new();
        let open = self.0.values().filter(|life| life.end.is_none());
        let events = open.filter_map(|life| life.reserve.as_ref());
        let lines = events.flat_map(|event| held(event).map(move |line| (event, line)));
        for (event, line) in lines.filter(|(_, line)| is_kept(line.period)) {
            let Tally::Held { until_s } = line.tally else { continue };
            let level = event.level(line.depth).to_owned();
            let is_over = until_s <= after_s || line.window.end_s <= after_s;
            if is_over || !levels.contains(&level) {
                continue;
            }
            let (metric, period) = (line.metric.as_str().to_owned(), line.period.as_str());
            let window = (line.window.start_s, line.window.end_s);
            *sums.entry((level, metric, period, window, until_s)).or_insert(0) += line.units;
        }
        let counter =
            |((subject, metric, period, window, until_s), units): (HeldKey, i64)| HeldCounter {
                subject,
                metric,
                period: String::from(period),
                window_start_s: window.0,
                window_end_s: window.1,
                grant: None,
                until_s,
                units,
            };
        sums.into_iter().map(counter).collect()
    }
}

fn held(event: &Event) -> impl Iterator<Item = &Delta> {
    let is_held = |line: &&Delta| matches!(line.tally, Tally::Held { .. }) && line.units > 0;
    event.deltas.lines.iter().filter(is_held)
}

fn row(id: Uuid, life: &Life) -> Option<ReservationRow> {
    let reserve = life.reserve.as_ref()?;
    let end = life.end.as_ref().map(|(_, event)| event);
    Some(ReservationRow {
        id,
        shard: 0,
        subject: reserve.subject.clone(),
        model: reserve.model.clone(),
        amount: reserve.amount,
        plan: reserve.deltas.plan.clone(),
        until: DateTime::from_timestamp(reserve.until_s?, 0)?,
        reserved_at: DateTime::from_timestamp_millis(reserve.occurred_at_ms)?,
        request_id: reserve.request_id.clone(),
        metadata: reserve.metadata.clone(),
        state: life.state(),
        ended_at: end.and_then(|end| DateTime::from_timestamp_millis(end.occurred_at_ms)),
        committed: end.filter(|end| end.kind == EventKind::Commit).map(|end| end.amount),
        lines: held(reserve).cloned().collect(),
    })
}
