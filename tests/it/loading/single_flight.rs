//! One load, however many ask, and no unit gained or lost by it.

use headroom::counters::keys;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::orders::accept;
use crate::support::orders::burst;
use crate::support::orders::shard_of;
use crate::support::orders::used;

const SUBJECT: &str = "user:u_1";

async fn start(nodes: usize) -> TestApp {
    let catalogue = Some(orders::messages_a_month(100));
    TestApp::start_with(Options { nodes, catalogue, ..Options::default() }.patient()).await
}

/// Deletes the subject's counters, and lets Redis count its commands anew.
async fn evict(app: &TestApp) {
    let key = keys::subject(shard_of(SUBJECT), SUBJECT);
    let mut redis = app.redis().await;
    let deleted: u8 = redis::cmd("DEL").arg(key).query_async(&mut redis).await.unwrap();
    assert_eq!(deleted, 1);
    redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut redis).await.unwrap();
}

/// How many subjects were set from Postgres since: the load of a missing one looks for its last event, and nothing else
/// does.
async fn loads(app: &TestApp) -> u64 {
    calls(app, "hget").await
}

/// How often Redis was told a command since.
async fn calls(app: &TestApp, name: &str) -> u64 {
    let mut command = redis::cmd("INFO");
    let info: String =
        command.arg("commandstats").query_async(&mut app.redis().await).await.unwrap();
    let start = format!("cmdstat_{name}:calls=");
    let calls = info.lines().find_map(|line| line.strip_prefix(&start));
    calls.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

/// Guards the single flight and I2: an evicted subject with events in both stores is loaded once for 64 requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_requests_for_an_evicted_subject_load_it_once() {
    let app = start(1).await;
    accept(app.quota(), SUBJECT, 20).await;
    app.flush().await;
    accept(app.quota(), SUBJECT, 10).await;
    evict(&app).await;

    let accepted = burst(&[app.quota()], SUBJECT, 64).await;

    assert_eq!((accepted, loads(&app).await), (64, 1));
    // Only a load looks at one level. Who asks when one has ended already asks for another, and finds nothing to do.
    let looks = calls(&app, "get").await;
    assert!((1..=16).contains(&looks), "{looks} loads for 64 requests");
    assert_eq!(accept(app.quota(), SUBJECT, 1).await, 95);
    app.finish().await;
}

/// Guards I2 across nodes: the second node finds the subject loaded, and adds nothing to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_load_an_evicted_subject_once() {
    let app = start(2).await;
    let nodes = [app.quota_of(0), app.quota_of(1)];
    accept(nodes[0], SUBJECT, 20).await;
    app.flush().await;
    accept(nodes[1], SUBJECT, 10).await;
    evict(&app).await;

    let accepted = burst(&nodes, SUBJECT, 64).await;

    assert_eq!((accepted, loads(&app).await), (64, 1));
    assert_eq!(accept(nodes[1], SUBJECT, 1).await, 95);
    app.finish().await;
}

/// Guards promise 1: however often a subject is evicted under load, the limit is passed by nobody and reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_under_load_gain_and_lose_nothing() {
    let mut options = Options { nodes: 2, flushers: true, ..Options::default() };
    options.catalogue = Some(orders::messages_a_month(300));
    let app = TestApp::start_with(options.patient().with("HEADROOM_FLUSHER_TRIM_LAG_S", 0)).await;
    let nodes = [app.quota_of(0), app.quota_of(1)];
    let mut redis = app.redis().await;
    let key = keys::subject(shard_of(SUBJECT), SUBJECT);

    let mut accepted = 0;
    for _ in 0..20 {
        let evict = redis::cmd("DEL").arg(&key).exec_async(&mut redis).await;
        evict.unwrap();
        accepted += burst(&nodes, SUBJECT, 20).await;
    }

    assert_eq!(accepted, 300);
    assert_eq!(used(nodes[0], SUBJECT).await, 300);
    app.finish().await;
}
