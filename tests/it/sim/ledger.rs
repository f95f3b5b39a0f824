//! The ledger of the simulation: calls that the schedule lets reach the tables, or not.

use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use headroom::domain::Event;
use headroom::domain::Metric;
use headroom::domain::Period;
use headroom::ledger::Base;
use headroom::ledger::Batch;
use headroom::ledger::Counter;
use headroom::ledger::Cursor;
use headroom::ledger::DeadLetter;
use headroom::ledger::FlushGuards;
use headroom::ledger::Flushed;
use headroom::ledger::Incident;
use headroom::ledger::LedgerError;
use headroom::ledger::LoggedEvent;
use headroom::ledger::OwnCall;
use headroom::ledger::Previous;
use headroom::ledger::ReservationRow;
use headroom::ledger::SubjectRow;
use headroom::quota::EventLedger;
use headroom::quota::EventRecovery;
use uuid::Uuid;

use super::calls::LedgerWay;
use super::postgres::Key;
use super::postgres::Postgres;
use super::postgres::Used;

type Answer<T> = Result<T, LedgerError>;

impl EventLedger for LedgerWay {
    type Recovery = Recovery;

    async fn cursor(&self, _shard: u16) -> Answer<Cursor> {
        self.ask("cursor", |postgres| Ok(postgres.cursor.clone())).await
    }

    async fn cursors_past(&self, places: &[(u16, u64, u64)]) -> Answer<bool> {
        let places = places.to_vec();
        let is_past = move |postgres: &mut Postgres| {
            let at = (postgres.cursor.epoch, postgres.cursor.seq);
            Ok(places.iter().all(|(_, epoch, seq)| at >= (*epoch, *seq)))
        };
        self.ask("cursors_past", is_past).await
    }

    async fn forgotten(&self, cursor: &Cursor, names: &[String]) -> Answer<bool> {
        let (at, names) = ((cursor.epoch, cursor.seq), names.to_vec());
        let forget = move |postgres: &mut Postgres| {
            let is_there = (postgres.cursor.epoch, postgres.cursor.seq) == at;
            postgres.cursor.forget.retain(|name| !is_there || !names.contains(name));
            Ok(is_there)
        };
        self.ask("forgotten", forget).await
    }

    async fn flush(&self, batch: &Batch, guards: FlushGuards) -> Answer<Flushed> {
        let batch = batch.clone();
        self.ask("flush", move |postgres| postgres.flush(&batch, guards)).await
    }

    async fn can_take(&self, _events: &[Event]) -> Answer<()> {
        self.ask("can_take", |_| Ok(())).await
    }

    async fn has_event(&self, _cursor: &Cursor, event_id: Uuid) -> Answer<bool> {
        self.ask("has_event", move |postgres| Ok(postgres.log.contains_key(&event_id))).await
    }

    async fn event(&self, event_id: Uuid) -> Answer<Option<LoggedEvent>> {
        let read = move |postgres: &mut Postgres| Ok(postgres.log.get(&event_id).map(logged));
        self.ask("event", read).await
    }

    async fn base(
        &self,
        _shard: u16,
        subjects: &[&str],
        ended_after: DateTime<Utc>,
    ) -> Answer<Base> {
        let subjects: Vec<String> = subjects.iter().map(|it| (*it).to_owned()).collect();
        let after_s = ended_after.timestamp();
        self.ask("base", move |postgres| Ok(base(postgres, &subjects, after_s))).await
    }

    /// Nothing is configured for anybody.
    async fn subject(&self, _path: &str) -> Answer<Option<SubjectRow>> {
        self.ask("subject", |_| Ok(None)).await
    }

    /// No limit rolls over.
    async fn previous_counters(
        &self,
        _path: &str,
        _windows: &[(Metric, Period, i64)],
        _at: DateTime<Utc>,
    ) -> Answer<Previous> {
        self.ask("previous_counters", |_| Ok(Previous::default())).await
    }

    async fn reservation(&self, id: Uuid) -> Answer<Option<ReservationRow>> {
        self.ask("reservation", move |postgres| Ok(postgres.holds.row(id))).await
    }

    async fn is_no_longer_kept(&self, _id: Uuid) -> Answer<bool> {
        Ok(false)
    }

    async fn due_reservations(
        &self,
        now: DateTime<Utc>,
        _limit: u32,
    ) -> Answer<Vec<ReservationRow>> {
        self.ask("due_reservations", move |postgres| Ok(postgres.holds.due(now))).await
    }

    async fn begin_recovery(&self, _shard: u16) -> Answer<Recovery> {
        let lock = Arc::new(());
        let held = Arc::downgrade(&lock);
        let begin = move |postgres: &mut Postgres| {
            postgres.lock_cursor()?;
            postgres.lock = held;
            Ok(postgres.cursor.clone())
        };
        let cursor = self.ask("begin_recovery", begin).await?;
        let found_epoch = cursor.epoch;
        let (way, salvaged) = (self.clone(), Vec::new());
        Ok(Recovery { way, _lock: lock, cursor, found_epoch, salvaged })
    }

    async fn is_logged(&self, event_id: Uuid) -> Answer<bool> {
        self.ask("is_logged", move |postgres: &mut Postgres| {
            Ok(postgres.log.contains_key(&event_id))
        })
        .await
    }

    async fn raise_loss(&self, _shard: u16, epoch: u64, seq: u64, calls: &[OwnCall]) -> Answer<()> {
        let calls = calls.to_vec();
        let raise = move |postgres: &mut Postgres| {
            postgres.raise_loss(epoch, seq, &calls);
            Ok(())
        };
        self.ask("raise_loss", raise).await
    }
}

/// A recovery in progress. It holds the cursor's row until it is dropped, so that nobody else logs meanwhile: what it has
/// salvaged comes into the tables at its end.
pub struct Recovery {
    way: LedgerWay,
    _lock: Arc<()>,
    cursor: Cursor,
    found_epoch: u64,
    salvaged: Vec<(u64, Event)>,
}

impl EventRecovery for Recovery {
    fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    fn found_epoch(&mut self, epoch: u64) {
        self.found_epoch = epoch;
    }

    async fn salvage(&mut self, events: &[Event]) -> Answer<u64> {
        let events = events.to_vec();
        let fresh = move |postgres: &mut Postgres| {
            let is_new = |event: &Event| !postgres.log.contains_key(&event.event_id);
            Ok(events.into_iter().filter(is_new).collect::<Vec<_>>())
        };
        let mut fresh = self.way.ask("salvage", fresh).await?;
        fresh.retain(|event| self.salvaged.iter().all(|(_, it)| it.event_id != event.event_id));
        let count = fresh.len() as u64;
        self.salvaged.extend(fresh.into_iter().map(|event| (self.found_epoch, event)));
        Ok(count)
    }

    async fn salvage_dead(&mut self, letters: &[DeadLetter]) -> Answer<()> {
        panic!("everything can be decoded: {letters:?}")
    }

    async fn finish(self, incident: Incident, fence: Uuid) -> Answer<u64> {
        let salvaged = self.salvaged.clone();
        let epoch = self.cursor.epoch.max(incident.redis_epoch.unwrap_or(0)) + 1;
        let finish = move |postgres: &mut Postgres| {
            for (epoch, event) in &salvaged {
                postgres.write(*epoch, std::slice::from_ref(event), FlushGuards::default());
            }
            postgres.note_incident(&incident);
            Ok(postgres.begin_epoch(epoch, fence))
        };
        self.way.ask("finish", finish).await
    }

    async fn open_first(self, fence: Uuid) -> Answer<u64> {
        let epoch = self.cursor.epoch;
        let open = move |postgres: &mut Postgres| Ok(postgres.begin_epoch(epoch, fence));
        self.way.ask("open_first", open).await
    }

    async fn abandon(self) {}
}

fn base(postgres: &Postgres, subjects: &[String], after_s: i64) -> Base {
    let counters = postgres.counters.iter();
    let current = counters.filter(|(key, used)| subjects.contains(&key.0) && used.end_s > after_s);
    let counter = |((subject, metric, period, start_s), used): (&Key, &Used)| Counter {
        subject: subject.clone(),
        metric: metric.clone(),
        period: period.clone(),
        window_start_s: *start_s,
        window_end_s: used.end_s,
        used: used.units,
        carried: None,
        refunded: 0,
        reset_at_ms: None,
    };
    Base {
        epoch: postgres.cursor.epoch,
        seq: postgres.cursor.seq,
        counters: current.map(counter).collect(),
        held: postgres.holds.held(subjects, after_s),
        grants: Vec::new(),
        profile_version: 0,
        profiles: Vec::new(),
    }
}

fn logged((_, event): &(u64, Event)) -> LoggedEvent {
    LoggedEvent {
        kind: event.kind,
        subject: event.subject.clone(),
        occurred_at: DateTime::from_timestamp_millis(event.occurred_at_ms).unwrap(),
        model: event.model.clone(),
        plan: event.deltas.plan.clone(),
        amount: Some(event.amount),
        until: event.until_s.and_then(|at| DateTime::from_timestamp(at, 0)),
        settles: event.of,
        deltas: event.deltas.lines.clone(),
    }
}
