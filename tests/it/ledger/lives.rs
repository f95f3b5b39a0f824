//! Events of the life of a reservation, and of grants.

use std::sync::Arc;

use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::domain::Period;
use headroom::domain::Tally;
use headroom::domain::Window;
use headroom::domain::event::Delta;
use headroom::domain::event::Deltas;
use headroom::ledger::Base;
use headroom::ledger::Ledger;
use uuid::Uuid;

use super::fixture;
use super::fixture::DAY;
use super::fixture::consume;
use super::fixture::delta;
use super::fixture::deltas;

/// The subject of these events, and its root.
pub const SUBJECT: &str = "org:acme/user:u_1";
pub const ROOT: &str = "org:acme";

/// Until when the reservations hold, and to when they are extended: two and three hours into the day.
pub const UNTIL_S: i64 = DAY.start_s + 7_200;
pub const LATER_S: i64 = DAY.start_s + 10_800;

/// Units held until then on the day's counter of messages.
pub fn held(depth: u8, units: i64, until_s: i64) -> Delta {
    Delta { tally: Tally::Held { until_s }, ..delta(depth, "messages", units) }
}

/// Units used of a grant that never ends.
pub fn of_grant(grant: u64, units: i64) -> Delta {
    let (period, window) = (Period::Lifetime, Window::LIFETIME);
    Delta { grant: Some(grant), period, window, ..delta(2, "messages", units) }
}

/// An event of a kind that does `lines`.
pub fn event(seq: u64, kind: EventKind, lines: Vec<Delta>) -> Event {
    Event { kind, ..consume(seq, SUBJECT, &deltas(lines)) }
}

/// Five messages held on both levels.
pub fn reserve(seq: u64) -> Event {
    let lines = vec![held(1, 5, UNTIL_S), held(2, 5, UNTIL_S)];
    Event { amount: 5, until_s: Some(UNTIL_S), ..event(seq, EventKind::Reserve, lines) }
}

/// The hold of [`reserve`] given more time.
pub fn extend(seq: u64, of: Uuid) -> Event {
    let lines =
        vec![held(1, -5, UNTIL_S), held(1, 5, LATER_S), held(2, -5, UNTIL_S), held(2, 5, LATER_S)];
    Event { of: Some(of), until_s: Some(LATER_S), ..event(seq, EventKind::Extend, lines) }
}

/// Three messages settle [`reserve`].
pub fn commit(seq: u64, of: Uuid) -> Event {
    let lines = vec![
        held(1, -5, UNTIL_S),
        delta(1, "messages", 3),
        held(2, -5, UNTIL_S),
        delta(2, "messages", 3),
    ];
    Event { of: Some(of), amount: 3, ..event(seq, EventKind::Commit, lines) }
}

/// Three messages settle [`reserve`] after its end.
pub fn commit_late(seq: u64, of: Uuid) -> Event {
    let lines = vec![delta(1, "messages", 3), delta(2, "messages", 3)];
    let late = Deltas { plan: "pro".to_owned(), lines, late: true, overage: true };
    let settled = event(seq, EventKind::Commit, Vec::new());
    Event { of: Some(of), amount: 3, deltas: Arc::new(late), ..settled }
}

/// An end of [`reserve`] that uses nothing.
pub fn end(seq: u64, kind: EventKind, of: Uuid) -> Event {
    let lines = vec![held(1, -5, UNTIL_S), held(2, -5, UNTIL_S)];
    Event { of: Some(of), ..event(seq, kind, lines) }
}

/// What both levels start from an hour into the day.
pub async fn base(ledger: &Ledger) -> Base {
    ledger.base(1, &[ROOT, SUBJECT], DAY.start_at()).await.unwrap()
}

/// What both levels hold: level, instant, units.
pub async fn holds(ledger: &Ledger) -> Vec<(String, i64, i64)> {
    let held = base(ledger).await.held;
    held.into_iter().map(|hold| (hold.subject, hold.until_s, hold.units)).collect()
}

/// Asserts I1 and I8: every table agrees with the log.
pub async fn assert_agrees(ledger: &Ledger) {
    fixture::assert_sums_agree(ledger).await;
    assert_eq!(ledger.reservations_differ(10).await.unwrap(), []);
    assert_eq!(ledger.holds_differ(10).await.unwrap(), []);
    assert_eq!(ledger.grants_differ(10).await.unwrap(), []);
    assert_eq!(ledger.transfers_differ(10).await.unwrap(), []);
}
