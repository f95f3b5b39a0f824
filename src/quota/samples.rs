//! What the unit tests of several use-cases begin with.

use uuid::Uuid;

use crate::counters::Entry;
use crate::counters::OutboxPage;
use crate::domain::Event;
use crate::domain::EventKind;
use crate::domain::event::Delta;
use crate::domain::event::Deltas;

/// A consume at that place, whose id is its place.
pub(super) fn event(seq: u64, lines: Vec<Delta>) -> Event {
    let deltas = Deltas { plan: "free".into(), lines, late: false, overage: false };
    Event {
        seq,
        event_id: Uuid::from_u128(seq.into()),
        occurred_at_ms: 0,
        kind: EventKind::Consume,
        subject: "user:u_1".into(),
        model: None,
        amount: 1,
        until_s: None,
        of: None,
        deltas: deltas.into(),
        request_id: None,
        trace_id: None,
        metadata: None,
    }
}

/// A page of a shard that has given out the places up to `seq` and trimmed those up to `floor`.
pub(super) fn page(epoch: u64, floor: u64, seq: u64, entries: Vec<Entry>) -> OutboxPage {
    let (epoch, at_cursor) = (Some(epoch), None);
    OutboxPage { epoch, seq, floor, is_fenced: false, at_cursor, entries }
}
