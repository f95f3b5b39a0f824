//! What ends a hold, once, or gives it more time.

use headroom::counters::Again;
use headroom::counters::HoldEnd;
use headroom::counters::HoldOf;
use headroom::counters::HoldTold;
use headroom::counters::Idempotency;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Check;
use headroom::counters::OperationKind::Commit;
use headroom::counters::OperationKind::CommitLate;
use headroom::counters::OperationKind::Consume;
use headroom::counters::OperationKind::Expire;
use headroom::counters::OperationKind::Extend;
use headroom::counters::OperationKind::Release;
use headroom::counters::OperationKind::Set;
use headroom::counters::Outcome;
use headroom::counters::StoredAnswer;
use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Tally;
use uuid::Uuid;

use super::acts::SUBJECT;
use super::acts::ask;
use super::acts::counts;
use super::acts::end;
use super::acts::extend;
use super::acts::lines_of;
use super::acts::now_s;
use super::acts::pass;
use super::acts::plain;
use super::acts::reserve;
use super::acts::sheet;
use super::acts::start;
use super::acts::told;
use super::acts::units;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;

/// How long holds last here, in seconds.
const TTL_S: i64 = 60;

pub(super) fn ten(lanes: &Lanes) -> Vec<Line> {
    vec![lanes.line(1, "messages", Some(10))]
}

/// Holds messages, and answers the hold's id and end.
pub(super) async fn hold(lanes: &Lanes, amount: u64) -> (Uuid, i64) {
    let until_s = now_s(lanes) + TTL_S;
    let order = reserve(SUBJECT, sheet(SUBJECT, ten(lanes)), amount, until_s);
    let id = order.event_id;
    assert!(counts(&lanes.submit(order).await).0);
    (id, until_s)
}

pub(super) async fn finish(lanes: &Lanes, kind: OperationKind, id: Uuid, amount: u64) -> Outcome {
    lanes.submit(end(kind, SUBJECT, id, amount)).await
}

fn strict(id: Uuid, amount: u64) -> Operation {
    let hold = Some(HoldOf { id, until_s: 0, is_strict: true });
    Operation { hold, ..end(Commit, SUBJECT, id, amount) }
}

/// What is used and held of the messages.
pub(super) async fn used_and_held(lanes: &Lanes) -> (u64, u64) {
    let outcome = lanes.submit(ask(Check, SUBJECT, sheet(SUBJECT, ten(lanes)), 0)).await;
    let Outcome::Decided { used, more, .. } = &outcome else { panic!("{outcome:?}") };
    (used[0].get(), more.as_ref().map_or(0, |more| more.held[0].get()))
}

async fn consume(lanes: &Lanes, amount: u64) {
    let order = ask(Consume, SUBJECT, sheet(SUBJECT, ten(lanes)), amount);
    let outcome = lanes.submit(order).await;
    assert!(matches!(outcome, Outcome::Decided { accepted: true, .. }), "{outcome:?}");
}

pub(super) async fn last_event(lanes: &Lanes) -> Event {
    lanes.events().await.pop().unwrap()
}

/// What an answer told: used and held of its line, and of the hold whether it was late or passed a limit.
pub(super) fn told_counts(told: &StoredAnswer) -> (u64, u64, bool, bool) {
    let (more, hold) = (told.more.as_ref().unwrap(), told.hold.unwrap());
    (told.lines[0].used.get(), more.held[0].get(), hold.late, hold.overage)
}

/// Guards I3 and I8: a commit charges what was used, gives the rest back, and says so when it passes a limit.
#[tokio::test]
async fn a_commit_charges_what_was_used() {
    for (amount, is_overage) in [(2, false), (4, false), (6, false), (7, true)] {
        let lanes = start().await;
        consume(&lanes, 1).await;
        let (_, other_until_s) = hold(&lanes, 3).await;
        let (id, until_s) = hold(&lanes, 4).await;

        let outcome = finish(&lanes, Commit, id, amount).await;

        assert_eq!(told_counts(told(&outcome)), (1 + amount, 3, false, is_overage));
        assert_eq!(used_and_held(&lanes).await, (1 + amount, 3));
        let event = last_event(&lanes).await;
        assert_eq!((event.kind, event.of, event.amount), (EventKind::Commit, Some(id), amount));
        assert_eq!((event.deltas.late, event.deltas.overage), (false, is_overage));
        let added = i64::try_from(amount).unwrap();
        let held = (None, Tally::Held { until_s }, -4);
        assert_eq!(lines_of(&event), [held, (None, Tally::Used, added)]);
        assert!(other_until_s >= until_s - 1);
    }
}

/// Guards I8: a commit of nothing is a release that says commit.
#[tokio::test]
async fn a_commit_of_nothing_gives_everything_back() {
    let lanes = start().await;
    let (id, until_s) = hold(&lanes, 4).await;

    let outcome = finish(&lanes, Commit, id, 0).await;

    assert_eq!(told_counts(told(&outcome)), (0, 0, false, false));
    let event = last_event(&lanes).await;
    assert_eq!(lines_of(&event), [(None, Tally::Held { until_s }, -4)]);
    assert_eq!(finish(&lanes, Commit, id, 1).await, Outcome::Ended(HoldEnd::Committed, units(0)));
}

/// Guards the strict commit: above what was held it stays within the limits or changes nothing; then the hold is still open.
#[tokio::test]
async fn a_strict_commit_stays_within_the_limits() {
    let lanes = start().await;
    consume(&lanes, 5).await;
    let (id, _) = hold(&lanes, 4).await;

    assert_eq!(lanes.submit(strict(id, 6)).await, Outcome::Nothing);
    assert_eq!((used_and_held(&lanes).await, lanes.events().await.len()), ((5, 4), 2));
    let outcome = lanes.submit(strict(id, 5)).await;

    assert_eq!(told_counts(told(&outcome)), (10, 0, false, false));
}

/// Guards the strict commit: what was held was promised, whatever became of the limit.
#[tokio::test]
async fn a_strict_commit_of_what_was_held_is_never_refused() {
    let lanes = start().await;
    let (id, _) = hold(&lanes, 4).await;
    let order = ask(Set, SUBJECT, sheet(SUBJECT, ten(&lanes)), 9);
    lanes.submit(order).await;

    let outcome = lanes.submit(strict(id, 4)).await;

    assert_eq!(told_counts(told(&outcome)), (13, 0, false, true));
}

/// Guards I3 for sliding limits: a commit is measured against all slices that count, earlier and later than its hold's.
#[tokio::test]
async fn a_commit_is_measured_against_all_slices() {
    let lanes = start().await;
    let sliding = || vec![lanes.sliding(1, Period::Hour, "messages", Some(10))];
    let consume = async |amount| {
        let order = ask(Consume, SUBJECT, sheet(SUBJECT, sliding()), amount);
        assert!(matches!(lanes.submit(order).await, Outcome::Decided { accepted: true, .. }));
    };
    consume(3).await;
    pass(&lanes, 600);
    let order = reserve(SUBJECT, sheet(SUBJECT, sliding()), 2, now_s(&lanes) + 1_500);
    let id = order.event_id;
    lanes.submit(order).await;
    pass(&lanes, 600);
    consume(4).await;

    assert_eq!(lanes.submit(strict(id, 4)).await, Outcome::Nothing);
    let outcome = finish(&lanes, Commit, id, 4).await;

    assert_eq!(told_counts(told(&outcome)), (11, 0, false, true));
}

/// Guards I3: after its end a hold has nothing, so that a late commit charges all and takes back nothing, also of others.
#[tokio::test]
async fn a_commit_after_the_end_is_late() {
    let lanes = start().await;
    let (id, _) = hold(&lanes, 4).await;
    pass(&lanes, TTL_S + 1);
    consume(&lanes, 8).await;

    let outcome = finish(&lanes, Commit, id, 4).await;

    assert_eq!(told_counts(told(&outcome)), (12, 0, true, true));
    let event = last_event(&lanes).await;
    assert_eq!((event.deltas.late, event.deltas.overage), (true, true));
    assert_eq!(lines_of(&event), [(None, Tally::Used, 4)]);
    let again = finish(&lanes, Commit, id, 4).await;
    assert_eq!(again, Outcome::Ended(HoldEnd::CommittedLate, units(4)));
}

/// Guards I8: a hold expires when it is over and not before; then only a late commit may follow, once.
#[tokio::test]
async fn a_hold_expires_when_it_is_due_and_then_takes_a_late_commit() {
    let lanes = start().await;
    let (id, _) = hold(&lanes, 4).await;
    assert_eq!(finish(&lanes, Expire, id, 1).await, Outcome::Nothing);
    let too_soon = finish(&lanes, CommitLate, id, 4).await;
    assert!(matches!(too_soon, Outcome::Ended(HoldEnd::Open, _)), "{too_soon:?}");
    pass(&lanes, TTL_S + 1);

    told(&finish(&lanes, Expire, id, 1).await);
    let event = last_event(&lanes).await;
    assert_eq!((event.kind, event.of, event.deltas.lines.len()), (EventKind::Expire, Some(id), 0));
    for kind in [Commit, Release, Extend, Expire] {
        let outcome = finish(&lanes, kind, id, 4).await;
        assert_eq!(outcome, Outcome::Ended(HoldEnd::Expired, units(0)), "{kind:?}");
    }
    let late = finish(&lanes, CommitLate, id, 4).await;

    assert_eq!(told_counts(told(&late)), (4, 0, true, false));
    let again = finish(&lanes, CommitLate, id, 4).await;
    assert_eq!(again, Outcome::Ended(HoldEnd::CommittedLate, units(4)));
    assert_eq!(lanes.events().await.len(), 3);
}

/// Guards I8: a release gives all back, once; a hold that is over cannot be released or moved.
#[tokio::test]
async fn a_release_gives_everything_back_once() {
    let lanes = start().await;
    let (id, until_s) = hold(&lanes, 4).await;
    let (over, _) = hold(&lanes, 1).await;

    told(&finish(&lanes, Release, id, 0).await);

    let event = last_event(&lanes).await;
    assert_eq!((event.kind, event.of), (EventKind::Release, Some(id)));
    assert_eq!(lines_of(&event), [(None, Tally::Held { until_s }, -4)]);
    assert_eq!(used_and_held(&lanes).await, (0, 1));
    for kind in [Release, Commit, Extend, Expire, CommitLate] {
        let outcome = finish(&lanes, kind, id, 4).await;
        assert_eq!(outcome, Outcome::Ended(HoldEnd::Released, units(0)), "{kind:?}");
    }
    pass(&lanes, TTL_S + 1);
    let too_late = finish(&lanes, Release, over, 0).await;
    assert_eq!(too_late, Outcome::Ended(HoldEnd::Expired, units(0)));
    let too_late = lanes.submit(extend(SUBJECT, over, now_s(&lanes) + 60)).await;
    assert_eq!(too_late, Outcome::Ended(HoldEnd::Expired, units(0)));
}

/// Guards I8: an extend takes the units from one end to the other, and from no other hold with the same end.
#[tokio::test]
async fn an_extend_moves_the_end_of_one_hold() {
    let lanes = start().await;
    let until_s = now_s(&lanes) + TTL_S;
    let order = |amount| reserve(SUBJECT, sheet(SUBJECT, ten(&lanes)), amount, until_s);
    let (moved, other) = (order(4), order(3));
    let id = moved.event_id;
    lanes.submit(moved).await;
    lanes.submit(other).await;

    let outcome = lanes.submit(extend(SUBJECT, id, until_s + 100)).await;

    let hold = HoldTold { until_s: until_s + 100, amount: units(4), late: false, overage: false };
    assert_eq!(told(&outcome).hold, Some(hold));
    let event = last_event(&lanes).await;
    assert_eq!((event.kind, event.until_s), (EventKind::Extend, Some(until_s + 100)));
    let of = |until_s, units| (None, Tally::Held { until_s }, units);
    assert_eq!(lines_of(&event), [of(until_s, -4), of(until_s + 100, 4)]);
    let counters = lanes.state(SUBJECT).await.counters;
    assert_eq!(counters.iter().map(|(_, units)| *units).collect::<Vec<_>>(), [3, 4]);
    pass(&lanes, TTL_S + 1);
    assert_eq!(used_and_held(&lanes).await, (0, 4));
    assert_eq!(told_counts(told(&finish(&lanes, Commit, id, 4).await)), (4, 0, false, false));
}

/// Guards that no event has two lines for one counter.
#[tokio::test]
async fn an_extend_to_the_same_end_changes_nothing() {
    let lanes = start().await;
    let (id, until_s) = hold(&lanes, 4).await;

    told(&lanes.submit(extend(SUBJECT, id, until_s)).await);

    // Its lines tell what is held, and cancel out.
    let units: Vec<i64> =
        last_event(&lanes).await.deltas.lines.iter().map(|line| line.units).collect();
    assert_eq!(units, [-4, 4]);
    assert_eq!(used_and_held(&lanes).await, (0, 4));
}

/// Guards that one request of a group does not spoil its neighbours: a full group of ends of all sorts is answered one by one,
/// and its outbox entry can be read.
#[tokio::test]
async fn a_full_group_of_ends_is_decided_one_by_one() {
    let lanes = start().await;
    let line = lanes.line(1, "messages", None);
    let until_s = now_s(&lanes) + TTL_S;
    let mut ids = Vec::new();
    for _ in 0..16 {
        let order = reserve(SUBJECT, sheet(SUBJECT, vec![line.clone()]), 4, until_s);
        ids.push(order.event_id);
        lanes.submit(order).await;
    }
    let of_hold = |id: &Uuid| {
        let consume = ask(Consume, SUBJECT, sheet(SUBJECT, vec![line.clone()]), 1);
        let unknown = end(Release, SUBJECT, Uuid::now_v7(), 0);
        [end(Commit, SUBJECT, *id, 3), end(Release, SUBJECT, *id, 0), unknown, consume]
    };
    let mut orders: Vec<Operation> = ids.iter().flat_map(of_hold).collect();
    orders.insert(0, ask(Check, SUBJECT, sheet(SUBJECT, vec![line.clone()]), 1));

    let outcomes = lanes.submit_together(orders).await;

    for outcomes in outcomes[1..].chunks(4) {
        assert!(!told(&outcomes[0]).hold.unwrap().late);
        assert_eq!(outcomes[1], Outcome::Ended(HoldEnd::Committed, units(3)));
        assert_eq!(outcomes[2], Outcome::Again(Again::Hold));
        assert!(decided(&outcomes[3]).0);
    }
    let added: i64 = lanes.events().await[16..].iter().flat_map(lines_of).map(|line| line.2).sum();
    assert_eq!(added, 16 * 3 - 16 * 4 + 16);
    let used = lanes.submit(ask(Check, SUBJECT, sheet(SUBJECT, vec![line]), 0)).await;
    assert_eq!(decided(&used), (true, vec![64]));
    assert!(lanes.outbox_entries().await <= 16 + 3, "most were one group");
}

/// The same request under a key.
fn keyed(order: Operation, key: u8) -> Operation {
    let idempotency = Some(Idempotency { key_hash: [key; 16], fingerprint: [7; 8] });
    Operation { idempotency, ..order }
}

/// Guards promise 4: a key makes a reserve and each end known: one event, and the answer as it was.
#[tokio::test]
async fn a_key_gives_the_same_answer_of_a_hold() {
    let lanes = start().await;
    let until_s = now_s(&lanes) + TTL_S;
    let order = || keyed(reserve(SUBJECT, sheet(SUBJECT, ten(&lanes)), 4, until_s), 1);
    let first = order();
    let id = first.event_id;
    let decision = lanes.submit(first).await;
    let ends: [(OperationKind, i64, u64); 3] = [(Extend, 90, 0), (Commit, 0, 3), (Consume, 0, 2)];

    let Outcome::Replayed(again) = lanes.submit(order()).await else { panic!("not replayed") };
    assert_eq!((again.event_id, again.request_id.as_str()), (id, "a-test"));
    assert_eq!((counts(&decision).1, counts(&decision).2), (vec![0], vec![4]));
    assert_eq!(plain(&again.more.unwrap().held), [4]);
    let hold = HoldTold { until_s, amount: units(4), late: false, overage: false };
    assert_eq!(again.hold, Some(hold));
    for (place, (kind, seconds, amount)) in ends.into_iter().enumerate() {
        let order = || match kind {
            Extend => extend(SUBJECT, id, until_s + seconds),
            Consume => ask(Consume, SUBJECT, sheet(SUBJECT, ten(&lanes)), amount),
            _ => end(kind, SUBJECT, id, amount),
        };
        let key = 2 + u8::try_from(place).unwrap();
        let first = lanes.submit(keyed(order(), key)).await;
        consume(&lanes, 1).await;
        let Outcome::Replayed(again) = lanes.submit(keyed(order(), key)).await else {
            panic!("{kind:?} was not replayed");
        };
        match first {
            Outcome::HoldEnded(first) => assert_eq!(again, first),
            first => assert_eq!(decided(&first).1, [again.lines[0].used.get()]),
        }
    }
    assert_eq!(lanes.events().await.len(), 7);
}

/// Guards promise 4: an attempt whose fate is unknown is applied once, and answers as if it had been heard.
#[tokio::test]
async fn an_attempt_of_unknown_fate_is_applied_once() {
    for kind in [OperationKind::Reserve, Extend, Commit, Release, Expire] {
        let lanes = start().await;
        let until_s = now_s(&lanes) + TTL_S;
        let reserve = reserve(SUBJECT, sheet(SUBJECT, ten(&lanes)), 4, until_s);
        let (id, hold) = (reserve.event_id, reserve.hold);
        let make = |kind| match kind {
            OperationKind::Reserve => Operation {
                event_id: id,
                hold,
                ..super::acts::reserve(SUBJECT, sheet(SUBJECT, ten(&lanes)), 4, until_s)
            },
            Extend => extend(SUBJECT, id, until_s + 90),
            _ => end(kind, SUBJECT, id, 3),
        };
        if kind != OperationKind::Reserve {
            lanes.submit(reserve).await;
        }
        if kind == Expire {
            pass(&lanes, TTL_S + 1);
        }
        let seq = lanes.counters.sight(0).seq;
        let (first, again) = (make(kind), make(kind));
        let again = Operation { event_id: first.event_id, since_seq: Some(seq), ..again };

        let heard = lanes.submit(first).await;
        let told_again = lanes.submit(again).await;

        assert_eq!(without_time(told_again), without_time(heard), "{kind:?}");
        assert_eq!(lanes.events().await.len() as u64, seq + 1, "{kind:?}");
    }
}

/// The outcome without the instant of the answer.
fn without_time(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Decided { accepted, used, more, reset_at_ms, .. } => {
            Outcome::Decided { accepted, used, more, reset_at_ms, now_ms: 0 }
        }
        Outcome::HoldEnded(told) => Outcome::HoldEnded(StoredAnswer { now_ms: 0, ..told }),
        outcome => outcome,
    }
}
