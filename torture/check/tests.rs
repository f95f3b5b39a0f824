//! The checker finds what is planted, and nothing where nothing is.

use super::*;
use crate::catalogue;
use crate::evidence::Delta;
use crate::evidence::Gift;
use crate::evidence::Granted;

const SUBJECT: &str = "user:u_1";
const MAX: u64 = 240;

fn name(period: &str) -> CounterName {
    CounterName {
        level: SUBJECT.to_owned(),
        metric: "messages".to_owned(),
        period: period.to_owned(),
        window_end_s: 1_796_083_200,
    }
}

fn event(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number) + 1)
}

/// A consume of one unit at each of so many instants, a second apart.
fn history(count: u64) -> Vec<Invocation> {
    let one = |number: u64| Invocation {
        id: format!("1-0-{number}"),
        subject: SUBJECT.to_owned(),
        to: None,
        act: Act::Consume,
        amount: 1,
        is_keyed: false,
        sent_ms: number.cast_signed() * 1_000,
        ended_ms: number.cast_signed() * 1_000 + 10,
        attempts: 1,
        is_unsure: false,
        told: Told::Done(event(number)),
    };
    (0..count).map(one).collect()
}

fn row(number: u64) -> Logged {
    Logged {
        event_id: event(number),
        shard: 0,
        epoch: 1,
        seq: number.cast_signed() + 1,
        subject: SUBJECT.to_owned(),
        kind: "consume".to_owned(),
        amount: Some(1),
        request_id: format!("1-0-{number}"),
        is_past_limit: false,
        deltas: vec![Delta { name: name("month"), units: 1 }],
        of_grants: Vec::new(),
    }
}

fn counted(evidence: &mut Evidence) {
    let used = i64::try_from(evidence.logged.len()).unwrap();
    let counter = Counter { name: name("month"), used };
    (evidence.counters, evidence.redis) = (vec![counter.clone()], vec![counter]);
}

/// A run without any fault.
fn evidence(count: u64) -> Evidence {
    let mut evidence = Evidence {
        shards: 1,
        history: history(count),
        logged: (0..count).map(row).collect(),
        limits: catalogue::limits(),
        ..Evidence::default()
    };
    counted(&mut evidence);
    evidence
}

fn incident(detected_ms: i64, lost_at_most: u64) -> Incident {
    Incident { shard: 0, detected_ms, lost_at_most, units_on_older_state: 0 }
}

#[test]
fn a_run_that_kept_everything_is_kept() {
    let verdict = judge(&evidence(MAX));
    assert!(verdict.is_kept(), "{verdict:?}");
    assert_eq!((verdict.operations, verdict.done), (MAX, MAX));
}

#[test]
fn a_planted_loss_is_found() {
    let mut evidence = evidence(10);
    evidence.logged.remove(4);
    counted(&mut evidence);

    let verdict = judge(&evidence);

    assert_eq!((verdict.lost, verdict.missing), (1, 0), "{verdict:?}");
    assert!(!verdict.is_kept());
}

#[test]
fn a_loss_is_explained_by_an_incident_of_its_epoch_and_by_no_other() {
    let mut evidence = evidence(10);
    evidence.logged.drain(4..6);
    counted(&mut evidence);
    for (incidents, lost) in [
        (vec![incident(6_500, 2)], 0),
        // It has room for one.
        (vec![incident(6_500, 1)], 1),
        // It was over before.
        (vec![incident(3_500, 2)], 2),
        // Between the two the shard was recovered without a loss, so that the second cannot have lost them.
        (vec![incident(6_500, 0), incident(8_500, 2)], 2),
    ] {
        evidence.incidents = incidents;
        let verdict = judge(&evidence);
        assert_eq!((verdict.lost, verdict.missing), (lost, 2 - lost), "{verdict:?}");
    }
}

#[test]
fn a_planted_double_is_found() {
    let mut evidence = evidence(10);
    evidence.logged.push(Logged { event_id: event(100), seq: 100, ..row(3) });
    counted(&mut evidence);

    let verdict = judge(&evidence);

    assert_eq!(verdict.doubled, 1, "{verdict:?}");
    assert!(!verdict.is_kept());
}

#[test]
fn an_operation_that_nobody_asked_for_is_found() {
    let mut evidence = evidence(10);
    evidence.history.remove(3);
    assert_eq!(judge(&evidence).doubled, 1);
}

#[test]
fn a_planted_over_admission_is_found_unless_redis_lost_as_much() {
    let mut evidence = evidence(MAX + 5);

    let verdict = judge(&evidence);

    assert_eq!((verdict.over_admitted, verdict.explained), (5, 0), "{verdict:?}");
    assert!(!verdict.is_kept());
    evidence.incidents = vec![incident(3_500, 1)];
    let verdict = judge(&evidence);
    assert_eq!((verdict.over_admitted, verdict.explained), (2, 3), "{verdict:?}");
}

#[test]
fn what_was_lost_counts_against_the_limit_too() {
    let mut evidence = evidence(MAX + 2);
    evidence.logged.drain(..2);
    counted(&mut evidence);

    let verdict = judge(&evidence);

    assert_eq!((verdict.lost, verdict.over_admitted), (2, 2), "{verdict:?}");
}

#[test]
fn a_refusal_that_was_charged_is_found_unless_an_earlier_attempt_may_have_been() {
    let mut evidence = evidence(10);
    evidence.history[2].told = Told::Refused;
    assert_eq!(judge(&evidence).charged_unasked, 1);
    evidence.history[2].is_unsure = true;
    assert!(judge(&evidence).is_kept());
}

#[test]
fn an_operation_of_unknown_fate_may_be_there_or_not() {
    let mut evidence = evidence(10);
    evidence.history[2].told = Told::Unknown;
    assert!(judge(&evidence).is_kept());
    evidence.logged.remove(2);
    counted(&mut evidence);
    assert!(judge(&evidence).is_kept());
}

#[test]
fn a_counter_that_differs_and_an_amount_that_was_not_asked_are_found() {
    let mut postgres = evidence(10);
    postgres.counters[0].used = 9;
    let mut redis = evidence(10);
    redis.redis[0].used = 11;
    let mut amount = evidence(10);
    amount.history[0].amount = 2;
    for evidence in [postgres, redis, amount] {
        assert_eq!(judge(&evidence).wrong, 1);
    }
}

const RECEIVER: &str = "user:u_2";

/// A grant of three units to the giver, of which two are given away.
fn gift() -> Evidence {
    let mut history = history(2);
    (history[0].act, history[0].amount, history[0].told) = (Act::Grant, 3, Told::Made(7));
    (history[1].act, history[1].amount, history[1].to) = (Act::Gift, 2, Some(RECEIVER.to_owned()));
    let granted = |id: u64, number, subject: &str, amount, gift| Granted {
        id,
        event_id: event(number),
        subject: subject.to_owned(),
        amount,
        gift,
    };
    let logged =
        |number, kind: &str| Logged { kind: kind.to_owned(), deltas: Vec::new(), ..row(number) };
    let received =
        Logged { event_id: event(50), subject: RECEIVER.to_owned(), ..logged(1, "grant") };
    Evidence {
        shards: 1,
        history,
        logged: vec![
            logged(0, "grant"),
            Logged { of_grants: vec![(7, 2)], ..logged(1, "transfer") },
            received,
        ],
        grants: vec![granted(7, 0, SUBJECT, 3, None), granted(8, 50, RECEIVER, 2, Some(event(1)))],
        gifts: vec![Gift {
            id: event(1),
            from: SUBJECT.to_owned(),
            to: RECEIVER.to_owned(),
            amount: 2,
            state: "done".to_owned(),
            request_id: "1-0-1".to_owned(),
        }],
        limits: catalogue::limits(),
        ..Evidence::default()
    }
}

#[test]
fn a_gift_with_both_sides_is_kept() {
    let verdict = judge(&gift());
    assert!(verdict.is_kept(), "{verdict:?}");
    assert_eq!((verdict.grants, verdict.gifts, verdict.done), (1, 1, 2));
}

#[test]
fn a_gift_of_which_a_side_is_missing_is_found_whatever_redis_lost() {
    let plants: [fn(&mut Evidence); 4] = [
        |it| it.logged[1].of_grants.clear(),
        |it| it.grants[1].amount = 1,
        |it| it.gifts[0].state = "refused".to_owned(),
        |it| it.gifts[0].state = "pending".to_owned(),
    ];
    for plant in plants {
        let mut evidence = gift();
        evidence.incidents = vec![incident(6_500, 9)];
        plant(&mut evidence);
        let verdict = judge(&evidence);
        assert_eq!(verdict.half, 1, "{verdict:?}");
        assert!(!verdict.is_kept());
    }
}

#[test]
fn a_gift_or_grant_that_is_gone_or_was_made_twice_is_found() {
    let mut gone = gift();
    gone.history[0].told = Told::Made(9);
    assert_eq!(judge(&gone).lost, 1);
    let mut other = gift();
    other.history[1].to = Some("user:u_3".to_owned());
    assert_eq!(judge(&other).lost, 1);
    let mut twice = gift();
    twice.grants.push(Granted { id: 9, event_id: event(60), ..twice.grants[0].clone() });
    twice.logged.push(Logged { event_id: event(60), ..twice.logged[0].clone() });
    assert_eq!(judge(&twice).doubled, 1);
    let mut refused = gift();
    refused.history[1].told = Told::Refused;
    assert_eq!(judge(&refused).charged_unasked, 2, "the event, and the gift");
}

#[test]
fn a_grant_of_which_more_is_burnt_than_it_has_is_found_unless_redis_lost_as_much() {
    let mut evidence = gift();
    evidence.logged[1].of_grants = vec![(7, 2), (7, 3)];
    evidence.grants[1].amount = 5;
    evidence.gifts[0].amount = 5;
    evidence.history[1].amount = 5;

    let verdict = judge(&evidence);

    assert_eq!((verdict.over_admitted, verdict.half), (2, 0), "{verdict:?}");
    evidence.incidents = vec![incident(6_500, 1)];
    assert_eq!(judge(&evidence).over_admitted, 0);
}
