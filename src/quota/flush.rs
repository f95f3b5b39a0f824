//! Moving the outbox into Postgres, batch by batch.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use tracing::Instrument;
use uuid::Uuid;

use crate::counters::Fault;
use crate::counters::OutboxPage;
use crate::counters::Settlement;
use crate::counters::ShardFault;
use crate::domain::Event;
use crate::domain::Subject;
use crate::ledger::Batch;
use crate::ledger::Cursor;
use crate::ledger::DeadLetter;
use crate::ledger::Flushed;
use crate::ledger::LedgerError;
use crate::telemetry::Chain;
use crate::telemetry::names;
use crate::telemetry::spans;

use super::Quota;
use super::batch;
use super::batch::Mark;
use super::error::QuotaError;
use super::event_ledger::EventLedger;
use super::outbox_gauges;
use super::recover;

/// Outbox entries read at once; an entry holds up to 64 events.
const ENTRIES_MAX: usize = 1_000;
/// Subjects that Redis forgets in one call.
const FORGOTTEN_AT_ONCE: usize = 1_000;
/// Events trimmed in one call. Redis looks at two of its pending levels for each, and decides nothing meanwhile: with 5,000 it
/// stood still for 16 to 20 ms.
const TRIMMED_AT_ONCE: u64 = 500;
/// Events that a pass trims, if there are so many, however few it writes.
const TRIMS_AT_LEAST: u64 = 2_000;
/// Entries read at once when each has been full: never so few that a pass gets nowhere.
const ENTRIES_MIN: usize = 16;

/// What one pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushStep {
    /// So many events are in Postgres now; there may be more.
    Flushed(u64),
    /// The outbox holds nothing new.
    Idle,
    /// Another flusher was first, or the shard was recovered: read the cursor again.
    Again,
}

/// What a flusher remembers of a shard between passes. Losing it delays a trim and nothing else.
#[derive(Debug, Default)]
pub struct FlushState {
    epoch: u64,
    /// Flushed and not yet trimmed, oldest first.
    marks: VecDeque<Mark>,
    bytes: u64,
    /// Entries and events of the last batch: how much one entry holds at present.
    last_batch: Option<(usize, usize)>,
    /// The epoch, the place and the id of the last event that is known to be in Postgres.
    known: Option<(u64, u64, Uuid)>,
    /// The cursor as it was last seen: the epoch and the place.
    cursor: Option<(u64, u64)>,
}

impl FlushState {
    fn remember(&mut self, epoch: u64, mark: Mark) {
        if self.epoch != epoch {
            *self = Self { epoch, marks: VecDeque::new(), bytes: 0, ..*self };
        }
        self.bytes += mark.bytes;
        self.marks.push_back(mark);
    }

    /// Takes over the trimming of what a flusher before this one has flushed.
    fn take_over(&mut self, cursor: &Cursor, floor: u64, now_ms: i64) {
        let knows_none = self.epoch != cursor.epoch || self.marks.is_empty();
        if knows_none && floor < cursor.seq {
            let mark = Mark { seq: cursor.seq, written_at_ms: now_ms, bytes: 0, entries: 0 };
            self.remember(cursor.epoch, mark);
        }
    }

    /// How many entries make a full batch, going by the last one. Reading more would decode them for nothing.
    fn entries_max(&self, events_max: usize) -> usize {
        let Some((entries, events)) = self.last_batch else { return ENTRIES_MAX };
        (events_max * entries / events.max(1) + 1).clamp(ENTRIES_MIN, ENTRIES_MAX)
    }

    /// The last event that need not be kept: older than the lag, or beyond the bytes that may stay.
    fn trim_seq(&self, now_ms: i64, lag_ms: i64, bytes_max: u64) -> Option<u64> {
        let mut left = self.bytes;
        let mut trim = None;
        for mark in &self.marks {
            if mark.written_at_ms + lag_ms > now_ms && left <= bytes_max {
                break;
            }
            left -= mark.bytes;
            trim = Some(mark.seq);
        }
        trim
    }

    fn trimmed(&mut self, seq: u64) {
        while let Some(mark) = self.marks.front().filter(|mark| mark.seq <= seq) {
            self.bytes -= mark.bytes;
            self.marks.pop_front();
        }
    }
}

impl<L: EventLedger> Quota<L> {
    /// One pass over a shard: reads a batch after the cursor and writes it, while Redis trims what is old enough of the batches
    /// before.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away: nothing is lost, try again.
    pub async fn flush(&self, shard: u16, state: &mut FlushState) -> Result<FlushStep, QuotaError> {
        let cursor = self.cursor_of(shard, state).await?;
        self.counters.saw(shard, cursor.epoch, 0);
        let told = recover::own_up(&self.counters, &*self.ledger, shard).await;
        told.map_err(QuotaError::of_ledger)?;
        if !cursor.forget.is_empty() {
            self.forget(&cursor).await?;
        }
        let entries_max = state.entries_max(self.options.batch_events_max);
        let read = self.counters.read_outbox(shard, cursor.epoch, cursor.seq, entries_max).await;
        let page = read.map_err(QuotaError::of_counters)?;
        let fault = match self.fault_of(&page, &cursor) {
            None => self.rollback_before(&page, &cursor, state).await?,
            fault => fault,
        };
        if let Some(fault) = fault {
            return self.recover_unless_moved(&cursor, fault).await;
        }
        outbox_gauges::note(shard, &page, cursor.seq, self.counters.redis_now_ms());
        let floor = page.floor;
        let is_crowded = page.seq.saturating_sub(floor) > self.options.outbox_events_max / 2;
        // Twice what comes: enough to keep up, and spread over the passes.
        let trims_max = |events: usize| {
            (!is_crowded).then_some(TRIMS_AT_LEAST.max(2 * u64::try_from(events).unwrap_or(0)))
        };
        let options = &self.options;
        let (batch, mark) = batch::of_entries(
            &cursor,
            page.entries,
            options.batch_events_max,
            options.guards.seq_check,
        );
        state.last_batch = mark.map(|mark| (mark.entries, batch.events.len()));
        let Some(mark) = mark else {
            state.take_over(&cursor, floor, self.counters.redis_now_ms());
            self.trim(&cursor, floor, state, trims_max(options.batch_events_max)).await?;
            return Ok(FlushStep::Idle);
        };
        if !self.options.guards.trim_after_commit {
            self.settle(&cursor, mark.seq, mark.seq, &[]).await?;
        }
        let last = batch.events.last().filter(|event| event.seq == mark.seq);
        let known = last.map(|event| (cursor.epoch, event.seq, event.event_id));
        let trimmed = self.trim(&cursor, floor, state, trims_max(batch.events.len()));
        let (written, trimmed) = tokio::join!(self.write_and_note(batch), trimmed);
        let flushed = match written {
            Ok(flushed) => flushed,
            Err(LedgerError::CursorMoved | LedgerError::Conflict(_)) => {
                return Ok(FlushStep::Again);
            }
            Err(error) => return Err(QuotaError::of_ledger(error)),
        };
        state.remember(cursor.epoch, mark);
        state.known = known.or(state.known);
        state.cursor = Some((cursor.epoch, mark.seq));
        let after = Cursor { seq: mark.seq, forget: flushed.forget, ..cursor };
        if !after.forget.is_empty() {
            self.forget(&after).await?;
        }
        trimmed?;
        Ok(FlushStep::Flushed(flushed.inserted))
    }

    /// The cursor, or the gauges by the last one while Postgres is away.
    async fn cursor_of(&self, shard: u16, state: &mut FlushState) -> Result<Cursor, QuotaError> {
        match self.ledger.cursor(shard).await {
            Ok(cursor) => {
                state.cursor = Some((cursor.epoch, cursor.seq));
                Ok(cursor)
            }
            Err(error) => {
                if let Some(place) = state.cursor {
                    self.watch_outbox(shard, place).await;
                }
                Err(QuotaError::of_ledger(error))
            }
        }
    }

    /// What is wrong between a shard in Redis and its cursor in Postgres, if anything.
    pub(super) fn fault_of(&self, page: &OutboxPage, cursor: &Cursor) -> Option<Fault> {
        let kind = batch::kind_of_fault(page, cursor, self.options.guards.seq_check)?;
        Some(self.fault(kind, page, cursor))
    }

    /// A fault with what this node and both stores know of the shard.
    fn fault(&self, kind: ShardFault, page: &OutboxPage, cursor: &Cursor) -> Fault {
        let sight = self.counters.sight(cursor.shard);
        let seen = [
            (sight.epoch, sight.seq),
            (cursor.epoch, cursor.seq),
            (page.epoch.unwrap_or(0), page.seq),
        ];
        let (epoch, seq) = seen.into_iter().max().unwrap_or_default();
        Fault { kind, epoch, seq }
    }

    /// A rollback to before the cursor that others have covered up by moving the seq on: the event at the cursor's place
    /// is then another than the one that was flushed, and the log does not have it. Events that were accepted at places
    /// before the cursor would never be flushed.
    async fn rollback_before(
        &self,
        page: &OutboxPage,
        cursor: &Cursor,
        state: &mut FlushState,
    ) -> Result<Option<Fault>, QuotaError> {
        let Some(Ok(events)) = page.at_cursor.as_ref().map(|entry| &entry.events) else {
            return Ok(None);
        };
        let Some(last) = events.last() else { return Ok(None) };
        let place = Some((cursor.epoch, cursor.seq, last.event_id));
        if place == state.known || !self.options.guards.seq_check {
            return Ok(None);
        }
        let known = self.ledger.has_event(cursor, last.event_id).await;
        if known.map_err(QuotaError::of_ledger)? {
            state.known = place;
            return Ok(None);
        }
        Ok(Some(self.fault(ShardFault::Rollback, page, cursor)))
    }

    /// The cursor was read before Redis was: another flusher may have moved it and trimmed in between.
    async fn recover_unless_moved(
        &self,
        cursor: &Cursor,
        fault: Fault,
    ) -> Result<FlushStep, QuotaError> {
        let now = self.ledger.cursor(cursor.shard).await.map_err(QuotaError::of_ledger)?;
        if (now.epoch, now.seq) == (cursor.epoch, cursor.seq) {
            self.recover(cursor.shard, fault).await?;
        }
        Ok(FlushStep::Again)
    }

    async fn write_and_note(&self, batch: Batch) -> Result<Flushed, LedgerError> {
        let (started_at, shard) = (Instant::now(), batch.shard);
        let events = u32::try_from(batch.events.len()).unwrap_or(u32::MAX);
        let span = spans::flush(batch.shard, batch.events.len());
        let flushed = self.write(batch).instrument(span).await?;
        metrics::histogram!(names::FLUSH_SECONDS).record(started_at.elapsed());
        metrics::histogram!(names::FLUSH_BATCH_EVENTS).record(events);
        metrics::counter!(names::FLUSH_BATCHES_TOTAL).increment(1);
        metrics::counter!(names::FLUSHED_EVENTS_TOTAL).increment(flushed.inserted);
        let duplicates = flushed.duplicates.len() as u64;
        metrics::counter!(names::FLUSH_DUPLICATES_TOTAL).increment(duplicates);
        self.announce_flushed(shard, &flushed.profiles).await;
        Ok(flushed)
    }

    /// Writes the batch. When Postgres cannot take one of its events, finds it by halving and sets it aside in the same
    /// transaction as the others.
    async fn write(&self, mut batch: Batch) -> Result<Flushed, LedgerError> {
        let guards = self.options.guards.flush;
        match self.ledger.flush(&batch, guards).await {
            Err(LedgerError::BadData(_)) => {}
            outcome => return outcome.inspect(|_| note_dead(&batch)),
        }
        let (good, bad) = self.sort_out(std::mem::take(&mut batch.events)).await?;
        for (event, reason) in &bad {
            batch.dead.push(DeadLetter::of_event(event, reason));
            // What is no subject has no counters, and a name that Postgres cannot take would fail the batch again.
            let levels = event.levels().filter(|level| Subject::parse(level).is_ok());
            batch.forget.extend(levels.map(str::to_owned));
        }
        batch.events = good;
        self.ledger.flush(&batch, guards).await.inspect(|_| note_dead(&batch))
    }

    /// Sorts events by whether Postgres can take them. A part that it takes as a whole is not halved.
    async fn sort_out(
        &self,
        events: Vec<Event>,
    ) -> Result<(Vec<Event>, Vec<(Event, String)>), LedgerError> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        let mut parts = vec![events];
        while let Some(mut part) = parts.pop() {
            match self.ledger.can_take(&part).await {
                Ok(()) => good.append(&mut part),
                Err(LedgerError::BadData(cause)) if part.len() == 1 => {
                    bad.extend(part.into_iter().map(|event| (event, Chain(&*cause).to_string())));
                }
                Err(LedgerError::BadData(_)) => {
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
                Err(error) => return Err(error),
            }
        }
        good.sort_unstable_by_key(|event| event.seq);
        Ok((good, bad))
    }

    /// Lets Redis drop the subjects on the cursor's list, then takes them off the list, some at a time.
    async fn forget(&self, cursor: &Cursor) -> Result<(), QuotaError> {
        for names in cursor.forget.chunks(FORGOTTEN_AT_ONCE) {
            if !self.settle(cursor, cursor.seq, 0, names).await? {
                break;
            }
            let forgotten = self.ledger.forgotten(cursor, names).await;
            forgotten.map_err(QuotaError::of_ledger)?;
        }
        Ok(())
    }

    /// Trims what is old enough, `events_max` events at most; without a bound, when the outbox is half full, all that is flushed.
    /// What is left is for the next pass.
    async fn trim(
        &self,
        cursor: &Cursor,
        floor: u64,
        state: &mut FlushState,
        events_max: Option<u64>,
    ) -> Result<(), QuotaError> {
        if state.epoch != cursor.epoch {
            return Ok(());
        }
        let lag = events_max.map_or(Duration::ZERO, |_| self.options.trim_lag);
        let lag_ms = i64::try_from(lag.as_millis()).unwrap_or(i64::MAX / 2);
        let due = state.trim_seq(self.counters.redis_now_ms(), lag_ms, self.options.trim_bytes_max);
        let bound = events_max.map_or(u64::MAX, |events| floor + events);
        let (mut at, last) = (floor, due.unwrap_or(0).min(bound));
        while at < last {
            at = last.min(at + TRIMMED_AT_ONCE);
            if !self.settle(cursor, cursor.seq, at, &[]).await? {
                return Ok(());
            }
        }
        state.trimmed(last);
        Ok(())
    }

    /// `false` when the shard cannot serve now; the next read of the outbox finds out why.
    async fn settle(
        &self,
        cursor: &Cursor,
        cursor_seq: u64,
        trim_seq: u64,
        forget: &[String],
    ) -> Result<bool, QuotaError> {
        let order =
            Settlement { shard: cursor.shard, epoch: cursor.epoch, cursor_seq, trim_seq, forget };
        let fault = self.counters.settle(&order).await.map_err(QuotaError::of_counters)?;
        Ok(fault.is_none())
    }
}

fn note_dead(batch: &Batch) {
    metrics::counter!(names::DEAD_LETTERS_TOTAL).increment(batch.dead.len() as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(marks: &[(u64, i64, u64)]) -> FlushState {
        let mut state = FlushState::default();
        for (seq, written_at_ms, bytes) in marks {
            let (seq, written_at_ms, bytes) = (*seq, *written_at_ms, *bytes);
            let mark = Mark { seq, written_at_ms, bytes, entries: 1 };
            state.remember(1, mark);
        }
        state
    }

    #[test]
    fn flushed_events_stay_until_they_are_old_or_too_many() {
        let state = state(&[(10, 1_000, 50), (20, 2_000, 50), (30, 3_000, 50)]);
        assert_eq!(state.trim_seq(1_500, 1_000, 1_000), None);
        assert_eq!(state.trim_seq(2_000, 1_000, 1_000), Some(10));
        assert_eq!(state.trim_seq(1_500, 1_000, 60), Some(20));
        assert_eq!(state.trim_seq(9_000, 1_000, 1_000), Some(30));
    }

    #[test]
    fn what_a_flusher_before_has_flushed_is_trimmed_after_the_lag() {
        let cursor = Cursor { shard: 0, epoch: 1, seq: 40, fence: None, forget: Vec::new() };
        let mut state = FlushState::default();
        state.take_over(&cursor, 40, 1_000);
        assert_eq!(state.trim_seq(9_000, 1_000, 1_000), None);
        state.take_over(&cursor, 10, 1_000);
        state.take_over(&cursor, 10, 5_000);
        assert_eq!(state.trim_seq(1_500, 1_000, 1_000), None);
        assert_eq!(state.trim_seq(2_000, 1_000, 1_000), Some(40));
        assert_eq!(state.marks.len(), 1);
        state.take_over(&Cursor { epoch: 2, ..cursor }, 10, 6_000);
        assert_eq!((state.epoch, state.marks.len()), (2, 1));
    }

    #[test]
    fn a_pass_reads_as_many_entries_as_a_batch_takes() {
        let of = |last_batch| FlushState { last_batch, ..FlushState::default() }.entries_max(5_000);
        assert_eq!(of(None), ENTRIES_MAX);
        assert_eq!(of(Some((80, 5_120))), 79);
        assert_eq!(of(Some((100, 100))), ENTRIES_MAX);
        assert_eq!(of(Some((10, 0))), ENTRIES_MAX);
    }

    #[test]
    fn a_new_epoch_forgets_the_marks_of_the_old() {
        let mut state = state(&[(10, 1_000, 50)]);
        state.remember(2, Mark { seq: 1, written_at_ms: 5_000, bytes: 7, entries: 1 });
        assert_eq!((state.marks.len(), state.bytes), (1, 7));
        state.trimmed(1);
        assert_eq!((state.marks.len(), state.bytes), (0, 0));
    }
}
