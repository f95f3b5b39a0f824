//! Reserves: what they hold, who is refused because of it, and how it is free again by itself.

use std::sync::Arc;

use headroom::counters::Again;
use headroom::counters::CountersError;
use headroom::counters::Field;
use headroom::counters::HoldEnd;
use headroom::counters::LevelBase;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Check;
use headroom::counters::OperationKind::Consume;
use headroom::counters::Outcome;
use headroom::counters::PackedSheet;
use headroom::counters::Roll;
use headroom::counters::Taken;
use headroom::domain::Amount;
use headroom::domain::EventKind;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Portion;
use headroom::domain::Tally;
use headroom::domain::Window;

use super::acts::SUBJECT;
use super::acts::ask;
use super::acts::counts;
use super::acts::end;
use super::acts::grant;
use super::acts::lines_of;
use super::acts::more;
use super::acts::now_s;
use super::acts::pass;
use super::acts::reserve;
use super::acts::sheet;
use super::acts::start;
use super::acts::units;
use super::acts::used_before;
use crate::random::Dice;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;
use crate::support::lanes::operation;

/// A month's messages.
fn ten(lanes: &Lanes) -> Vec<Line> {
    vec![lanes.line(1, "messages", Some(10))]
}

/// What a request of that kind for some messages is told.
async fn message(lanes: &Lanes, kind: OperationKind, amount: u64) -> Outcome {
    lanes.submit(ask(kind, SUBJECT, sheet(SUBJECT, ten(lanes)), amount)).await
}

/// Holds messages for so many seconds.
async fn hold(lanes: &Lanes, amount: u64, ttl_s: i64) -> Outcome {
    let until_s = now_s(lanes) + ttl_s;
    lanes.submit(reserve(SUBJECT, sheet(SUBJECT, ten(lanes)), amount, until_s)).await
}

fn free_at_s(outcome: &Outcome) -> Option<i64> {
    more(outcome).free_at_s
}

/// Guards I3: on two levels with two metrics of different weights a reserve is accepted whenever a consume would be, and holds
/// what that would use: in every limit or in none.
#[tokio::test]
async fn a_reserve_decides_as_a_consume_does() {
    let lanes = Lanes::start().await;
    let (user, holder) = ("team:t_1/user:u_1", "team:t_2/user:u_1");
    lanes.load(&["team:t_1", user, "team:t_2", holder], 0).await;
    lanes.move_past_the_hour();
    let mut tokens = lanes.line(2, "tokens", Some(170));
    tokens.weight = Amount::new(7).unwrap();
    let limits = vec![
        lanes.line(1, "messages", Some(40)),
        lanes.line_of(1, Period::Day, "messages", Some(37)),
        lanes.line_of(2, Period::Hour, "messages", Some(33)),
        tokens,
    ];
    let mut dice = Dice::new(4);
    let mut refused = 0;

    for step in 0..40 {
        let amount = dice.below(6);
        let consumed = lanes.submit(ask(Consume, user, sheet(user, limits.clone()), amount)).await;
        let until_s = now_s(&lanes) + 1_000;
        let order = reserve(holder, sheet(holder, limits.clone()), amount, until_s);
        let (is_held, none, held) = counts(&lanes.submit(order).await);

        assert_eq!(decided(&consumed), (is_held, held), "step {step}");
        assert_eq!(none, [0; 4]);
        refused += u32::from(!is_held);
    }

    assert!((1..40).contains(&refused), "{refused}");
}

/// Guards promise 1: what is held counts for a consume and a check, and from its last second on for nobody.
#[tokio::test]
async fn what_is_held_is_free_again_by_itself() {
    for kind in [Consume, Check, OperationKind::Reserve] {
        let lanes = start().await;
        assert!(counts(&hold(&lanes, 10, 5).await).0);
        let until_s = now_s(&lanes) + 60;
        let order = |amount| match kind {
            OperationKind::Reserve => {
                reserve(SUBJECT, sheet(SUBJECT, ten(&lanes)), amount, until_s)
            }
            _ => ask(kind, SUBJECT, sheet(SUBJECT, ten(&lanes)), amount),
        };

        pass(&lanes, 3);
        assert_eq!(counts(&lanes.submit(order(1)).await), (false, vec![0], vec![10]));
        pass(&lanes, 3);

        let outcome = lanes.submit(order(10)).await;
        assert!(matches!(outcome, Outcome::Decided { accepted: true, .. }), "{outcome:?}");
    }
}

/// Guards I2: a load leaves out what has lapsed, and takes what has not.
#[tokio::test]
async fn a_load_takes_the_holds_that_go_on() {
    let lanes = start().await;
    hold(&lanes, 3, 5).await;
    hold(&lanes, 4, 500).await;

    pass(&lanes, 6);
    lanes.evict(SUBJECT).await;
    lanes.load(&[SUBJECT], 0).await;

    assert_eq!(counts(&message(&lanes, Check, 1).await), (true, vec![0], vec![4]));
    assert_eq!(lanes.state(SUBJECT).await.counters.len(), 1);
}

/// Guards the catalogue's `hold_max`: it bounds what is held at once, and neither what is used nor a single consume.
#[tokio::test]
async fn holds_stay_below_their_own_bound() {
    let lanes = start().await;
    let mut line = lanes.line(1, "messages", Some(10));
    line.limit.hold_max = Some(Portion::Units(units(4)));
    let until_s = now_s(&lanes) + 60;
    let order = |amount| reserve(SUBJECT, sheet(SUBJECT, vec![line.clone()]), amount, until_s);

    let too_much = lanes.submit(order(5)).await;
    assert!(lanes.events().await.is_empty());
    let held = lanes.submit(order(4)).await;
    let one_more = lanes.submit(order(1)).await;
    let used = lanes.submit(ask(Consume, SUBJECT, sheet(SUBJECT, vec![line.clone()]), 6)).await;

    let Outcome::Decided { accepted: false, more: Some(more), .. } = &too_much else {
        panic!("{too_much:?}");
    };
    assert_eq!(more.free_at_s, None, "five are never held");
    assert!(counts(&held).0);
    assert_eq!((counts(&one_more).0, free_at_s(&one_more)), (false, Some(until_s)));
    assert_eq!(counts(&used), (true, vec![6], vec![4]));
}

/// Guards `Retry-After`: who is refused only because of what is held is told when the first of it is free; who would be
/// refused anyway is not.
#[tokio::test]
async fn a_refusal_because_of_holds_says_when_the_first_ends() {
    let lanes = start().await;
    hold(&lanes, 2, 90).await;
    hold(&lanes, 5, 30).await;
    message(&lanes, Consume, 1).await;
    let soon_s = now_s(&lanes) + 30;

    for kind in [Consume, Check] {
        let because_of_holds = message(&lanes, kind, 9).await;
        let anyway = message(&lanes, kind, 10).await;

        assert_eq!(counts(&because_of_holds), (false, vec![1], vec![7]));
        let free_at = free_at_s(&because_of_holds).unwrap();
        assert!((soon_s - 1..=soon_s).contains(&free_at), "{free_at}, {soon_s}");
        assert_eq!((counts(&anyway).0, free_at_s(&anyway)), (false, None));
    }
    assert_eq!(lanes.events().await.len(), 3, "a refusal writes nothing");
}

/// Guards `Retry-After`: what is held of a metric that has room does not matter.
#[tokio::test]
async fn a_refusal_goes_by_the_holds_of_what_has_no_room() {
    let lanes = start().await;
    let tokens = lanes.line(1, "tokens", Some(90));
    let until_s = now_s(&lanes) + 30;
    let of_tokens = sheet(SUBJECT, vec![tokens.clone()]);
    lanes.submit(reserve(SUBJECT, of_tokens, 5, until_s)).await;
    let both = || sheet(SUBJECT, [ten(&lanes), vec![tokens.clone()]].concat());
    lanes.submit(reserve(SUBJECT, both(), 6, until_s + 100)).await;

    let refused = lanes.submit(ask(Consume, SUBJECT, both(), 5)).await;

    assert_eq!((decided(&refused).0, free_at_s(&refused)), (false, Some(until_s + 100)));
}

/// Guards I3 for sliding limits: a hold counts in its slice for as long as the slice does, and a refusal says when it ends.
#[tokio::test]
async fn a_hold_counts_in_a_slice_that_slides() {
    let lanes = start().await;
    let until_s = now_s(&lanes) + 1_500;
    let sliding = || vec![lanes.sliding(1, Period::Hour, "messages", Some(10))];
    lanes.submit(reserve(SUBJECT, sheet(SUBJECT, sliding()), 8, until_s)).await;

    pass(&lanes, 700);
    let refused = lanes.submit(ask(Consume, SUBJECT, sheet(SUBJECT, sliding()), 3)).await;
    let accepted = lanes.submit(ask(Consume, SUBJECT, sheet(SUBJECT, sliding()), 2)).await;
    pass(&lanes, 801);
    let free = lanes.submit(ask(Consume, SUBJECT, sheet(SUBJECT, sliding()), 8)).await;

    assert_eq!(counts(&refused), (false, vec![0], vec![8]));
    assert_eq!(free_at_s(&refused), Some(until_s));
    assert_eq!(counts(&accepted), (true, vec![2], vec![8]));
    assert_eq!(decided(&free), (true, vec![10]));
}

/// When an admin last cleared counters, by a check.
fn cleared_at(outcome: &Outcome) -> i64 {
    let Outcome::Decided { reset_at_ms, .. } = outcome else { panic!("{outcome:?}") };
    *reset_at_ms
}

/// Guards the answer of a check: it says when counters were last cleared, accepted or refused, with holds and without.
#[tokio::test]
async fn a_check_says_when_counters_were_cleared_also_with_holds() {
    let lanes = start().await;
    lanes.submit(Lanes::reset(SUBJECT, None, &[])).await;
    let cleared_at_ms = lanes.state(SUBJECT).await.reset_at_ms;
    assert!(cleared_at_ms > 0);

    for is_held in [false, true] {
        if is_held {
            hold(&lanes, 1, 60).await;
        }
        for amount in [1, 11] {
            let outcome = message(&lanes, Check, amount).await;
            assert_eq!(cleared_at(&outcome), cleared_at_ms, "{amount} of 10");
        }
    }
}

/// Guards I9: the outbox has what was held, until when, and against which limits.
#[tokio::test]
async fn a_reserve_is_one_event_of_held_units() {
    let lanes = start().await;
    let until_s = now_s(&lanes) + 60;
    lanes.submit(reserve(SUBJECT, sheet(SUBJECT, ten(&lanes)), 3, until_s)).await;

    let events = lanes.events().await;

    assert_eq!((events.len(), events[0].kind), (1, EventKind::Reserve));
    assert_eq!((events[0].amount, events[0].until_s, events[0].of), (3, Some(until_s), None));
    assert_eq!(lines_of(&events[0]), [(None, Tally::Held { until_s }, 3)]);
}

/// Guards I8: the id of a hold holds once; who asks again is told how it stands.
#[tokio::test]
async fn a_hold_is_not_made_twice() {
    let lanes = start().await;
    let until_s = now_s(&lanes) + 60;
    let order = || reserve(SUBJECT, sheet(SUBJECT, ten(&lanes)), 3, until_s);
    let first = order();
    let again = || Operation { event_id: first.event_id, hold: first.hold, ..order() };
    let (open, committed) = (again(), again());
    let id = first.event_id;
    lanes.submit(first).await;

    assert_eq!(lanes.submit(open).await, Outcome::Ended(HoldEnd::Open, units(3)));
    lanes.submit(end(OperationKind::Commit, SUBJECT, id, 2)).await;
    assert_eq!(lanes.submit(committed).await, Outcome::Ended(HoldEnd::Committed, units(2)));
    assert_eq!(lanes.events().await.len(), 2);
}

/// Guards that one request of a group does not spoil its neighbours: a long answer that was begun and not given leaves
/// nothing behind.
#[tokio::test]
async fn a_reserve_behind_a_longer_answer_that_was_not_given_is_answered() {
    let lanes = start().await;
    let metrics = (0..30).map(|number| format!("metric_{number}"));
    let long: Vec<Line> = metrics.map(|metric| lanes.line(1, &metric, Some(9))).collect();
    let until_s = now_s(&lanes) + 60;
    let first = reserve(SUBJECT, sheet(SUBJECT, long.clone()), 1, until_s);
    let again = reserve(SUBJECT, sheet(SUBJECT, long), 1, until_s);
    let again = Operation { event_id: first.event_id, hold: first.hold, ..again };
    lanes.submit(first).await;

    // The first takes the lane; the others wait, and are one group.
    let short = reserve(SUBJECT, sheet(SUBJECT, ten(&lanes)), 2, until_s);
    let check = ask(Check, SUBJECT, sheet(SUBJECT, ten(&lanes)), 1);
    let outcomes = lanes.submit_together(vec![check, again, short]).await;

    assert_eq!(outcomes[1], Outcome::Ended(HoldEnd::Open, units(1)));
    assert_eq!(counts(&outcomes[2]), (true, vec![0], vec![2]));
}

/// One operation of each kind that would change something.
fn one_of_each(lanes: &Lanes) -> Vec<Operation> {
    let until_s = now_s(lanes) + 60;
    let of = |kind| ask(kind, SUBJECT, sheet(SUBJECT, ten(lanes)), 1);
    let kinds = [Consume, OperationKind::Set, OperationKind::Decrement];
    let charges = kinds.into_iter().map(of);
    charges.chain([reserve(SUBJECT, sheet(SUBJECT, ten(lanes)), 1, until_s)]).collect()
}

/// One operation of each kind whose lines the script works out.
fn one_of_each_rewrite(lanes: &Lanes) -> Vec<Operation> {
    let line = ten(lanes).remove(0);
    let field = Field::used("messages", Period::Month, false, line.window.start_s);
    let end_s = line.window.end_s;
    let taken = [Taken { depth: 1, field, units: 1, refund_max: None, end_s }];
    let rolls = [Roll { line, before_s: 0, before: used_before(0, 0) }];
    let grants = [grant(1, 1, "messages", 5, None)];
    let of = |kind, sheet| operation(kind, SUBJECT, Arc::new(sheet));
    vec![
        Lanes::reset(SUBJECT, None, &[]),
        of(OperationKind::Refund, PackedSheet::refund(1, "test", &taken)),
        of(OperationKind::Roll, PackedSheet::roll(1, &rolls)),
        of(OperationKind::Give, PackedSheet::give(1, &grants)),
    ]
}

/// Submits each, which must not fit, and answers how many events there are then.
async fn all_full(lanes: &Lanes, orders: Vec<Operation>) -> usize {
    let before = lanes.state(SUBJECT).await;
    for order in orders {
        let kind = order.kind;
        let outcome = lanes.counters.submit(Box::new(order)).await.unwrap().1;
        assert!(matches!(outcome, Err(CountersError::OutboxFull)), "{kind:?}: {outcome:?}");
    }
    assert_eq!(lanes.state(SUBJECT).await, before);
    lanes.events().await.len()
}

/// Guards promise 7: a level with more counters than a script can write is refused whatever is asked.
#[tokio::test]
async fn a_level_with_too_many_counters_is_refused() {
    let lanes = Lanes::start().await;
    let field = |id| Field::of_grant("messages", id, Window::LIFETIME.end_s);
    let counters = (0..2_001).map(|id| (field(id), 1)).collect();
    lanes.load_levels(vec![LevelBase { counters, ..level(SUBJECT) }]).await;
    lanes.move_past_the_hour();

    assert_eq!(all_full(&lanes, one_of_each(&lanes)).await, 0);
    assert_eq!(all_full(&lanes, one_of_each_rewrite(&lanes)).await, 0);
}

/// Guards promise 7: lapsed holds do not fill a level for good.
#[tokio::test]
async fn a_level_full_of_lapsed_holds_is_served() {
    let lanes = Lanes::start().await;
    lanes.move_past_the_hour();
    let until = |number: i64| Tally::Held { until_s: now_s(&lanes) + 60 + number };
    let field = |number| Field {
        tally: until(number),
        ..Field::used("messages", Period::Lifetime, false, 0)
    };
    let counters = (0..2_001).map(|number| (field(number), 1)).collect();
    lanes.load_levels(vec![LevelBase { counters, ..level(SUBJECT) }]).await;

    assert_eq!(all_full(&lanes, one_of_each(&lanes)).await, 0);
    pass(&lanes, 3_000);

    for order in one_of_each(&lanes) {
        let outcome = lanes.submit(order).await;
        assert!(!matches!(outcome, Outcome::Again(Again::Load)), "{outcome:?}");
    }
    assert_eq!(lanes.events().await.len(), 4);
    assert_eq!(lanes.state(SUBJECT).await.counters.len(), 2);
}

/// Guards promise 7: with a full outbox nothing of any kind is written.
#[tokio::test]
async fn a_full_outbox_takes_no_hold_and_no_end() {
    let lanes = start().await;
    let made = reserve(SUBJECT, sheet(SUBJECT, ten(&lanes)), 1, now_s(&lanes) + 60);
    let id = made.event_id;
    lanes.submit(made).await;
    let mut command = redis::cmd("HSET");
    command.arg(headroom::counters::keys::meta(0)).arg("seq").arg(1_000_000);
    command.exec_async(&mut lanes.connection.clone()).await.unwrap();

    let ends =
        [OperationKind::Commit, OperationKind::Release].map(|kind| end(kind, SUBJECT, id, 1));
    let mut orders = one_of_each(&lanes);
    orders.extend(one_of_each_rewrite(&lanes));
    orders.extend(ends);
    orders.push(super::acts::extend(SUBJECT, id, now_s(&lanes) + 90));

    assert_eq!(all_full(&lanes, orders).await, 1);
}
