//! A network that loses requests and connections, and a Redis that forgets its scripts.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::join_all;

use super::LIMIT;
use super::MODEL;
use super::assert_unavailable;
use super::consume_in_turn;
use super::counted;
use super::messages_a_month;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::proxy::Network;

/// Guards promise 4: a request that never reached Redis is sent again within the deadline, and charged.
#[tokio::test]
async fn a_request_lost_before_redis_is_charged_once() {
    let (app, proxy) = TestApp::start_behind_proxy(Options::default()).await;
    assert!(app.caller().consume("user:u_1", MODEL).await.is_allowed());
    proxy.cut_next();

    let answer = app.caller().consume("user:u_1", MODEL).await;

    assert!(answer.is_allowed(), "{answer:?}");
    assert_eq!((answer.used(LIMIT), proxy.faults()), (2, 1));
    app.finish().await;
}

/// The time-outs of these nodes together are below two seconds; the rest is for a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A network that is down for one request, and up again for the next.
async fn request_while(network: Network) {
    let options = Options::default()
        .with("HEADROOM_REDIS_CONNECT_TIMEOUT_MS", 1_000)
        .with("HEADROOM_REDIS_RESPONSE_TIMEOUT_MS", 200)
        .with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 500);
    let (app, proxy) = TestApp::start_behind_proxy(options).await;
    assert!(app.caller().consume("user:u_1", MODEL).await.is_allowed());
    proxy.set(network);

    let started_at = Instant::now();
    let during = app.caller().consume("user:u_1", MODEL).await;
    let elapsed = started_at.elapsed();
    proxy.heal();
    let after = app.caller().consume("user:u_1", MODEL).await;

    assert_unavailable(&during);
    assert!(elapsed < ANSWER_MAX, "answered after {elapsed:?}");
    assert!(after.is_allowed(), "{after:?}");
    assert_eq!(after.used(LIMIT), 2, "the 503 charged nothing");
    app.finish().await;
}

/// Guards promise 7: a network that swallows packets is waited for until the request's deadline, and not longer.
#[tokio::test]
async fn a_black_hole_before_redis_is_a_503_and_heals() {
    request_while(Network::BlackHole).await;
}

/// Guards promise 7: the same for a network that closes every connection.
#[tokio::test]
async fn connections_that_are_refused_are_a_503_and_heal() {
    request_while(Network::Refusing).await;
}

/// Guards the rule that scripts may be forgotten at any time: no caller notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_are_flushed_all_the_time_are_noticed_by_nobody() {
    let options = Options {
        nodes: 2,
        flushers: true,
        catalogue: Some(messages_a_month(1_000)),
        ..Options::default()
    };
    let app = TestApp::start_with(options).await;
    let callers = [app.caller_of(0), app.caller_of(1)];
    let mut redis = app.redis().await;
    let is_over = AtomicBool::new(false);

    let flushing = async {
        let mut flushes = 0;
        while !is_over.load(Ordering::Relaxed) {
            redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut redis).await.unwrap();
            flushes += 1;
        }
        flushes
    };
    let load = async {
        let lines = (0..16)
            .map(|line| consume_in_turn(&callers[line % 2], format!("user:u_{}", line % 4), 40));
        let answers = join_all(lines).await;
        is_over.store(true, Ordering::Relaxed);
        answers
    };
    let (flushes, answers) = tokio::join!(flushing, load);

    assert!(flushes > 10, "only {flushes} times");
    let refused = answers.iter().flatten().find(|answer| !answer.is_allowed());
    assert!(refused.is_none(), "{refused:?}");
    app.flush().await;
    for subject in 0..4 {
        assert_eq!(counted(&app, &format!("user:u_{subject}")).await, 160);
    }
    app.finish().await;
}
