//! A subject's plan is changed while it is used.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::join_all;
use headroom::quota::Quota;
use reqwest::StatusCode;
use serde_json::json;

use super::LARGE;
use super::SMALL;
use super::SUBJECT;
use super::put_plan;
use super::start;
use crate::support::orders;
use crate::support::poll;

const CALLERS: usize = 64;
const ROUNDS: usize = 8;
/// Answers between two changes.
const ANSWERS: usize = 300;
/// Answers that a caller waits for at most.
const ANSWERS_MAX: usize = 100_000;
const WITHIN: Duration = Duration::from_mins(1);

/// A change of the plan: when it was asked for and done, and the limit from then on.
struct Change {
    asked_at: Instant,
    done_at: Instant,
    max: u64,
}

/// An answer: when it was asked for and given, the limit it was decided by, and whether it was allowed.
struct Seen {
    asked_at: Instant,
    given_at: Instant,
    max: u64,
    is_allowed: bool,
}

/// Callers at work, and when they stop.
#[derive(Default)]
struct Load {
    answers: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    async fn call(&self, quota: &Quota) -> Vec<Seen> {
        let mut seen = Vec::new();
        while !self.is_over.load(Ordering::Relaxed) && seen.len() < ANSWERS_MAX {
            let asked_at = Instant::now();
            let decision = orders::consume(quota, SUBJECT).await.unwrap();
            let max = decision.limits[0].max.unwrap().get();
            let is_allowed = decision.allowed;
            seen.push(Seen { asked_at, given_at: Instant::now(), max, is_allowed });
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        seen
    }

    /// Waits until so many more answers were given.
    async fn goes_on(&self) {
        let enough = self.answers.load(Ordering::Relaxed) + ANSWERS;
        let is_there = || async { self.answers.load(Ordering::Relaxed) >= enough };
        poll::eventually("answers under load", WITHIN, is_there).await;
    }
}

/// Panics unless the answer was decided by the last change that was done before it was asked for, or by one that was under
/// way.
fn assert_in_force(seen: &Seen, changes: &[Change]) {
    let done = changes.iter().rposition(|change| change.done_at < seen.asked_at).unwrap();
    let under_way = changes[done + 1..].iter().take_while(|it| it.asked_at < seen.given_at);
    let possible: Vec<u64> = under_way.chain([&changes[done]]).map(|change| change.max).collect();
    assert!(possible.contains(&seen.max), "by {}, but in force was {possible:?}", seen.max);
    // More than the small plan holds was used before the load began.
    assert_eq!(seen.is_allowed, seen.max == LARGE);
}

/// Guards promise 1: from the moment on at which a change of plan is answered, no node decides by the plan before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_decided_by_limits_that_were_replaced_before_it() {
    let app = start(2).await;
    let change = async |round: usize| {
        let (asked_at, plan) = (Instant::now(), ["large", "small"][round % 2]);
        put_plan(app.quota_of(round / 2 % 2), plan).await.unwrap();
        Change { asked_at, done_at: Instant::now(), max: [LARGE, SMALL][round % 2] }
    };
    let mut changes = vec![change(0).await];
    orders::accept(app.quota(), SUBJECT, SMALL + 1).await;
    let load = Load::default();

    let callers = (0..CALLERS).map(|caller| load.call(app.quota_of(caller % 2)));
    let admin = async {
        for round in 1..=ROUNDS {
            load.goes_on().await;
            changes.push(change(round).await);
        }
        load.goes_on().await;
        load.is_over.store(true, Ordering::Relaxed);
    };
    let (seen, ()) = tokio::join!(join_all(callers), admin);

    let seen: Vec<Seen> = seen.into_iter().flatten().collect();
    assert!(seen.len() > ROUNDS * ANSWERS);
    for seen in &seen {
        assert_in_force(seen, &changes);
    }
    app.finish().await;
}

/// A plan below what is used leaves nothing, and nothing below nothing.
#[tokio::test]
async fn a_downgrade_below_what_is_used_leaves_zero_and_refuses() {
    let app = start(2).await;
    put_plan(app.quota(), "large").await.unwrap();
    orders::accept(app.quota(), SUBJECT, SMALL + 3).await;
    put_plan(app.quota(), "small").await.unwrap();

    for caller in [app.caller_of(0), app.caller_of(1)] {
        let refused = caller.consume(SUBJECT, "any").await;
        let usage = caller.get(&format!("/v1/subjects/{SUBJECT}/usage")).await;

        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.code(), "limit_exceeded");
        assert_eq!(usage.status, StatusCode::OK);
        for answer in [&refused, &usage] {
            let limit = answer.limit("messages-month");
            assert_eq!((&limit["used"], &limit["remaining"]), (&json!(SMALL + 3), &json!(0)));
            assert_eq!(limit["overage"], json!(3));
        }
        assert!(refused.header("ratelimit").contains(";r=0"), "{:?}", refused.headers);
    }
    app.finish().await;
}

/// Guards promise 4: a refusal is no answer to keep, so that an upgrade helps whoever asks again.
#[tokio::test]
async fn after_an_upgrade_a_refused_idempotency_key_passes() {
    let app = start(2).await;
    put_plan(app.quota(), "small").await.unwrap();
    orders::accept(app.quota(), SUBJECT, SMALL).await;
    let [first, second] = [app.caller_of(0), app.caller_of(1)];
    let refused = first.consume_once(SUBJECT, "any", "the-key").await;
    put_plan(app.quota_of(1), "large").await.unwrap();

    let accepted = first.consume_once(SUBJECT, "any", "the-key").await;
    let again = second.consume_once(SUBJECT, "any", "the-key").await;

    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(accepted.is_allowed() && !accepted.is_replayed(), "{accepted:?}");
    assert!(again.is_replayed() && again.event_id() == accepted.event_id(), "{again:?}");
    assert_eq!(accepted.used("messages-month"), SMALL + 1);
    app.finish().await;
}
