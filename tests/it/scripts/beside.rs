//! What is asked of levels on which others hold units of plain limits: most of it.

use std::sync::Arc;

use headroom::counters::Again;
use headroom::counters::Before;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Check;
use headroom::counters::OperationKind::Commit;
use headroom::counters::OperationKind::Consume;
use headroom::counters::OperationKind::Release;
use headroom::counters::OperationKind::Reserve;
use headroom::counters::OperationKind::Set;
use headroom::counters::Outcome;
use headroom::counters::PackedSheet;
use headroom::counters::Roll;
use headroom::counters::keys;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Portion;
use headroom::domain::Units;
use uuid::Uuid;

use super::acts::SUBJECT;
use super::acts::ask;
use super::acts::counts;
use super::acts::end;
use super::acts::now_s;
use super::acts::pass;
use super::acts::reserve;
use super::acts::sheet;
use super::acts::start;
use super::acts::told;
use super::acts::units;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::operation;
use crate::support::lanes::rewritten;

const TTL_S: i64 = 600;
const DAY_S: i64 = 86_400;

/// Limits of a month on messages and images.
fn two(lanes: &Lanes) -> Vec<Line> {
    vec![lanes.line(1, "messages", Some(10)), lanes.line(1, "images", Some(20))]
}

fn order(lanes: &Lanes, kind: OperationKind, limits: Vec<Line>, amount: u64) -> Operation {
    let limits = sheet(SUBJECT, limits);
    match kind {
        Reserve => reserve(SUBJECT, limits, amount, now_s(lanes) + TTL_S),
        _ => ask(kind, SUBJECT, limits, amount),
    }
}

async fn hold(lanes: &Lanes, limits: Vec<Line>, amount: u64) -> Uuid {
    let order = order(lanes, Reserve, limits, amount);
    let id = order.event_id;
    assert!(counts(&lanes.submit(order).await).0);
    id
}

async fn set(lanes: &Lanes, line: &Line, amount: u64) {
    let order = ask(Set, SUBJECT, sheet(SUBJECT, vec![line.clone()]), amount);
    rewritten(&lanes.submit(order).await);
}

/// Guards I3: used and held units together leave room to the last unit, in the first limit and in those behind it.
#[tokio::test]
async fn used_and_held_units_leave_room_to_the_last_unit() {
    for (full, used, held, fits) in [(0, 5, 3, 2), (1, 15, 3, 2), (1, 5, 9, 1), (0, 0, 10, 0)] {
        for kind in [Consume, Check, Reserve] {
            let lanes = start().await;
            let of = two(&lanes);
            set(&lanes, &of[full], used).await;
            hold(&lanes, of.clone(), held).await;

            let over = lanes.submit(order(&lanes, kind, of.clone(), fits + 1)).await;
            let fitting = lanes.submit(order(&lanes, kind, of, fits)).await;

            assert_eq!((decided(&over).0, decided(&fitting).0), (false, true), "{used} {held}");
        }
    }
}

/// Guards I8: a commit beside other holds counts them in every limit, and passes it with the first unit that is too much.
#[tokio::test]
async fn a_commit_beside_other_holds_passes_limits_by_one_unit() {
    for (full, used, fits) in [(0, 5, 2), (1, 15, 2), (0, 6, 1), (0, 7, 0)] {
        for (amount, is_overage) in [(fits, false), (fits + 1, true)] {
            let lanes = start().await;
            let of = two(&lanes);
            let id = hold(&lanes, of.clone(), 1).await;
            hold(&lanes, of.clone(), 3).await;
            set(&lanes, &of[full], used).await;

            let outcome = lanes.submit(end(Commit, SUBJECT, id, amount)).await;

            let told = told(&outcome);
            assert_eq!(told.hold.unwrap().overage, is_overage, "{used} {amount}");
            assert_eq!(told.lines[full].used, units(used + amount));
            assert_eq!(told.lines[1 - full].used, units(amount));
        }
    }
}

/// Guards promise 7: what a hold holds stays no longer than the hold, in whatever order others begin and end, and a hold of nothing
/// is not kept at all.
#[tokio::test]
async fn nothing_is_left_of_holds_that_ended_in_any_order() {
    for last in 0..4_usize {
        let lanes = start().await;
        let of = two(&lanes);
        lanes.submit(order(&lanes, Reserve, of.clone(), 0)).await;
        assert!(lanes.state(SUBJECT).await.counters.is_empty());
        let mut ids = vec![hold_for(&lanes, 100).await, hold_for(&lanes, 200).await];
        lanes.submit(order_of_images(&lanes)).await;
        ids.push(hold_for(&lanes, 300).await);
        ids.rotate_left(last);

        for (place, id) in ids.into_iter().enumerate() {
            // What a commit opens takes the place of what was left there.
            let is_commit = place == 1 && last == 1;
            let kind = [Release, Commit][usize::from(is_commit)];
            let amount = u64::from(is_commit);
            told(&lanes.submit(end(kind, SUBJECT, id, amount)).await);
            let counters = lanes.state(SUBJECT).await.counters;
            assert!(counters.iter().all(|(_, units)| *units > 0), "{last}: {counters:?}");
            let held = counters.iter().filter(|(name, _)| name.contains('@')).count();
            assert_eq!(held, 2 * (2 - place), "{last}: {counters:?}");
        }
    }
}

/// Holds one of each for so many seconds.
async fn hold_for(lanes: &Lanes, ttl_s: i64) -> Uuid {
    let order = reserve(SUBJECT, sheet(SUBJECT, two(lanes)), 1, now_s(lanes) + ttl_s);
    let id = order.event_id;
    lanes.submit(order).await;
    id
}

/// A consume of one image.
fn order_of_images(lanes: &Lanes) -> Operation {
    order(lanes, Consume, two(lanes)[1..].to_vec(), 1)
}

/// Guards I8: a hold whose counters were lowered gives back what they have, and nothing more; a hold beside it that ends at the
/// same time keeps its own.
#[tokio::test]
async fn holds_with_one_end_give_back_their_own() {
    let lanes = start().await;
    let of = two(&lanes);
    let (first, second) = (hold(&lanes, of.clone(), 3).await, hold(&lanes, of.clone(), 4).await);

    let released = lanes.submit(end(Release, SUBJECT, first, 0)).await;
    assert_eq!(told(&released).more.as_ref().unwrap().held, [units(4), units(4)]);
    let key = keys::subject(0, SUBJECT);
    let mut state = lanes.state(SUBJECT).await;
    state.counters.retain(|(name, _)| !name.starts_with("images"));
    state.counters.iter_mut().for_each(|(_, held)| *held = 1);
    state.write(&lanes.connection, &key).await;
    let committed = lanes.submit(end(Commit, SUBJECT, second, 2)).await;

    let deltas = &lanes.events().await.pop().unwrap().deltas;
    assert_eq!(deltas.lines.iter().map(|line| line.units).collect::<Vec<_>>(), [-1, 2, 2]);
    assert_eq!(told(&committed).lines[0].used, units(2));
}

/// Guards I3: ends of one call that would be alike find less and less: what counters have not is given back by none of them, and
/// what they have no room for is charged by none.
#[tokio::test]
async fn ends_of_one_call_that_find_less_say_so() {
    let lanes = start().await;
    let of = vec![lanes.line(1, "messages", None)];
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(hold(&lanes, of.clone(), 3).await);
    }
    let key = keys::subject(0, SUBJECT);
    let mut state = lanes.state(SUBJECT).await;
    state.counters[0].1 = 4;
    let month = format!("messages:m:{}", of[0].window.start_s);
    let most = Units::MAX.get().cast_signed();
    state.counters.push((month, most - 5));
    state.write(&lanes.connection, &key).await;

    let orders = ids.iter().map(|id| end(Commit, SUBJECT, *id, 2));
    let outcomes = lanes.submit_together(orders.collect()).await;

    let events = lanes.events().await;
    let changes = events[4..]
        .iter()
        .map(|event| event.deltas.lines.iter().map(|line| line.units).collect::<Vec<_>>());
    assert_eq!(changes.collect::<Vec<_>>(), [vec![-3, 2], vec![-1, 2], vec![1], vec![]]);
    let overage = outcomes.iter().map(|outcome| told(outcome).hold.unwrap().overage);
    assert_eq!(overage.collect::<Vec<_>>(), [false, false, true, true]);
}

/// Guards I3: of ends that would be alike and pass the largest count, each charges what there was room for.
#[tokio::test]
async fn ends_of_one_call_charge_what_there_is_room_for() {
    let lanes = start().await;
    let of = vec![lanes.line(1, "messages", None)];
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(hold(&lanes, of.clone(), 1).await);
    }
    set(&lanes, &of[0], Units::MAX.get() - 3).await;

    let orders = ids.iter().map(|id| end(Commit, SUBJECT, *id, 2));
    lanes.submit_together(orders.collect()).await;

    let events = lanes.events().await;
    let changes = events[4..]
        .iter()
        .map(|event| event.deltas.lines.iter().map(|line| line.units).collect::<Vec<_>>());
    assert_eq!(changes.collect::<Vec<_>>(), [vec![-1, 2], vec![-1, 1], vec![-1]]);
}

/// Guards I8: where two holds end at once and one is of fewer limits, each keeps its own; on a path whose upper level has no limit,
/// nothing is held or charged of that.
#[tokio::test]
async fn a_hold_of_fewer_limits_stays_beside_one_that_ends() {
    const TEAM: &str = "team:t_1";
    const MEMBER: &str = "team:t_1/user:u_1";
    let lanes = Lanes::start().await;
    lanes.load(&[TEAM, MEMBER], 0).await;
    lanes.move_past_the_hour();
    let of = ["images", "messages", "tokens"].map(|it| lanes.line(2, it, Some(10)));
    let until_s = now_s(&lanes) + TTL_S;
    lanes.submit(Lanes::consume(MEMBER, of[2..].to_vec())).await;
    let one = reserve(MEMBER, sheet(MEMBER, of[..1].to_vec()), 1, until_s);
    let both = reserve(MEMBER, sheet(MEMBER, of[..2].to_vec()), 1, until_s);
    let (first, second) = (one.event_id, both.event_id);
    lanes.submit(one).await;
    lanes.submit(both).await;

    let held = |state: &crate::support::state::State| {
        state.counters.iter().filter(|(name, _)| name.contains('@')).map(|it| it.1).sum::<i64>()
    };
    told(&lanes.submit(end(Release, MEMBER, second, 0)).await);
    assert_eq!(held(&lanes.state(MEMBER).await), 1);
    told(&lanes.submit(end(Commit, MEMBER, first, 1)).await);

    let state = lanes.state(MEMBER).await;
    assert_eq!((held(&state), state.counters.len()), (0, 2));
    assert!(lanes.state(TEAM).await.counters.is_empty());
}

/// Guards I8: ends of one call that are alike but for one thing are told apart: by their amounts, by what they are, and by whether
/// they pass a limit.
#[tokio::test]
async fn ends_of_one_call_that_differ_in_one_thing_are_told_apart() {
    let lanes = start().await;
    let of = vec![lanes.line(1, "messages", Some(12))];
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(hold(&lanes, of.clone(), 1).await);
    }
    let ends = [
        (Commit, 0),
        (Release, 0),
        (Commit, 1),
        (Release, 0),
        (Commit, 1),
        (Commit, 3),
        (Commit, 4),
        (Commit, 4),
    ];
    let orders = ids.iter().zip(ends).map(|(id, (kind, amount))| end(kind, SUBJECT, *id, amount));

    let outcomes = lanes.submit_together(orders.collect()).await;

    let events = lanes.events().await;
    let mut used = 0;
    for (place, (kind, amount)) in ends.into_iter().enumerate() {
        let took = if kind == Commit { amount } else { 0 };
        used += took;
        let (told, event) = (told(&outcomes[place]), &events[8 + place]);
        let others = 7 - u64::try_from(place).unwrap();
        let is_overage = took > 0 && used + others > 12;
        assert_eq!(told.lines[0].used, units(used), "{place}");
        assert_eq!(told.hold.unwrap().overage, is_overage, "{place}");
        assert_eq!(event.deltas.overage, is_overage, "{place}");
        let took = i64::try_from(took).unwrap();
        let expected = if took > 0 { vec![-1, took] } else { vec![-1] };
        assert_eq!(event.deltas.lines.iter().map(|it| it.units).collect::<Vec<_>>(), expected);
    }
    for (id, (kind, amount)) in ids.iter().zip(ends) {
        let again = lanes.submit(end(Commit, SUBJECT, *id, 1)).await;
        let Outcome::Ended(_, ended) = again else { panic!("{again:?}") };
        assert_eq!(ended, units(if kind == Commit { amount } else { 0 }));
    }
}

/// Guards I3: a counter that is as large as counters are stays so, and the commit that would take it further says that it passed
/// the limit; one that is just as large is whole.
#[tokio::test]
async fn a_counter_ends_at_the_largest_count() {
    let most = Units::MAX.get();
    for (before, amount, after, is_overage) in
        [(most - 5, 5, most, false), (most - 5, 6, most, true), (most, 1, most, true)]
    {
        for since_seq in [None, Some(2)] {
            let lanes = start().await;
            let line = lanes.line(1, "messages", None);
            let id = hold(&lanes, vec![line.clone()], 1).await;
            set(&lanes, &line, before).await;

            let order = Operation { since_seq, ..end(Commit, SUBJECT, id, amount) };
            let outcome = lanes.submit(order).await;

            let told = told(&outcome);
            let seen = (told.lines[0].used.get(), told.hold.unwrap().overage);
            assert_eq!(seen, (after, is_overage), "{before} {amount} {since_seq:?}");
        }
    }
}

/// Guards promise 7 and rollover: a reserve drops windows that are over, and the end of a hold keeps them, since they may be yet
/// to roll over.
#[tokio::test]
async fn windows_that_are_over_go_with_a_reserve_and_not_with_the_end_of_a_hold() {
    for (kind, ttl_s, is_kept) in
        [(Reserve, 60, false), (Reserve, 2 * DAY_S, false), (Commit, 0, true)]
    {
        let lanes = Lanes::start().await;
        lanes.load(&[SUBJECT], 0).await;
        lanes.move_to("2027-03-03T12:00:00Z");
        let day = lanes.line_of(1, Period::Day, "messages", Some(10));
        let limits = || sheet(SUBJECT, vec![lanes.line(1, "images", None)]);
        let order = reserve(SUBJECT, limits(), 2, now_s(&lanes) + 3 * DAY_S);
        let id = order.event_id;
        lanes.submit(order).await;
        lanes.submit(ask(Consume, SUBJECT, sheet(SUBJECT, vec![day.clone()]), 8)).await;
        pass(&lanes, DAY_S);

        let both = [lanes.line(1, "images", None), lanes.line(1, "tokens", None)];
        let reserve = reserve(SUBJECT, sheet(SUBJECT, both.to_vec()), 1, now_s(&lanes) + ttl_s);
        let order = if kind == Commit { end(Commit, SUBJECT, id, 1) } else { reserve };
        lanes.submit(order).await;

        let before_s = day.window.start_s;
        let mut line = lanes.line_of(1, Period::Day, "messages", Some(10));
        line.limit.rollover = Some(Portion::Units(units(5)));
        let roll = Roll { line, before_s, before: Before::Unknown };
        let sheet = Arc::new(PackedSheet::roll(1, &[roll]));
        let outcome = lanes.submit(operation(OperationKind::Roll, SUBJECT, sheet)).await;
        if is_kept {
            assert_eq!(rewritten(&outcome), [2]);
        } else {
            assert_eq!(outcome, Outcome::Again(Again::Before));
        }
    }
}
