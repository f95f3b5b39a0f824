//! What a page of the outbox makes beside the cursor: a fault of the shard, or the next batch.

use std::cmp::Ordering;

use crate::counters::Entry;
use crate::counters::OutboxPage;
use crate::counters::ShardFault;
use crate::ledger::Batch;
use crate::ledger::Cursor;
use crate::ledger::DeadLetter;

/// The end of a batch, and what of the outbox it makes superfluous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The place of its last event.
    pub(super) seq: u64,
    /// When its last entry was written, Unix milliseconds.
    pub(super) written_at_ms: i64,
    /// The size of its entries.
    pub(super) bytes: u64,
    /// How many entries it has.
    pub(super) entries: usize,
}

/// What is wrong between a shard in Redis and its cursor in Postgres, if anything. Without `seq_check`, a guard that only tests
/// turn off, places are not compared.
pub(super) fn kind_of_fault(
    page: &OutboxPage,
    cursor: &Cursor,
    seq_check: bool,
) -> Option<ShardFault> {
    if page.is_fenced {
        return Some(ShardFault::Fenced);
    }
    let Some(epoch) = page.epoch else { return Some(ShardFault::Uninitialised) };
    if epoch < cursor.epoch {
        return Some(ShardFault::OlderEpoch);
    }
    if !seq_check {
        return None;
    }
    if epoch > cursor.epoch {
        return Some(ShardFault::Gap);
    }
    if page.seq < cursor.seq {
        return Some(ShardFault::Rollback);
    }
    match page.entries.first() {
        // What cannot be decoded is set aside with all places up to its own.
        Some(entry) => match entry.first_seq()?.cmp(&(cursor.seq + 1)) {
            // An entry across the cursor was not there when the cursor was set.
            Ordering::Less => Some(ShardFault::Rollback),
            Ordering::Equal => None,
            Ordering::Greater => Some(ShardFault::Gap),
        },
        None => (page.seq > cursor.seq).then_some(ShardFault::Gap),
    }
}

/// The batch that the entries make, and where it ends: with the entry that fills it up to `events_max`, or before a gap, which
/// the next pass finds.
pub(super) fn of_entries(
    cursor: &Cursor,
    entries: Vec<Entry>,
    events_max: usize,
    seq_check: bool,
) -> (Batch, Option<Mark>) {
    let mut batch = Batch {
        shard: cursor.shard,
        epoch: cursor.epoch,
        from_seq: cursor.seq,
        to_seq: cursor.seq,
        ..Batch::default()
    };
    let mut mark: Option<Mark> = None;
    for entry in entries {
        let is_next = entry.first_seq().is_none_or(|first| first == batch.to_seq + 1);
        let is_full = batch.events.len() >= events_max;
        if is_full || (!is_next && seq_check) {
            break;
        }
        let (bytes, entries) = mark.map_or((0, 0), |mark| (mark.bytes, mark.entries));
        mark = Some(Mark {
            seq: entry.last_seq,
            written_at_ms: entry.written_at_ms,
            bytes: bytes + entry.bytes as u64,
            entries: entries + 1,
        });
        match entry.events {
            Ok(events) => batch.events.extend(events),
            Err(undecodable) => batch.dead.push(DeadLetter {
                seq_first: batch.to_seq + 1,
                seq_last: entry.last_seq,
                raw: undecodable.raw,
                reason: undecodable.reason,
            }),
        }
        batch.to_seq = entry.last_seq;
    }
    (batch, mark)
}

#[cfg(test)]
mod tests {
    use crate::counters::Undecodable;
    use crate::domain::Event;
    use crate::quota::samples;

    use super::*;

    const CURSOR: Cursor = Cursor { shard: 1, epoch: 3, seq: 40, fence: None, forget: Vec::new() };

    fn event(seq: u64) -> Event {
        samples::event(seq, Vec::new())
    }

    /// An entry of the events at these places, of ten bytes for each.
    fn entry(first: u64, last: u64) -> Entry {
        let events: Vec<Event> = (first..=last).map(event).collect();
        let bytes = events.len() * 10;
        Entry { epoch: 3, last_seq: last, written_at_ms: 1_000, events: Ok(events), bytes }
    }

    fn poison(last: u64) -> Entry {
        let undecodable = Undecodable { raw: b"?".to_vec(), reason: "what".into() };
        Entry { epoch: 3, last_seq: last, written_at_ms: 0, events: Err(undecodable), bytes: 7 }
    }

    fn page(epoch: u64, seq: u64, entries: Vec<Entry>) -> OutboxPage {
        samples::page(epoch, 0, seq, entries)
    }

    /// Guards each kind of loss by the name that an incident gives it, and that nothing else is one.
    #[test]
    fn each_difference_between_the_stores_is_a_fault_of_its_kind() {
        let fault = |page: OutboxPage| kind_of_fault(&page, &CURSOR, true);
        let unknown = OutboxPage { epoch: None, ..page(3, 0, vec![]) };
        let fenced = OutboxPage { is_fenced: true, ..page(3, 40, vec![]) };

        assert_eq!(fault(unknown), Some(ShardFault::Uninitialised));
        assert_eq!(fault(fenced), Some(ShardFault::Fenced));
        assert_eq!(fault(page(2, 90, vec![])), Some(ShardFault::OlderEpoch));
        assert_eq!(fault(page(4, 40, vec![])), Some(ShardFault::Gap), "of a later epoch");
        assert_eq!(fault(page(3, 39, vec![])), Some(ShardFault::Rollback));
        assert_eq!(fault(page(3, 40, vec![])), None);
        assert_eq!(fault(page(3, 41, vec![])), Some(ShardFault::Gap), "what was given out is gone");
        assert_eq!(fault(page(3, 42, vec![entry(41, 42)])), None);
        assert_eq!(fault(page(3, 42, vec![entry(40, 42)])), Some(ShardFault::Rollback));
        assert_eq!(fault(page(3, 42, vec![entry(42, 42)])), Some(ShardFault::Gap));
        assert_eq!(fault(page(3, 42, vec![poison(42)])), None);
    }

    #[test]
    fn without_the_guard_places_are_not_compared() {
        let fault = |page: OutboxPage| kind_of_fault(&page, &CURSOR, false);

        assert_eq!(fault(page(2, 40, vec![])), Some(ShardFault::OlderEpoch));
        assert_eq!(fault(page(3, 39, vec![entry(43, 43)])), None);
    }

    #[test]
    fn a_batch_ends_with_the_entry_that_fills_it() {
        let entries = || vec![entry(41, 43), entry(44, 45), entry(46, 46)];

        let (batch, mark) = of_entries(&CURSOR, entries(), 4, true);
        let (exact, _) = of_entries(&CURSOR, entries(), 3, true);
        let (none, no_mark) = of_entries(&CURSOR, vec![], 4, true);

        assert_eq!((batch.shard, batch.epoch, batch.from_seq, batch.to_seq), (1, 3, 40, 45));
        assert_eq!(batch.events, [41, 42, 43, 44, 45].map(event));
        let wanted = Mark { seq: 45, written_at_ms: 1_000, bytes: 50, entries: 2 };
        assert_eq!((mark, exact.to_seq), (Some(wanted), 43));
        assert_eq!((none.to_seq, no_mark), (40, None));
    }

    /// Guards I5: what is behind a gap is not flushed before somebody has owned up to the gap.
    #[test]
    fn a_batch_ends_before_a_gap_unless_the_guard_is_off() {
        let entries = || vec![entry(41, 41), entry(43, 43)];

        let (with, _) = of_entries(&CURSOR, entries(), 10, true);
        let (without, _) = of_entries(&CURSOR, entries(), 10, false);

        assert_eq!((with.to_seq, without.to_seq), (41, 43));
    }

    #[test]
    fn what_cannot_be_decoded_is_set_aside_with_its_places() {
        let entries = vec![entry(41, 42), poison(45), entry(46, 46)];

        let (batch, mark) = of_entries(&CURSOR, entries, 10, true);

        let letter =
            DeadLetter { seq_first: 43, seq_last: 45, raw: b"?".to_vec(), reason: "what".into() };
        assert_eq!((batch.events.len(), batch.dead), (3, vec![letter]));
        assert_eq!(mark.map(|mark| (mark.seq, mark.bytes, mark.entries)), Some((46, 37, 3)));
    }
}
