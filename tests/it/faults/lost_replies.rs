//! Replies that get lost on the way from Redis: the charge has happened, and the node does not know.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::LIMIT;
use super::MODEL;
use super::assert_unavailable;
use super::counted;
use super::logged;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::flush_all;
use crate::support::poll::eventually;
use crate::support::proxy::Loss;
use crate::support::proxy::Network;
use crate::support::proxy::Proxy;

const WITHIN: Duration = Duration::from_secs(30);
/// Subjects of both shards.
const SUBJECTS: [&str; 5] = ["user:u_1", "user:u_2", "user:u_3", "user:u_4", "user:u_5"];

/// A node that waits for Redis for a short time, and for the decision as a whole for a long time.
async fn start() -> (TestApp, Proxy) {
    let options = Options::default()
        .with("HEADROOM_REDIS_RESPONSE_TIMEOUT_MS", 200)
        .with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 30_000);
    let (app, proxy) = TestApp::start_behind_proxy(options).await;
    for subject in SUBJECTS {
        assert!(app.caller().consume(subject, MODEL).await.is_allowed());
    }
    (app, proxy)
}

/// One consume whose first reply is lost.
async fn consume_with_a_lost_reply(loss: Loss, key: Option<&str>) {
    let (app, proxy) = start().await;
    proxy.lose_next(loss);

    let answer = match key {
        Some(key) => app.caller().consume_once("user:u_1", MODEL, key).await,
        None => app.caller().consume("user:u_1", MODEL).await,
    };

    assert!(answer.is_allowed(), "{answer:?}");
    assert_eq!((answer.used(LIMIT), proxy.faults()), (2, 1));
    assert!(!answer.is_replayed(), "the caller has seen no earlier answer");
    app.flush().await;
    let (ids, rows) = logged(&app).await;
    assert_eq!((rows, ids.contains(&answer.event_id())), (SUBJECTS.len() + 1, true));
    assert_eq!(counted(&app, "user:u_1").await, 2);
    app.finish().await;
}

/// Guards promises 2 and 4: an attempt of unknown fate is found again by its event's id.
#[tokio::test]
async fn a_reply_lost_with_its_connection_charges_once() {
    consume_with_a_lost_reply(Loss::Closed, None).await;
}

/// Guards promises 2 and 4: a time-out is as ambiguous as a closed connection.
#[tokio::test]
async fn a_reply_that_never_comes_charges_once() {
    consume_with_a_lost_reply(Loss::Silent, None).await;
}

/// Guards promises 2 and 4: the idempotency record answers the second attempt, and the caller sees a first answer.
#[tokio::test]
async fn a_lost_reply_under_an_idempotency_key_charges_once() {
    consume_with_a_lost_reply(Loss::Closed, Some("k-1")).await;
    consume_with_a_lost_reply(Loss::Silent, Some("k-1")).await;
}

/// Guards promise 2: a reply after the time-out is not taken for the reply to the next attempt.
#[tokio::test]
async fn a_reply_that_comes_too_late_charges_once() {
    consume_with_a_lost_reply(Loss::Late(Duration::from_millis(300)), None).await;
}

/// Twenty consumes for each of five subjects, half of them under keys, while every fifth reply is lost.
async fn consumes_while_replies_are_lost(loss: Loss) {
    let (app, proxy) = start().await;
    let caller = app.caller();
    proxy.lose_every(5, loss);

    let calls = (0..100).map(|call| {
        let (caller, subject) = (&caller, SUBJECTS[call % 5]);
        async move {
            match call % 2 {
                0 => caller.consume(subject, MODEL).await,
                _ => caller.consume_once(subject, MODEL, &format!("k-{call}")).await,
            }
        }
    });
    let answers = join_all(calls).await;

    proxy.heal();
    assert!(proxy.faults() > 0);
    for answer in &answers {
        assert!(answer.is_allowed() && (2..=21).contains(&answer.used(LIMIT)), "{answer:?}");
    }
    let ids: BTreeSet<_> = answers.iter().map(crate::support::caller::Answer::event_id).collect();
    app.flush().await;
    let (found, rows) = logged(&app).await;
    assert_eq!((ids.len(), rows), (100, 105), "an event an answer, and a row an event");
    assert!(ids.is_subset(&found));
    for subject in SUBJECTS {
        assert_eq!(counted(&app, subject).await, 21);
    }
    app.finish().await;
}

/// Guards promises 2 and 4: every request of a group whose reply is lost is charged once, of one subject and of many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_whose_replies_are_lost_with_their_connection_charge_each_request_once() {
    consumes_while_replies_are_lost(Loss::Closed).await;
}

/// Guards promises 2 and 4: the same when the time-out is what ends the attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_whose_replies_never_come_charge_each_request_once() {
    consumes_while_replies_are_lost(Loss::Silent).await;
}

/// Guards promise 1: requests of unknown fate do not pass a limit when they are decided again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_over_a_limit_passes_it_exactly_while_replies_are_lost() {
    let (app, proxy) = start().await;
    let caller = app.caller();
    proxy.lose_every(5, Loss::Closed);

    let answers = join_all((0..150).map(|_| caller.consume("user:u_1", MODEL))).await;

    proxy.heal();
    assert_eq!(answers.iter().filter(|answer| answer.is_allowed()).count(), 99);
    assert_eq!(answers.iter().filter(|answer| answer.status.as_u16() == 429).count(), 51);
    app.flush().await;
    assert_eq!(counted(&app, "user:u_1").await, 100);
    app.finish().await;
}

/// Guards promises 2 and 4 where the trace of the first attempt is gone before the second: the record of the key still
/// answers; without a key the node says that it does not know, and does not charge again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_is_flushed_and_trimmed_meanwhile_is_not_charged_again() {
    let options = Options { flushers: true, ..Options::default() }
        .with("HEADROOM_REDIS_RESPONSE_TIMEOUT_MS", 500)
        .with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 30_000)
        .with("HEADROOM_FLUSHER_IDLE_POLL_MS", 1)
        .with("HEADROOM_FLUSHER_TRIM_LAG_S", 0);
    let mut app = TestApp::start_with(options).await;
    let proxy = Proxy::start(app.stores.redis.port()).await.unwrap();
    app.set("REDIS_URL", proxy.url());
    app.set("HEADROOM_ROLE", "api");
    app.add_node().await;
    let caller = app.caller_of(1);
    assert!(caller.consume("user:u_1", MODEL).await.is_allowed());
    proxy.lose_next(Loss::Silent);
    let with_key = caller.consume_once("user:u_1", MODEL, "k-1").await;
    proxy.lose_next(Loss::Silent);

    let without_key = caller.consume("user:u_1", MODEL).await;

    assert!(with_key.is_allowed() && with_key.used(LIMIT) == 2, "{with_key:?}");
    assert_unavailable(&without_key);
    app.flush().await;
    assert_eq!((logged(&app).await.1, counted(&app, "user:u_1").await), (3, 3));
    app.finish().await;
}

/// Guards promise 2 for holds: what ends a hold has one id, whatever ends it. A commit of unknown fate does not take the expiry
/// that came meanwhile for itself. Found by `headroom-torture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_unknown_fate_does_not_take_an_expiry_for_itself() {
    let (mut app, proxy) = start().await;
    app.set("REDIS_URL", app.stores.redis.url());
    app.add_node().await;
    let (caller, other) = (app.caller(), app.quota_of(1));
    let body = json!({ "subject": "user:u_1", "model": MODEL, "ttl_s": 5 });
    let held = caller.post("/v1/reservations", &body).await;
    let id = held.body["reservation_id"].as_str().unwrap();
    flush_all(other).await;
    proxy.cut_next();
    proxy.set(Network::BlackHole);

    let (path, amount) = (format!("/v1/reservations/{id}:commit"), json!({ "amount": 1 }));
    let expiring = async {
        eventually("the first attempt", WITHIN, async || proxy.faults() == 1).await;
        app.clock.advance(10_000);
        assert_eq!(other.expire_due().await.unwrap(), 1);
        proxy.heal();
    };
    let (committed, ()) = futures_util::join!(caller.post(&path, &amount), expiring);

    assert_eq!((committed.status.as_u16(), &committed.body["late"]), (200, &json!(true)));
    flush_all(other).await;
    assert!(logged(&app).await.0.contains(&committed.event_id()));
    assert_eq!(counted(&app, "user:u_1").await, 2);
    app.finish().await;
}
