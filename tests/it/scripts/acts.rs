//! What tests ask of holds, grants and windows that leave units, and what they are told.

use std::sync::Arc;

use headroom::counters::Before;
use headroom::counters::HoldOf;
use headroom::counters::More;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::Outcome;
use headroom::counters::PackedSheet;
use headroom::counters::StoredAnswer;
use headroom::domain::Event;
use headroom::domain::Grant;
use headroom::domain::GrantLine;
use headroom::domain::Line;
use headroom::domain::Sheet;
use headroom::domain::Tally;
use headroom::domain::Units;
use uuid::Uuid;

use crate::support::lanes::Lanes;
use crate::support::lanes::operation;
use crate::support::orders;

pub const SUBJECT: &str = "user:u_1";

/// A shard with a subject that has used nothing, early in an hour.
pub async fn start() -> Lanes {
    let lanes = Lanes::start().await;
    lanes.load(&[SUBJECT], 0).await;
    lanes.move_past_the_hour();
    lanes
}

/// So many units.
pub fn units(count: u64) -> Units {
    Units::new(count).unwrap()
}

/// What these limits ask, beside no grants.
pub fn sheet(subject: &str, lines: Vec<Line>) -> Sheet {
    let depth = orders::subject(subject).depth();
    Sheet { plan: "test".to_owned(), depth, lines, ..Sheet::default() }
}

/// A grant of the level at `depth`, which ends then.
pub fn grant(depth: u8, id: u64, metric: &str, amount: u64, expires_s: Option<i64>) -> GrantLine {
    let (metric, amount) = (orders::metric(metric), units(amount));
    GrantLine { depth, grant: Grant { id, metric, amount, expires_s, period: None } }
}

/// A request of that kind and amount by a sheet.
pub fn ask(kind: OperationKind, subject: &str, sheet: Sheet, amount: u64) -> Operation {
    let sheet = Arc::new(PackedSheet::charge(sheet));
    Operation { amount: units(amount), ..operation(kind, subject, sheet) }
}

/// A reserve that holds until then.
pub fn reserve(subject: &str, sheet: Sheet, amount: u64, until_s: i64) -> Operation {
    let order = ask(OperationKind::Reserve, subject, sheet, amount);
    let hold = Some(HoldOf { id: order.event_id, until_s, is_strict: false });
    Operation { hold, ..order }
}

/// What ends or moves the hold, of which nobody tells but Redis.
pub fn end(kind: OperationKind, subject: &str, id: Uuid, amount: u64) -> Operation {
    let depth = orders::subject(subject).depth();
    let order = operation(kind, subject, Arc::new(PackedSheet::hold(depth, None)));
    let hold = Some(HoldOf { id, until_s: 0, is_strict: false });
    Operation { hold, amount: units(amount), ..order }
}

/// An extend that moves the hold's end.
pub fn extend(subject: &str, id: Uuid, until_s: i64) -> Operation {
    let hold = Some(HoldOf { id, until_s, is_strict: false });
    Operation { hold, ..end(OperationKind::Extend, subject, id, 0) }
}

/// What Postgres says of a window before in which nothing is held.
pub const fn used_before(used: i64, carried: i64) -> Before {
    Before::Used { used, carried, held: 0 }
}

/// The second that it is, by the lanes' clock.
pub fn now_s(lanes: &Lanes) -> i64 {
    lanes.clock.now_ms().div_euclid(1_000)
}

/// Lets seconds pass.
pub fn pass(lanes: &Lanes, seconds: i64) {
    lanes.clock.advance(seconds * 1_000);
}

/// What counts beside used units by a decision; panics when it tells nothing of that.
pub fn more(outcome: &Outcome) -> &More {
    let Outcome::Decided { more: Some(more), .. } = outcome else { panic!("{outcome:?}") };
    more
}

/// Whether it was accepted, what is used and what is held.
pub fn counts(outcome: &Outcome) -> (bool, Vec<u64>, Vec<u64>) {
    let Outcome::Decided { accepted, used, .. } = outcome else { panic!("{outcome:?}") };
    (*accepted, plain(used), plain(&more(outcome).held))
}

/// What is told of a hold that was ended or moved; panics when it was not.
pub fn told(outcome: &Outcome) -> &StoredAnswer {
    let Outcome::HoldEnded(told) = outcome else { panic!("{outcome:?}") };
    told
}

/// Units as numbers.
pub fn plain(units: &[Units]) -> Vec<u64> {
    units.iter().map(|units| units.get()).collect()
}

/// The lines of an event: of which grant, which count, how many units.
pub fn lines_of(event: &Event) -> Vec<(Option<u64>, Tally, i64)> {
    event.deltas.lines.iter().map(|line| (line.grant, line.tally, line.units)).collect()
}
