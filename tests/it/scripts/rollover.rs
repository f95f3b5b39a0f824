//! Windows that begin with what those before them left.

use std::sync::Arc;

use headroom::counters::Again;
use headroom::counters::Before;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Check;
use headroom::counters::OperationKind::Consume;
use headroom::counters::Outcome;
use headroom::counters::PackedSheet;
use headroom::counters::Roll;
use headroom::domain::EventKind;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Portion;
use headroom::domain::Sheet;
use headroom::domain::Tally;

use super::acts::SUBJECT;
use super::acts::ask;
use super::acts::lines_of;
use super::acts::more;
use super::acts::now_s;
use super::acts::plain;
use super::acts::reserve;
use super::acts::sheet;
use super::acts::units;
use super::acts::used_before;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::operation;
use crate::support::lanes::rewritten;

const DAY_S: i64 = 86_400;
/// The limit of a day.
const MAX: u64 = 10;
/// The most that is carried.
const CAP: u64 = 3;

/// A subject at noon of a day.
async fn start() -> Lanes {
    let lanes = Lanes::start().await;
    lanes.load(&[SUBJECT], 0).await;
    lanes.move_to("2027-03-03T12:00:00Z");
    lanes
}

fn next_day(lanes: &Lanes) {
    super::acts::pass(lanes, DAY_S);
}

fn day(lanes: &Lanes) -> Line {
    let mut line = lanes.line_of(1, Period::Day, "messages", Some(MAX));
    line.limit.rollover = Some(Portion::Units(units(CAP)));
    line
}

/// What some lines ask on a level whose day rolls over.
fn rolling(lanes: &Lanes, limits: Vec<Line>) -> Sheet {
    Sheet { rolling: vec![day(lanes)], ..sheet(SUBJECT, limits) }
}

async fn messages(lanes: &Lanes, kind: OperationKind, amount: u64) -> Outcome {
    lanes.submit(ask(kind, SUBJECT, rolling(lanes, vec![day(lanes)]), amount)).await
}

fn roll_order(lanes: &Lanes, before: Before) -> Operation {
    let line = day(lanes);
    let before_s = line.window.start_s - DAY_S;
    let sheet = Arc::new(PackedSheet::roll(1, &[Roll { line, before_s, before }]));
    operation(OperationKind::Roll, SUBJECT, sheet)
}

async fn roll(lanes: &Lanes, before: Before) -> Outcome {
    lanes.submit(roll_order(lanes, before)).await
}

/// Rolls over into the first day, of a subject that is new.
async fn first_day(lanes: &Lanes) {
    assert_eq!(rewritten(&roll(lanes, Before::Nothing).await), [0]);
}

/// Guards rollover: a level whose window was not opened yet rolls over first, whatever is asked of it and of which metric.
#[tokio::test]
async fn a_new_window_rolls_over_first() {
    let lanes = start().await;
    let tokens = || rolling(&lanes, vec![lanes.line(1, "tokens", Some(9))]);
    let orders = [
        ask(Consume, SUBJECT, tokens(), 1),
        ask(Check, SUBJECT, tokens(), 1),
        reserve(SUBJECT, tokens(), 1, now_s(&lanes) + 60),
        ask(Consume, SUBJECT, rolling(&lanes, vec![day(&lanes)]), 1),
    ];

    for order in orders {
        assert_eq!(lanes.submit(order).await, Outcome::Again(Again::Roll(1)));
    }
    assert!(lanes.events().await.is_empty());
    first_day(&lanes).await;
    assert!(decided(&lanes.submit(ask(Consume, SUBJECT, tokens(), 1)).await).0);
    assert!(decided(&messages(&lanes, Consume, 1).await).0);
}

/// Guards rollover: what is unused is carried, up to the cap, once, by an event with a line even when it is nothing.
#[tokio::test]
async fn what_is_unused_is_carried_up_to_the_cap_and_once() {
    for (used, carried) in [(0, 3), (6, 3), (8, 2), (10, 0)] {
        let lanes = start().await;
        first_day(&lanes).await;
        messages(&lanes, Consume, used).await;
        next_day(&lanes);

        let outcome = roll(&lanes, Before::Unknown).await;

        assert_eq!(rewritten(&outcome), [carried], "{used}");
        let event = lanes.events().await.pop().unwrap();
        assert_eq!(event.kind, EventKind::Rollover);
        assert_eq!(lines_of(&event), [(None, Tally::Carried, carried)]);
        assert_eq!(event.deltas.lines[0].window, day(&lanes).window);
        assert_eq!(roll(&lanes, Before::Unknown).await, Outcome::Nothing);
        assert_eq!(roll(&lanes, used_before(0, 0)).await, Outcome::Nothing);
    }
}

/// Guards I3: what is carried stands beside the limit, for a consume, a reserve and a check.
#[tokio::test]
async fn what_is_carried_adds_to_the_limit() {
    let lanes = start().await;
    first_day(&lanes).await;
    messages(&lanes, Consume, 6).await;
    next_day(&lanes);
    roll(&lanes, Before::Unknown).await;
    let hold = |amount| {
        let sheet = rolling(&lanes, vec![day(&lanes)]);
        reserve(SUBJECT, sheet, amount, now_s(&lanes) + 60)
    };
    messages(&lanes, Consume, 1).await;

    let checks = [messages(&lanes, Check, 13).await, messages(&lanes, Check, 12).await];
    let reserves = [lanes.submit(hold(13)).await, lanes.submit(hold(2)).await];
    let consumes = [messages(&lanes, Consume, 11).await, messages(&lanes, Consume, 10).await];

    for [refused, accepted] in [checks, reserves, consumes] {
        assert_eq!((decided(&refused).0, decided(&accepted).0), (false, true));
        assert_eq!(plain(&more(&refused).carried), [3]);
        assert_eq!(plain(&more(&accepted).carried), [3]);
    }
}

/// Guards rollover: what was carried into a window is used up first, and is not carried on.
#[tokio::test]
async fn what_was_carried_is_not_carried_on() {
    let lanes = start().await;
    first_day(&lanes).await;
    messages(&lanes, Consume, 7).await;
    next_day(&lanes);
    assert_eq!(rewritten(&roll(&lanes, Before::Unknown).await), [3]);
    messages(&lanes, Consume, 12).await;
    next_day(&lanes);

    assert_eq!(rewritten(&roll(&lanes, Before::Unknown).await), [1]);
}

/// Guards rollover: in a window that was opened and not used everything was left.
#[tokio::test]
async fn a_window_that_was_only_opened_leaves_up_to_the_cap() {
    let lanes = start().await;
    first_day(&lanes).await;
    next_day(&lanes);

    assert_eq!(rewritten(&roll(&lanes, Before::Unknown).await), [3]);
}

/// Guards promise 1: what Redis does not have of the window before is told by Postgres.
#[tokio::test]
async fn what_redis_does_not_know_is_asked_for() {
    let cases = [
        (Before::Nothing, 0),
        (used_before(4, 0), 3),
        (used_before(9, 0), 1),
        (used_before(12, 3), 1),
        (used_before(2, 3), 3),
        (used_before(-1, 0), 3),
    ];
    for (before, carried) in cases {
        let lanes = start().await;

        assert_eq!(roll(&lanes, Before::Unknown).await, Outcome::Again(Again::Before));
        assert!(lanes.events().await.is_empty());

        assert_eq!(rewritten(&roll(&lanes, before).await), [carried], "{before:?}");
    }
}

/// Guards promise 1: the window before is not forgotten while it was not rolled over, though it is long over.
#[tokio::test]
async fn the_window_before_is_kept_until_it_is_rolled_over() {
    let lanes = start().await;
    first_day(&lanes).await;
    messages(&lanes, Consume, 8).await;
    super::acts::pass(&lanes, DAY_S + 39_600);

    let late = messages(&lanes, Consume, 1).await;
    assert_eq!(late, Outcome::Again(Again::Roll(1)));
    let other =
        Lanes::rewrite(OperationKind::Set, SUBJECT, vec![lanes.line(1, "tokens", Some(9))], 4);
    rewritten(&lanes.submit(other).await);

    assert_eq!(rewritten(&roll(&lanes, Before::Unknown).await), [2]);
}

/// Guards promise 1: a hold that is open in the window before counts as used, also when nothing else was used in it.
#[tokio::test]
async fn what_is_held_in_the_window_before_is_not_carried() {
    for used in [0, 1] {
        let lanes = start().await;
        first_day(&lanes).await;
        if used > 0 {
            messages(&lanes, Consume, used).await;
        }
        let sheet = rolling(&lanes, vec![day(&lanes)]);
        lanes.submit(reserve(SUBJECT, sheet, 8, now_s(&lanes) + 2 * DAY_S)).await;
        next_day(&lanes);

        let left = 2 - i64::try_from(used).unwrap();
        assert_eq!(rewritten(&roll(&lanes, Before::Unknown).await), [left], "{used}");
    }
}

/// Guards promise 1: a hold counts beside what Postgres has of the window before.
#[tokio::test]
async fn what_is_held_counts_beside_what_is_asked_for() {
    for (before, carried) in [(Before::Nothing, 2), (used_before(1, 0), 1), (used_before(9, 0), 0)]
    {
        let lanes = start().await;
        let order =
            reserve(SUBJECT, sheet(SUBJECT, vec![day(&lanes)]), 8, now_s(&lanes) + 2 * DAY_S);
        lanes.submit(order).await;
        next_day(&lanes);

        assert_eq!(roll(&lanes, Before::Unknown).await, Outcome::Again(Again::Before));
        assert_eq!(rewritten(&roll(&lanes, before).await), [carried], "{before:?}");
    }
}

/// Guards promise 1: what Postgres says is held in the window before counts where Redis has nothing of it, and not twice.
#[tokio::test]
async fn what_postgres_has_held_counts_where_redis_has_nothing_of_it() {
    for (held_units, used, held, carried) in
        [(0, 0, 8, 2), (0, 1, 8, 1), (0, 1, -1, 3), (8, 0, 9, 2), (8, 1, 8, 1)]
    {
        let lanes = start().await;
        if held_units > 0 {
            let sheet = sheet(SUBJECT, vec![day(&lanes)]);
            lanes.submit(reserve(SUBJECT, sheet, held_units, now_s(&lanes) + 2 * DAY_S)).await;
        }
        next_day(&lanes);

        assert_eq!(roll(&lanes, Before::Unknown).await, Outcome::Again(Again::Before));
        let before = Before::Used { used, carried: 0, held };
        assert_eq!(rewritten(&roll(&lanes, before).await), [carried], "{before:?}, {held_units}");
    }
}

/// Guards promise 4: a rollover of unknown fate is made once.
#[tokio::test]
async fn a_rollover_of_unknown_fate_is_made_once() {
    let lanes = start().await;
    let first = roll_order(&lanes, used_before(8, 0));
    let again = roll_order(&lanes, used_before(8, 0));
    let again = Operation { event_id: first.event_id, since_seq: Some(0), ..again };

    assert_eq!(rewritten(&lanes.submit(first).await), [2]);
    assert_eq!(rewritten(&lanes.submit(again).await), [2]);
    assert_eq!(lanes.events().await.len(), 1);
}
