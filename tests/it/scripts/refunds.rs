//! Units that are given back.

use std::sync::Arc;

use headroom::counters::Field;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Check;
use headroom::counters::OperationKind::Consume;
use headroom::counters::OperationKind::Decrement;
use headroom::counters::Outcome;
use headroom::counters::PackedSheet;
use headroom::counters::Taken;
use headroom::domain::EventKind;
use headroom::domain::GrantLine;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Sheet;
use headroom::domain::Tally;
use uuid::Uuid;

use super::acts::SUBJECT;
use super::acts::ask;
use super::acts::grant;
use super::acts::lines_of;
use super::acts::now_s;
use super::acts::pass;
use super::acts::sheet;
use super::acts::start;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::operation;
use crate::support::lanes::rewritten;

/// An hour and a month of messages.
fn lines(lanes: &Lanes) -> Vec<Line> {
    vec![lanes.line_of(1, Period::Hour, "messages", None), lanes.line(1, "messages", None)]
}

/// What was taken of a limit's window; refunds give back so much of it at most.
fn of_line(line: &Line, units: u64, refund_max: Option<u64>) -> Taken {
    let (period, start_s) = (line.limit.period, line.window.start_s);
    let field = Field::used(line.limit.metric.as_str(), period, false, start_s);
    let refund_max = refund_max.map(super::acts::units);
    Taken { depth: 1, field, units, refund_max, end_s: line.window.end_s }
}

fn of_grant(GrantLine { depth, grant }: &GrantLine, units: u64) -> Taken {
    let field = Field::of_grant(grant.metric.as_str(), grant.id, grant.end_s());
    Taken { depth: *depth, field, units, refund_max: None, end_s: grant.end_s() }
}

fn refund(taken: &[Taken]) -> Operation {
    let sheet = Arc::new(PackedSheet::refund(1, "test", taken));
    let order = operation(OperationKind::Refund, SUBJECT, sheet);
    Operation { refunds: Some(Uuid::from_u128(7)), ..order }
}

async fn consume(lanes: &Lanes, amount: u64) {
    let order = ask(Consume, SUBJECT, sheet(SUBJECT, lines(lanes)), amount);
    assert!(decided(&lanes.submit(order).await).0);
}

async fn used(lanes: &Lanes, limits: Vec<Line>) -> Vec<u64> {
    decided(&lanes.submit(ask(Check, SUBJECT, sheet(SUBJECT, limits), 0)).await).1
}

/// Guards refunds: what an event took is given back in its windows, by an event that names it.
#[tokio::test]
async fn a_refund_gives_back_what_was_taken() {
    let lanes = start().await;
    let of = lines(&lanes);
    consume(&lanes, 3).await;
    consume(&lanes, 4).await;

    let order = refund(&[of_line(&of[0], 4, None), of_line(&of[1], 4, None)]);
    let outcome = lanes.submit(order).await;

    assert_eq!(rewritten(&outcome), [-4, -4]);
    assert_eq!(used(&lanes, of).await, [3, 3]);
    let event = lanes.events().await.pop().unwrap();
    assert_eq!((event.kind, event.of), (EventKind::Refund, Some(Uuid::from_u128(7))));
    assert_eq!(&*event.deltas.plan, "test");
    assert_eq!(lines_of(&event), [(None, Tally::Used, -4), (None, Tally::Used, -4)]);
}

/// Guards I3: a counter that was lowered meanwhile gives back what it has, and never falls below zero.
#[tokio::test]
async fn a_refund_gives_back_no_more_than_is_used() {
    let lanes = start().await;
    let of = lines(&lanes);
    consume(&lanes, 4).await;
    let lower = Lanes::rewrite(Decrement, SUBJECT, of[..1].to_vec(), 3);
    rewritten(&lanes.submit(lower).await);

    let taken = [of_line(&of[0], 4, None), of_line(&of[1], 4, None)];

    assert_eq!(rewritten(&lanes.submit(refund(&taken)).await), [-1, -4]);
    assert_eq!(lanes.submit(refund(&taken)).await, Outcome::Nothing);
    assert_eq!(lanes.events().await.len(), 3, "nothing to give back is no event");
}

/// Guards the catalogue's `refund_max`: a refund that would pass it gives back nothing of that limit, and all of others.
#[tokio::test]
async fn refunds_of_a_window_stay_below_their_bound() {
    let lanes = start().await;
    let of = lines(&lanes);
    consume(&lanes, 9).await;
    let give_back = async |units| {
        let taken = [of_line(&of[0], units, None), of_line(&of[1], units, Some(5))];
        let outcome = lanes.submit(refund(&taken)).await;
        let Outcome::Rewritten { lines, .. } = outcome else { panic!("{outcome:?}") };
        lines.iter().map(|line| (line.tally, line.units)).collect::<Vec<_>>()
    };
    let (taken_back, counted) = (|units| (Tally::Used, units), |units| (Tally::Refunded, units));

    let none = [of_line(&of[1], 1, Some(0))];
    assert_eq!(lanes.submit(refund(&none)).await, Outcome::Nothing);
    assert_eq!(give_back(3).await, [taken_back(-3), taken_back(-3), counted(3)]);
    assert_eq!(give_back(3).await, [taken_back(-3)]);
    assert_eq!(give_back(2).await, [taken_back(-2), taken_back(-2), counted(2)]);
    assert_eq!(give_back(1).await, [taken_back(-1)]);
    assert_eq!(used(&lanes, of).await, [0, 4]);
}

/// Guards the catalogue's `refund_max` of limits that slide: it bounds what refunds give back in the slices that count, the
/// first of them to the last second of the seventh, and no longer.
#[tokio::test]
async fn refunds_of_a_limit_that_slides_stay_below_their_bound() {
    let lanes = start().await;
    // Ten seconds past the hour, so that a slice has just begun.
    pass(&lanes, 9);
    let use_some = async || {
        let line = lanes.sliding(1, Period::Minute, "messages", None);
        let order = ask(Consume, SUBJECT, sheet(SUBJECT, vec![line.clone()]), 9);
        assert!(decided(&lanes.submit(order).await).0);
        line
    };
    let give_back = async |of: &Line| {
        let field = Field::used("messages", Period::Minute, true, of.window.start_s);
        let refund_max = Some(super::acts::units(5));
        let taken = Taken { depth: 1, field, units: 3, refund_max, end_s: of.window.end_s };
        match lanes.submit(refund(&[taken])).await {
            Outcome::Nothing => Vec::new(),
            outcome => rewritten(&outcome),
        }
    };

    pass(&lanes, 3);
    let first = use_some().await;
    assert_eq!(give_back(&first).await, [-3, 3], "3 seconds into the first slice");
    assert_eq!(give_back(&first).await, Vec::<i64>::new(), "6 are more than 5");
    pass(&lanes, 66);
    let last = use_some().await;
    assert_eq!(give_back(&last).await, Vec::<i64>::new(), "the last second of the seventh");
    pass(&lanes, 1);
    assert_eq!(give_back(&last).await, [-3, 3], "the first slice counts no more");

    let noted = lanes.events().await.pop().unwrap().deltas.lines[1].window;
    assert_eq!((noted.start_s, noted.end_s), (now_s(&lanes), now_s(&lanes) + 10));
}

/// Guards refunds: a window that has ended gives nothing back.
#[tokio::test]
async fn a_refund_leaves_windows_that_have_ended_alone() {
    let lanes = start().await;
    let of = lines(&lanes);
    consume(&lanes, 4).await;
    let taken = [of_line(&of[0], 4, None), of_line(&of[1], 4, None)];

    pass(&lanes, 3_600);

    assert_eq!(lanes.submit(refund(&taken[..1])).await, Outcome::Nothing);
    assert_eq!(rewritten(&lanes.submit(refund(&taken)).await), [-4]);
    let event = lanes.events().await.pop().unwrap();
    assert_eq!(event.deltas.lines[0].period, Period::Month);
}

/// Guards refunds: a grant has back what was taken of it, until it ends.
#[tokio::test]
async fn a_refund_gives_grants_back() {
    let lanes = start().await;
    let ends_s = now_s(&lanes) + 100;
    let grants = [grant(1, 7, "messages", 3, Some(ends_s)), grant(1, 5, "messages", 4, None)];
    let line = lanes.line(1, "messages", Some(1));
    let sheet = Sheet { grants: grants.to_vec(), ..sheet(SUBJECT, vec![line.clone()]) };
    let order = ask(Consume, SUBJECT, sheet.clone(), 6);
    assert!(decided(&lanes.submit(order).await).0);
    let taken = [of_line(&line, 1, None), of_grant(&grants[0], 3), of_grant(&grants[1], 2)];

    assert_eq!(rewritten(&lanes.submit(refund(&taken)).await), [-1, -3, -2]);
    let all = lanes.submit(ask(Consume, SUBJECT, sheet, 8)).await;
    assert!(decided(&all).0, "{all:?}");
    pass(&lanes, 101);
    assert_eq!(rewritten(&lanes.submit(refund(&taken)).await), [-1, -2]);
}

/// Guards promise 4: a refund of unknown fate gives back once, and answers the same.
#[tokio::test]
async fn a_refund_of_unknown_fate_gives_back_once() {
    let lanes = start().await;
    let of = lines(&lanes);
    consume(&lanes, 8).await;
    let order = || refund(&[of_line(&of[0], 4, None), of_line(&of[1], 4, Some(9))]);
    let first = order();
    let again = Operation { event_id: first.event_id, since_seq: Some(1), ..order() };

    let heard = rewritten(&lanes.submit(first).await);
    let told = rewritten(&lanes.submit(again).await);

    assert_eq!((heard, told), (vec![-4, -4, 4], vec![-4, -4, 4]));
    assert_eq!(used(&lanes, of).await, [4, 4]);
    assert_eq!(lanes.events().await.len(), 2);
}
