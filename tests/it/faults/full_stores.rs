//! Stores without room: Redis at its memory's limit, and an outbox that nobody empties.

use futures_util::future::join;
use futures_util::future::join_all;
use headroom::counters::keys;
use serde_json::json;

use super::LIMIT;
use super::MODEL;
use super::assert_unavailable;
use super::counted;
use super::messages_a_month;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::orders;

/// A call that Redis logged: its number, when, for how long, its words, who asked, and that client's name.
type Slow = (u64, u64, u64, Vec<Vec<u8>>, Vec<u8>, Vec<u8>);

/// The fewest events that an outbox may be set to hold.
const OUTBOX_EVENTS: usize = 1_000;

async fn set_max_memory(app: &TestApp, bytes: u64) {
    let mut redis = app.redis().await;
    redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory"])
        .arg(bytes)
        .exec_async(&mut redis)
        .await
        .unwrap();
}

/// A node with the smallest outbox, whose flushed events stay for so many seconds.
async fn start_small(trim_lag_s: u64) -> TestApp {
    let options = Options { catalogue: Some(messages_a_month(10_000)), ..Options::default() };
    let options = options
        .with("HEADROOM_QUOTA_OUTBOX_EVENTS_MAX", OUTBOX_EVENTS)
        .with("HEADROOM_FLUSHER_TRIM_LAG_S", trim_lag_s);
    TestApp::start_with(options).await
}

/// Entries in the outbox of `user:u_1`, each of some events.
async fn outbox_entries(app: &TestApp) -> u64 {
    let mut length = redis::cmd("XLEN");
    length.arg(keys::outbox(orders::shard_of("user:u_1")));
    length.query_async(&mut app.redis().await).await.unwrap()
}

/// Every key of the counters with its value, in an order of its own.
async fn picture(app: &TestApp) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut redis = app.redis().await;
    let mut keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.unwrap();
    keys.sort();
    let mut picture = Vec::new();
    for key in keys {
        let value = redis::cmd("DUMP").arg(&key).query_async(&mut redis).await.unwrap();
        picture.push((key, value));
    }
    picture
}

/// Guards promise 6 and the rule that a script is refused before its first write.
#[tokio::test]
async fn without_memory_consumes_are_503_and_write_nothing_while_reads_answer() {
    let options = Options::default().with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 300);
    let app = TestApp::start_with(options).await;
    let caller = app.caller();
    assert!(caller.consume("user:u_1", MODEL).await.is_allowed());
    let before = picture(&app).await;
    set_max_memory(&app, 1).await;

    let refused = [
        caller.consume("user:u_1", MODEL).await,
        caller.consume_once("user:u_1", MODEL, "k-1").await,
        caller.consume("user:u_2", MODEL).await,
    ];
    let usage = caller.get("/v1/subjects/user:u_1/usage").await;

    refused.iter().for_each(assert_unavailable);
    assert_eq!((usage.status.as_u16(), usage.used(LIMIT)), (200, 1), "{usage:?}");
    assert_eq!(picture(&app).await, before);
    set_max_memory(&app, 0).await;
    let again = caller.consume_once("user:u_1", MODEL, "k-1").await;
    assert!(again.is_allowed() && again.used(LIMIT) == 2, "{again:?}");
    app.finish().await;
}

/// Guards the rule that a request does not fail its neighbours: reads answer in the middle of refused writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_memory_reads_answer_among_consumes_that_do_not() {
    let options = Options::default().with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 1_000);
    let app = TestApp::start_with(options).await;
    let caller = app.caller();
    assert!(caller.consume("user:u_1", MODEL).await.is_allowed());
    set_max_memory(&app, 1).await;

    let consumes = join_all((0..20).map(|_| caller.consume("user:u_1", MODEL)));
    let reads = join_all((0..20).map(|_| caller.get("/v1/subjects/user:u_1/usage")));
    let (consumes, reads) = join(consumes, reads).await;

    consumes.iter().for_each(assert_unavailable);
    for read in &reads {
        assert_eq!((read.status.as_u16(), read.used(LIMIT)), (200, 1), "{read:?}");
    }
    set_max_memory(&app, 0).await;
    app.finish().await;
}

/// Guards promise 5: the outbox that fills Redis' memory is emptied all the same, which makes room again. Found by
/// `headroom-torture`.
#[tokio::test]
async fn without_memory_the_outbox_is_flushed_and_trimmed() {
    let options = Options::default().with("HEADROOM_FLUSHER_TRIM_LAG_S", 0);
    let app = TestApp::start_with(options).await;
    let caller = app.caller();
    let first = caller.consume("user:u_1", MODEL).await;
    assert!(first.is_allowed());
    set_max_memory(&app, 1).await;

    assert_eq!(app.flush().await, 1);
    let refund = caller.post(&format!("/v1/events/{}:refund", first.event_id()), &json!({})).await;

    assert_unavailable(&refund);
    assert_eq!(counted(&app, "user:u_1").await, 1);
    assert_eq!(outbox_entries(&app).await, 0);
    set_max_memory(&app, 0).await;
    app.finish().await;
}

/// Guards promise 5's budget: an outbox that is full refuses with 503, and goes on when it was emptied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_outbox_is_a_503_that_writes_nothing_until_it_is_flushed() {
    let app = start_small(0).await;
    let caller = app.caller();
    for _ in 0..20 {
        join_all((0..OUTBOX_EVENTS / 20).map(|_| caller.consume("user:u_1", MODEL))).await;
    }
    let before = picture(&app).await;

    let refused = [
        caller.consume("user:u_1", MODEL).await,
        caller.consume_once("user:u_1", MODEL, "k-1").await,
    ];
    let usage = caller.get("/v1/subjects/user:u_1/usage").await;

    refused.iter().for_each(assert_unavailable);
    assert_eq!(usage.used(LIMIT), OUTBOX_EVENTS as u64);
    assert_eq!(picture(&app).await, before);
    assert_eq!(app.flush().await, OUTBOX_EVENTS as u64);
    let again = caller.consume_once("user:u_1", MODEL, "k-1").await;
    assert!(again.is_allowed(), "{again:?}");
    app.flush().await;
    assert_eq!(counted(&app, "user:u_1").await, 1 + i64::try_from(OUTBOX_EVENTS).unwrap());
    app.finish().await;
}

/// Guards that events which Postgres has make room for others: they stay for a while only as long as there is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_events_do_not_fill_an_outbox_before_their_time_is_over() {
    let app = start_small(3_600).await;
    let caller = app.caller();

    for _ in 0..5 {
        let consumes = (0..OUTBOX_EVENTS * 2 / 5).map(|_| caller.consume("user:u_1", MODEL));
        assert!(join_all(consumes).await.iter().all(Answer::is_allowed));
        app.flush().await;
    }

    assert_eq!(counted(&app, "user:u_1").await, i64::try_from(OUTBOX_EVENTS).unwrap() * 2);
    app.finish().await;
}

/// Guards the half of an outbox: up to it what is flushed stays for its time, and with one event more it goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_events_go_when_the_outbox_is_more_than_half_full() {
    let app = start_small(3_600).await;
    let caller = app.caller();
    for _ in 0..10 {
        join_all((0..OUTBOX_EVENTS / 20).map(|_| caller.consume("user:u_1", MODEL))).await;
    }

    app.flush().await;
    let at_half = outbox_entries(&app).await;
    assert!(caller.consume("user:u_1", MODEL).await.is_allowed());
    app.flush().await;

    assert!(at_half > 0);
    assert_eq!(outbox_entries(&app).await, 0);
    app.finish().await;
}

/// Guards decisions beside the flusher: Redis trims in parts, none of which keeps it for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_trim_is_made_in_parts() {
    let app = start_small(0).await;
    let caller = app.caller();
    for _ in 0..10 {
        join_all((0..OUTBOX_EVENTS / 10).map(|_| caller.consume("user:u_1", MODEL))).await;
    }
    let mut redis = app.redis().await;
    let mut log_all = redis::cmd("CONFIG");
    log_all.arg(&["SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "10000"]);
    log_all.exec_async(&mut redis).await.unwrap();

    assert_eq!(app.flush().await, OUTBOX_EVENTS as u64);

    let log: Vec<Slow> =
        redis::cmd("SLOWLOG").arg(&["GET", "-1"]).query_async(&mut redis).await.unwrap();
    let sweeps = log.iter().filter(|entry| entry.3[0] == b"HSCAN");
    let count = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).parse().unwrap();
    let looked_at: Vec<u64> = sweeps.map(|entry| count(&entry.3[4])).collect();
    // Two levels for each of 500 events, and ten.
    assert_eq!((looked_at, outbox_entries(&app).await), (vec![1_010, 1_010], 0));
    app.finish().await;
}
