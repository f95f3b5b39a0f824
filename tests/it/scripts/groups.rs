//! Requests that are decided in one call.

use headroom::counters::Again;
use headroom::counters::Clearing;
use headroom::counters::Idempotency;
use headroom::counters::Operation;
use headroom::counters::Outcome;
use headroom::domain::Calendar;
use headroom::domain::Period;

use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::orders;

/// Guards promise 1: the requests of a group are decided in order, each with the effects of those before it, and their
/// events stand in one outbox entry.
#[tokio::test]
async fn sixty_four_requests_of_a_group_are_decided_in_order() {
    let lanes = Lanes::start().await;
    lanes.load(&["user:u_1"], 0).await;
    let order = || Lanes::consume("user:u_1", vec![lanes.line(1, "messages", Some(40))]);

    let outcomes = lanes.submit_together((0..64).map(|_| order()).collect()).await;

    let expected = (1..=64).map(|place| (place <= 40, vec![place.min(40)]));
    assert_eq!(outcomes.iter().map(decided).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert_eq!(lanes.outbox_entries().await, 1);
    let page = lanes.counters.read_outbox(0, 1, 0, 10).await.unwrap();
    assert_eq!((page.seq, page.entries[0].events.as_ref().unwrap().len()), (40, 40));
}

/// Guards promise 6: a request that cannot be decided gets that as its own answer, and its neighbours go on.
#[tokio::test]
async fn a_bad_request_in_a_group_does_not_fail_its_neighbours() {
    let lanes = Lanes::start().await;
    lanes.load(&["user:u_1"], 0).await;
    lanes.load(&["user:u_2"], 3).await;
    let good = || Lanes::consume("user:u_1", vec![lanes.line(1, "messages", Some(9))]);
    let blocked = Lanes::consume("user:u_1", vec![lanes.line(1, "messages", Some(0))]);
    let missing = Lanes::consume("user:u_3", vec![lanes.line(1, "messages", Some(9))]);
    let stale = Lanes::consume("user:u_2", vec![lanes.line(1, "messages", Some(9))]);
    let mut last_month = lanes.line(1, "messages", Some(9));
    last_month.window =
        Period::Month.window_at(lanes.clock.now() - chrono::TimeDelta::days(32), &Calendar::UTC);
    let late = Lanes::consume("user:u_1", vec![last_month]);

    let orders = vec![good(), blocked, good(), missing, good(), stale, good(), late, good()];
    let outcomes = lanes.submit_together(orders).await;

    for (place, used) in [(0, 1), (2, 2), (4, 3), (6, 4), (8, 5)] {
        assert_eq!(decided(&outcomes[place]), (true, vec![used]));
    }
    assert_eq!(decided(&outcomes[1]), (false, vec![1]));
    assert_eq!(outcomes[3], Outcome::Again(Again::Load));
    assert_eq!(outcomes[5], Outcome::Again(Again::Stale(1)));
    assert!(matches!(outcomes[7], Outcome::Again(Again::WrongWindow(_))), "{:?}", outcomes[7]);
    assert_eq!(lanes.outbox_entries().await, 1);
}

/// Guards promise 4: repetitions are known within a group as they are between groups, by key and payload.
#[tokio::test]
async fn repetitions_within_a_group_are_answered_as_the_first() {
    let lanes = Lanes::start().await;
    lanes.load(&["user:u_1"], 0).await;
    let keyed = |fingerprint| {
        let order = Lanes::consume("user:u_1", vec![lanes.line(1, "messages", Some(9))]);
        let idempotency = Some(Idempotency { key_hash: [7; 16], fingerprint });
        Operation { idempotency, ..order }
    };

    let first = lanes.submit_together(vec![keyed([1; 8]), keyed([1; 8]), keyed([2; 8])]).await;
    let later = lanes.submit_together(vec![keyed([1; 8]), keyed([2; 8])]).await;

    assert_eq!(decided(&first[0]), (true, vec![1]));
    assert!(matches!(&first[1], Outcome::Replayed(answer) if answer.lines[0].used.get() == 1));
    assert_eq!((&first[2], &later[1]), (&Outcome::Mismatch, &Outcome::Mismatch));
    assert_eq!(first[1], later[0]);
    assert_eq!(lanes.outbox_entries().await, 1);
}

/// Guards promise 1 and I3: a reset in the middle of a group takes back what came before it in the group, and nothing
/// that comes after.
#[tokio::test]
async fn a_reset_in_a_group_takes_back_what_came_before_it() {
    let lanes = Lanes::start().await;
    lanes.load(&["user:u_1"], 0).await;
    let one = || Lanes::consume("user:u_1", vec![lanes.line(1, "messages", Some(2))]);
    let window = Period::Month.window_at(lanes.clock.now(), &Calendar::UTC);
    let metric = orders::metric("messages");
    let clearing =
        Clearing { period: Period::Month, sliding: false, from_s: window.start_s, window };
    let reset = Lanes::reset("user:u_1", Some(&metric), &[clearing]);

    let outcomes = lanes.submit_together(vec![one(), one(), one(), reset, one()]).await;

    assert_eq!(decided(&outcomes[2]), (false, vec![2]));
    let Outcome::Rewritten { lines, .. } = &outcomes[3] else { panic!("{:?}", outcomes[3]) };
    assert_eq!(lines.iter().map(|line| line.units).collect::<Vec<_>>(), [-2]);
    assert_eq!(decided(&outcomes[4]), (true, vec![1]));
    assert_eq!(lanes.outbox_entries().await, 1);
}

/// Guards I9: what is asked in place of a sheet does not stand in the outbox for one: not of a reset that was answered before,
/// among others that are accepted.
#[tokio::test]
async fn a_reset_that_was_answered_before_leaves_nothing_in_an_entry() {
    let lanes = Lanes::start().await;
    lanes.load(&["user:u_1"], 0).await;
    let window = Period::Month.window_at(lanes.clock.now(), &Calendar::UTC);
    let clearing =
        Clearing { period: Period::Month, sliding: false, from_s: window.start_s, window };
    let reset = || {
        let idempotency = Some(Idempotency { key_hash: [7; 16], fingerprint: [1; 8] });
        Operation { idempotency, ..Lanes::reset("user:u_1", None, &[clearing]) }
    };
    let one = || Lanes::consume("user:u_1", vec![lanes.line(1, "messages", Some(9))]);
    lanes.submit(reset()).await;

    let outcomes = lanes.submit_together(vec![one(), reset(), one()]).await;

    assert!(matches!(outcomes[1], Outcome::Replayed(_)), "{:?}", outcomes[1]);
    assert_eq!(lanes.events().await.len(), 3);
    assert_eq!(lanes.outbox_entries().await, 2);
}
