//! A Redis that is stopped or killed, and comes back with what it had.

use std::time::Duration;

use serde_json::json;

use super::LIMIT;
use super::MODEL;
use super::assert_reduced_capacity;
use super::assert_unavailable;
use super::counted;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::poll;

/// Three metrics: one that leaves the answer to the service's setting, and one each that says it itself.
const CATALOGUE: &str = "
metrics = ['messages', 'open_messages', 'closed_messages']
default_plan = 'chat'
[plans.chat]
limits = [
    { metric = 'messages', period = 'month', max = 100 },
    { metric = 'open_messages', period = 'month', max = 100, store_away = 'open' },
    { metric = 'closed_messages', period = 'month', max = 100, store_away = 'closed' },
]
[[models]]
names = ['open']
charges = { open_messages = 1 }
[[models]]
names = ['closed']
charges = { closed_messages = 1 }
[[models]]
names = ['both']
charges = { open_messages = 1, closed_messages = 1 }
[[models]]
names = ['*']
charges = { messages = 1 }
";

/// Two nodes: the first refuses while Redis is away, as is the default, the second lets pass.
async fn start() -> TestApp {
    let options = Options { catalogue: Some(CATALOGUE.to_owned()), ..Options::default() };
    let options = options.with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 300);
    let mut app = TestApp::start_with(options).await;
    app.set("HEADROOM_QUOTA_STORE_AWAY", "open");
    app.add_node().await;
    for model in [MODEL, "open", "closed"] {
        assert!(app.caller().consume("user:u_1", model).await.is_allowed());
    }
    app
}

#[track_caller]
fn assert_degraded(answer: &Answer) {
    assert!(answer.is_allowed(), "{answer:?}");
    assert_eq!((&answer.body["degraded"], &answer.body["event_id"]), (&json!(true), &json!(null)));
}

/// What both nodes answer while Redis is away.
async fn assert_policies(app: &TestApp) {
    let (closed, open) = (app.caller_of(0), app.caller_of(1));
    assert_unavailable(&closed.consume("user:u_1", MODEL).await);
    assert_degraded(&open.consume("user:u_1", MODEL).await);
    assert_degraded(&open.consume("user:unknown", MODEL).await);
    // What the catalogue does not have is refused without a look at Redis.
    assert_eq!(closed.charge("user:u_1", "unheard_of", 1).await.code(), "unknown_metric");
    for caller in [&closed, &open] {
        assert_degraded(&caller.consume("user:u_1", "open").await);
        assert_unavailable(&caller.consume("user:u_1", "closed").await);
        assert_unavailable(&caller.consume("user:u_1", "both").await);
        assert_reduced_capacity(&caller.get("/v1/subjects/user:u_1/usage").await);
        assert_eq!(caller.get("/readyz").await.status.as_u16(), 503);
    }
}

/// What is there after Redis came back: everything that was acknowledged, and nothing that was let pass.
async fn assert_nothing_lost(app: TestApp) {
    let caller = app.caller();
    let answer = caller.consume("user:u_1", MODEL).await;
    assert!(answer.is_allowed(), "{answer:?}");
    assert_eq!(answer.used(LIMIT), 2);
    assert_eq!(caller.get("/v1/subjects/user:u_1/usage").await.used("open_messages-month"), 1);
    app.flush().await;
    assert_eq!(counted(&app, "user:u_1").await, 4);
    let report = app.verify().await;
    assert_eq!((report.incidents, report.dead_letters), (0, 0));
    app.finish().await;
}

/// Guards the table of absences: 503 by default and never 429, 200 where the setting or the limit says so.
#[tokio::test]
async fn a_stopped_redis_is_answered_by_policy_and_comes_back_with_everything() {
    let mut app = start().await;

    app.stores.redis.stop().await.unwrap();
    assert_policies(&app).await;
    app.stores.redis.restart().await.unwrap();

    assert_nothing_lost(app).await;
}

/// Whether the append-only file has everything. Redis writes it before it answers, unless the disk is busy.
async fn is_written(app: &TestApp) -> bool {
    let mut redis = app.redis().await;
    let info: String = redis::cmd("INFO").arg("persistence").query_async(&mut redis).await.unwrap();
    info.contains("aof_buffer_length:0\r\n")
}

/// Guards promise 3: a killed Redis has in its append-only file what it acknowledged.
#[tokio::test]
async fn a_killed_redis_comes_back_with_everything() {
    let mut app = start().await;

    poll::eventually("the written file", Duration::from_secs(10), || is_written(&app)).await;
    app.stores.redis.kill().await.unwrap();
    assert_policies(&app).await;
    app.stores.redis.restart().await.unwrap();

    assert_nothing_lost(app).await;
}
