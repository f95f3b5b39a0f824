//! A Postgres that is away for a minute, or behind a network that swallows what is sent.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::join;
use futures_util::future::join_all;

use super::MODEL;
use super::assert_unavailable;
use super::logged;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Caller;
use crate::support::poll;
use crate::support::proxy::Network;
use crate::support::proxy::Proxy;

const AWAY: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(50);
const UNKNOWN_PAUSE: Duration = Duration::from_secs(2);
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// One consume of a loaded subject, and whether it was accepted.
async fn consume_promptly(caller: &Caller, call: usize) -> bool {
    let started_at = Instant::now();
    let answer = caller.consume(&format!("user:u_{}", call % 5), MODEL).await;
    let elapsed = started_at.elapsed();
    assert!(matches!(answer.status.as_u16(), 200 | 429), "{answer:?}");
    assert!(elapsed < ANSWER_MAX, "answered after {elapsed:?}");
    answer.is_allowed()
}

/// Guards promise 5: loaded subjects notice nothing, unknown ones are told when to come back, and the outbox drains.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_without_postgres_is_not_noticed_by_loaded_subjects() {
    let options = Options { own_postgres: true, flushers: true, ..Options::default() };
    let mut app = TestApp::start_with(options).await;
    let caller = app.caller();
    let (calls, accepted) = (AtomicUsize::new(5), AtomicUsize::new(0));
    for call in 0..5 {
        accepted.fetch_add(usize::from(consume_promptly(&caller, call).await), Ordering::Relaxed);
    }
    app.stores.postgres.as_mut().unwrap().stop().await.unwrap();

    let loaded = poll::every(PAUSE, AWAY, || async {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        let is_accepted = consume_promptly(&caller, call).await;
        accepted.fetch_add(usize::from(is_accepted), Ordering::Relaxed);
    });
    let unknown = poll::every(UNKNOWN_PAUSE, AWAY, || async {
        assert_unavailable(&caller.consume("user:unknown", MODEL).await);
    });
    join(loaded, unknown).await;

    assert!(accepted.load(Ordering::Relaxed) > 400);
    app.stores.postgres.as_mut().unwrap().restart().await.unwrap();
    let is_drained =
        || async { app.quota().verify().await.is_ok_and(|report| report.pending == 0) };
    poll::eventually("the drained outbox", Duration::from_secs(30), is_drained).await;
    assert_eq!(logged(&app).await.1, accepted.into_inner());
    assert!(caller.consume("user:unknown", MODEL).await.is_allowed());
    app.finish().await;
}

/// Guards promises 5 and 7: a Postgres that never answers holds up nobody but those who need it, and is used again when it
/// answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_before_postgres_is_not_noticed_by_loaded_subjects_and_heals() {
    let mut app = TestApp::start_with(Options { nodes: 0, ..Options::default() }).await;
    let url: reqwest::Url = app.stores.postgres_url.parse().unwrap();
    let proxy = Proxy::start(url.port().unwrap()).await.unwrap();
    app.set("DATABASE_URL", proxy.reroute(&app.stores.postgres_url));
    app.set("HEADROOM_POSTGRES_STATEMENT_TIMEOUT_MS", 500);
    app.set("HEADROOM_ROLE", "all");
    app.add_node().await;
    let caller = app.caller();
    assert!(consume_promptly(&caller, 1).await);
    proxy.set(Network::BlackHole);

    let calls = (0..40).map(|_| consume_promptly(&caller, 1));
    let unknown = caller.consume("user:unknown", MODEL);
    let (accepted, unknown) = join(join_all(calls), unknown).await;

    assert!(accepted.iter().all(|accepted| *accepted));
    assert_unavailable(&unknown);
    proxy.set(Network::Up);
    let is_drained = || async { logged(&app).await.1 == 41 };
    poll::eventually("the drained outbox", Duration::from_secs(30), is_drained).await;
    let is_loaded = || async { caller.consume("user:unknown", MODEL).await.is_allowed() };
    poll::eventually("the load", Duration::from_secs(30), is_loaded).await;
    app.stop_nodes().await;
    app.set("DATABASE_URL", app.stores.postgres_url.clone());
    app.add_node().await;
    app.finish().await;
}
