//! What one client or one slow store cannot do to the others.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use reqwest::StatusCode;

use crate::support::ADMIN_KEY;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::answer;
use crate::support::raw::RawConnection;

const GEMINI: &str = "gemini-2.0-flash";

/// Lets Redis hold back every script until [`resume`]. Other commands are answered.
pub(super) async fn pause(redis: &mut redis::aio::MultiplexedConnection) {
    let mut command = redis::cmd("CLIENT");
    command.arg("PAUSE").arg(600_000).arg("WRITE");
    command.query_async::<()>(redis).await.unwrap();
}

pub(super) async fn resume(redis: &mut redis::aio::MultiplexedConnection) {
    redis::cmd("CLIENT").arg("UNPAUSE").query_async::<()>(redis).await.unwrap();
}

/// The head of a consume with a body of `length` bytes.
pub(super) fn head(length: usize) -> String {
    format!(
        "POST /v1/consume HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {ADMIN_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Settings under which nothing is given up for a minute.
pub(super) fn patient() -> Options {
    Options::default()
        .with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 60_000)
        .with("HEADROOM_REDIS_RESPONSE_TIMEOUT_MS", 60_000)
}

/// Guards the bound of requests in flight: above it the answer is no, at once, and probes go on.
#[tokio::test]
async fn requests_above_the_bound_are_refused_at_once() {
    let app = TestApp::start_with(patient().with("HEADROOM_SERVER_IN_FLIGHT_MAX", 1)).await;
    let mut redis = app.redis().await;
    let caller = app.caller();
    pause(&mut redis).await;

    let mut calls: FuturesUnordered<_> =
        (0..10).map(|_| caller.consume("user:u_1", GEMINI)).collect();
    for _ in 0..9 {
        let shed = calls.next().await.unwrap();
        assert_eq!(shed.status, StatusCode::SERVICE_UNAVAILABLE, "{shed:?}");
        assert_eq!((shed.code(), shed.header("retry-after")), ("overloaded", "1"));
    }
    let alive = answer(caller.stranger(Method::GET, "/livez")).await;
    let metrics = answer(caller.stranger(Method::GET, "/metrics")).await;
    resume(&mut redis).await;
    let first = calls.next().await.unwrap();

    assert_eq!([alive.status, metrics.status], [StatusCode::OK; 2]);
    assert!(first.is_allowed(), "{first:?}");
    assert!(caller.consume("user:u_1", GEMINI).await.is_allowed(), "the place is free again");
    assert_eq!(app.flush().await, 2);
    app.finish().await;
}

/// Guards the bound of a request's time: a slow store is answered for, and the same key finds out what happened.
#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_without_its_store() {
    let options = Options::default()
        .with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 200)
        .with("HEADROOM_REDIS_RESPONSE_TIMEOUT_MS", 50);
    let app = TestApp::start_with(options).await;
    let mut redis = app.redis().await;
    assert!(app.caller().consume("user:u_1", GEMINI).await.is_allowed());
    pause(&mut redis).await;

    let consume = app.caller().consume_once("user:u_1", GEMINI, "k-1").await;
    let usage = app.caller().get("/v1/subjects/user:u_1/usage").await;
    resume(&mut redis).await;
    let again = app.caller().consume_once("user:u_1", GEMINI, "k-1").await;

    for late in [consume, usage] {
        assert_eq!(late.status, StatusCode::SERVICE_UNAVAILABLE, "{late:?}");
        assert!(late.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1));
    }
    assert!(again.is_allowed(), "{again:?}");
    assert_eq!(app.flush().await, 2, "whether it was charged the first time or the second");
    app.finish().await;
}

/// Guards the bound of a body's time: a client that stops in the middle does not keep its place.
#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let options = Options::default()
        .with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 100)
        .with("HEADROOM_SERVER_IN_FLIGHT_MAX", 1);
    let app = TestApp::start_with(options).await;
    let mut slow = RawConnection::open(app.address()).await;

    slow.send(head(100) + "{\"subject\":").await;
    let late = slow.answer().await.unwrap();

    assert_eq!((late.status, late.json()["code"].as_str()), (408, Some("body_timeout")));
    assert!(slow.is_closed().await, "the rest of the body is no request");
    assert!(app.caller().consume("user:u_1", GEMINI).await.is_allowed(), "the place is free again");
    let mut gone = RawConnection::open(app.address()).await;
    gone.send(head(100) + "{\"subject\":").await;
    drop(gone);
    assert_eq!(app.flush().await, 1);
    app.finish().await;
}

/// Guards the bound of a head's time and size: a client that never ends it does not keep its connection.
#[tokio::test]
async fn a_head_that_does_not_end_is_not_waited_for() {
    let options = Options::default().with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 100);
    let app = TestApp::start_with(options).await;
    let mut slow = RawConnection::open(app.address()).await;
    let mut garbage = RawConnection::open(app.address()).await;
    let mut endless = RawConnection::open(app.address()).await;

    slow.send("GET /livez HTTP/1.1\r\nhost: h\r\nx-header: ").await;
    garbage.send("\x16\x03\x01 this is no request\r\n\r\n").await;
    let many = "x-header: text\r\n".repeat(200);
    endless.send(format!("GET /livez HTTP/1.1\r\nhost: h\r\n{many}\r\n")).await;

    let slow = slow.answer().await;
    assert!(slow.is_none_or(|answer| answer.status == 408), "closed, with or without a word");
    assert_eq!(garbage.answer().await.map(|answer| answer.status), Some(400));
    assert_eq!(endless.answer().await.map(|answer| answer.status), Some(431));
    app.finish().await;
}
