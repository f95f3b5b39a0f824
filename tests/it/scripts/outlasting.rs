//! Holds that outlast the windows in which they were made.

use std::sync::Arc;

use headroom::counters::Before;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Commit;
use headroom::counters::OperationKind::Consume;
use headroom::counters::PackedSheet;
use headroom::counters::Roll;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Portion;
use headroom::domain::Sheet;
use headroom::domain::Tally;
use uuid::Uuid;

use super::acts::SUBJECT;
use super::acts::ask;
use super::acts::counts;
use super::acts::end;
use super::acts::extend;
use super::acts::grant;
use super::acts::lines_of;
use super::acts::more;
use super::acts::now_s;
use super::acts::pass;
use super::acts::plain;
use super::acts::reserve;
use super::acts::sheet;
use super::acts::start;
use super::acts::told;
use super::acts::units;
use super::acts::used_before;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::operation;
use crate::support::lanes::rewritten;

const DAY_S: i64 = 86_400;

/// Ten messages a day, of which three are carried over at most.
fn day(lanes: &Lanes) -> Line {
    let mut line = lanes.line_of(1, Period::Day, "messages", Some(10));
    line.limit.rollover = Some(Portion::Units(units(3)));
    line
}

fn rolling(lanes: &Lanes) -> Sheet {
    Sheet { rolling: vec![day(lanes)], ..sheet(SUBJECT, vec![day(lanes)]) }
}

/// What is carried into the day.
async fn roll(lanes: &Lanes, before: Before) -> Vec<i64> {
    let line = day(lanes);
    let before_s = line.window.start_s - DAY_S;
    let sheet = Arc::new(PackedSheet::roll(1, &[Roll { line, before_s, before }]));
    rewritten(&lanes.submit(operation(OperationKind::Roll, SUBJECT, sheet)).await)
}

/// A subject at noon, of whose day so many messages are held until three days later.
async fn hold_at_noon(amount: u64) -> (Lanes, Uuid) {
    let lanes = Lanes::start().await;
    lanes.load(&[SUBJECT], 0).await;
    lanes.move_to("2027-03-03T12:00:00Z");
    assert_eq!(roll(&lanes, Before::Nothing).await, [0]);
    let order = reserve(SUBJECT, rolling(&lanes), amount, now_s(&lanes) + 3 * DAY_S);
    let id = order.event_id;
    assert!(counts(&lanes.submit(order).await).0);
    (lanes, id)
}

/// Guards promise 1: units that are held of a day count as used when it rolls over, though their hold was given more time after
/// the day was over.
#[tokio::test]
async fn what_is_held_for_longer_still_counts_in_its_day() {
    let (lanes, id) = hold_at_noon(8).await;
    pass(&lanes, DAY_S);

    told(&lanes.submit(extend(SUBJECT, id, now_s(&lanes) + 4 * DAY_S)).await);
    assert_eq!(roll(&lanes, Before::Unknown).await, [2]);
}

/// Guards promise 1: what is committed of a day that is over and was not rolled over counts as used in it.
#[tokio::test]
async fn a_commit_counts_in_a_day_that_is_yet_to_roll_over() {
    let (lanes, id) = hold_at_noon(8).await;
    lanes.submit(ask(Consume, SUBJECT, rolling(&lanes), 1)).await;
    pass(&lanes, DAY_S);

    told(&lanes.submit(end(Commit, SUBJECT, id, 8)).await);

    assert_eq!(roll(&lanes, Before::Unknown).await, [1]);
}

/// The same when nothing but the hold is known of the day.
#[tokio::test]
async fn a_commit_is_all_that_counts_in_a_day_that_was_only_opened() {
    let (lanes, id) = hold_at_noon(8).await;
    pass(&lanes, DAY_S);

    told(&lanes.submit(end(Commit, SUBJECT, id, 9)).await);

    assert_eq!(roll(&lanes, Before::Unknown).await, [1]);
}

/// Guards promise 7: nothing is opened for what nobody asks for any more: a minute that is over when a hold on it is committed,
/// in time or late.
#[tokio::test]
async fn a_commit_opens_no_window_that_is_over() {
    for ttl_s in [60, 300] {
        for amounts in [&[][..], &[5]] {
            let lanes = start().await;
            let limits = vec![
                lanes.line_of(1, Period::Minute, "messages", Some(10)),
                lanes.line(1, "messages", Some(10)),
            ];
            let month = format!("messages:m:{}", limits[1].window.start_s);
            let grants =
                (1..).zip(amounts).map(|(id, amount)| grant(1, id, "messages", *amount, None));
            let sheet = Sheet { grants: grants.collect(), ..sheet(SUBJECT, limits) };
            let order = reserve(SUBJECT, sheet, 4, now_s(&lanes) + ttl_s);
            let id = order.event_id;
            lanes.submit(order).await;
            pass(&lanes, 120);

            told(&lanes.submit(end(Commit, SUBJECT, id, 2)).await);

            let state = lanes.state(SUBJECT).await;
            let kept: Vec<_> =
                state.names().into_iter().filter(|name| !name.contains('@')).collect();
            assert_eq!(kept, [month], "{ttl_s} {amounts:?}");
            assert_eq!(state.used(kept[0]), Some(2));
            let charged = lines_of(&lanes.events().await.pop().unwrap());
            assert!(charged.contains(&(None, Tally::Used, 2)), "{charged:?}");
        }
    }
}

/// Guards rollover: what was carried counts though the limit rolls over no more, beside what is held, for whatever is asked.
#[tokio::test]
async fn what_was_carried_counts_where_nothing_rolls_over_any_more() {
    let (lanes, _) = hold_at_noon(7).await;
    pass(&lanes, DAY_S);
    assert_eq!(roll(&lanes, Before::Unknown).await, [3]);
    let plain_sheet = || {
        let line = Line {
            limit: lanes.line_of(1, Period::Day, "messages", Some(10)).limit,
            ..day(&lanes)
        };
        sheet(SUBJECT, vec![line])
    };

    let first = lanes.submit(ask(Consume, SUBJECT, plain_sheet(), 1)).await;
    assert_eq!((decided(&first).0, plain(&more(&first).carried)), (true, vec![3]));
    let order = reserve(SUBJECT, plain_sheet(), 4, now_s(&lanes) + 60);
    let id = order.event_id;
    let held = lanes.submit(order).await;
    assert_eq!((decided(&held).0, plain(&more(&held).carried)), (true, vec![3]));
    let committed = lanes.submit(end(Commit, SUBJECT, id, 12)).await;
    assert!(!told(&committed).hold.unwrap().overage);
    let carried = &told(&committed).more.as_ref().unwrap().carried;
    assert_eq!(plain(carried), [3]);
    assert!(!decided(&lanes.submit(ask(Consume, SUBJECT, plain_sheet(), 1)).await).0);
}

/// Guards the order of use: what was carried is used before grants, and after it they are.
#[tokio::test]
async fn grants_begin_behind_what_was_carried() {
    let (lanes, _) = hold_at_noon(7).await;
    pass(&lanes, DAY_S);
    roll(&lanes, Before::Unknown).await;
    let sheet = || Sheet { grants: vec![grant(1, 1, "messages", 5, None)], ..rolling(&lanes) };
    let order = reserve(SUBJECT, sheet(), 2, now_s(&lanes) + 60);
    let id = order.event_id;
    lanes.submit(order).await;

    let consumed = lanes.submit(ask(Consume, SUBJECT, sheet(), 12)).await;
    assert_eq!(decided(&consumed), (true, vec![11]));
    let committed = lanes.submit(end(Commit, SUBJECT, id, 4)).await;

    let told = told(&committed);
    assert_eq!((told.lines[0].used, told.hold.unwrap().overage), (units(13), false));
    let event = lanes.events().await.pop().unwrap();
    let used: Vec<_> =
        lines_of(&event).into_iter().filter(|(_, tally, _)| *tally == Tally::Used).collect();
    assert_eq!(used, [(None, Tally::Used, 2), (Some(1), Tally::Used, 2)]);
    let of_plan = event.deltas.lines.iter().find(|line| line.tally == Tally::Used).unwrap();
    assert_eq!(of_plan.limit.unwrap().max, units(10), "without what was carried");
}

/// Guards rollover: where the cap allows it a day leaves all that was not used of it, whatever had been carried into it, and
/// less by what is held, be it a single unit.
#[tokio::test]
async fn a_day_leaves_all_that_was_neither_used_nor_held() {
    let cases = [
        (0, Before::Nothing, 0),
        (0, used_before(0, 0), 10),
        (0, used_before(2, 3), 10),
        (0, used_before(3, 3), 10),
        (0, used_before(4, 3), 9),
        (1, Before::Nothing, 9),
        (1, used_before(0, 0), 9),
        (1, used_before(4, 3), 8),
    ];
    for (held, before, carried) in cases {
        let lanes = Lanes::start().await;
        lanes.load(&[SUBJECT], 0).await;
        lanes.move_to("2027-03-03T12:00:00Z");
        let mut line = day(&lanes);
        line.limit.rollover = Some(Portion::Units(units(20)));
        if held > 0 {
            let limits = sheet(SUBJECT, vec![line.clone()]);
            lanes.submit(reserve(SUBJECT, limits, held, now_s(&lanes) + 3 * DAY_S)).await;
        }
        pass(&lanes, DAY_S);
        let before_s = line.window.start_s;
        let line = Line { limit: line.limit, ..day(&lanes) };
        let sheet = Arc::new(PackedSheet::roll(1, &[Roll { line, before_s, before }]));

        let outcome = lanes.submit(operation(OperationKind::Roll, SUBJECT, sheet)).await;

        assert_eq!(rewritten(&outcome), [carried], "{held} {before:?}");
    }
}
