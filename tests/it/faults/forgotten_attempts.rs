//! An attempt was executed, its reply was lost, and Redis forgot it before the next: Postgres is asked what became of it.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::LIMIT;
use super::MODEL;
use super::assert_unavailable;
use super::counted;
use super::logged;
use super::messages_a_month;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::flush_all;
use crate::support::poll::eventually;
use crate::support::proxy::Loss;
use crate::support::proxy::Proxy;

const WITHIN: Duration = Duration::from_secs(30);
const SUBJECT: &str = "user:u_1";

/// A node behind the proxy, another that is not, and a limit of so many messages, of which none is used.
async fn start(max: u32) -> (TestApp, Proxy) {
    let options = Options { catalogue: Some(messages_a_month(max)), ..Options::default() };
    let (mut app, proxy) = TestApp::start_behind_proxy(options.patient()).await;
    app.set("REDIS_URL", app.stores.redis.url());
    app.add_node().await;
    assert_eq!(check(&app, 0, SUBJECT).await.used(LIMIT), 0);
    (app, proxy)
}

/// Has a node look at a subject's limits.
async fn check(app: &TestApp, node: usize, subject: &str) -> Answer {
    let body = json!({ "subject": subject, "model": MODEL });
    app.caller_of(node).post("/v1/check", &body).await
}

/// The answer to a post whose first attempt is executed; before the second, what it did is flushed, and `forget` has its way.
async fn post_and_forget(
    app: &TestApp,
    proxy: &Proxy,
    path: &str,
    body: &Value,
    forget: impl AsyncFnOnce(),
) -> Answer {
    proxy.lose_next(Loss::Silent);
    let meanwhile = async {
        eventually("the first attempt", WITHIN, async || proxy.faults() == 1).await;
        flush_all(app.quota_of(1)).await;
        forget().await;
        proxy.close();
    };
    let caller = app.caller();
    let (answer, ()) = futures_util::join!(caller.post(path, body), meanwhile);
    answer
}

/// Redis forgets everything, and the other node makes it serve again.
async fn begin_another_epoch(app: &TestApp) {
    let mut command = redis::cmd("FLUSHALL");
    command.arg("SYNC");
    command.query_async::<()>(&mut app.redis().await).await.unwrap();
    for subject in [SUBJECT, "user:u_2"] {
        assert!(!check(app, 1, subject).await.status.is_server_error());
    }
}

/// Guards that nobody is refused who was charged: the last message that the limit has is the asker's own. Found by
/// `headroom-torture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_that_was_logged_before_redis_forgot_it_is_answered_as_accepted() {
    let (app, proxy) = start(1).await;
    let body = json!({ "subject": SUBJECT, "model": MODEL });

    let forget = async || begin_another_epoch(&app).await;
    let answer = post_and_forget(&app, &proxy, "/v1/consume", &body, forget).await;

    assert!(answer.is_allowed() && answer.used(LIMIT) == 1, "{answer:?}");
    flush_all(app.quota_of(1)).await;
    let (ids, rows) = logged(&app).await;
    assert_eq!((rows, counted(&app, SUBJECT).await), (1, 1));
    assert!(ids.contains(&answer.event_id()));
    app.finish().await;
}

/// Guards promise 2 the other way round: what Redis lost before it was flushed is decided anew, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_that_redis_forgot_before_it_was_logged_is_decided_again() {
    let (app, proxy) = start(1).await;
    proxy.lose_next(Loss::Silent);
    let meanwhile = async {
        eventually("the first attempt", WITHIN, async || proxy.faults() == 1).await;
        begin_another_epoch(&app).await;
        proxy.close();
    };

    let caller = app.caller();
    let (answer, ()) = futures_util::join!(caller.consume(SUBJECT, MODEL), meanwhile);

    assert!(answer.is_allowed() && answer.used(LIMIT) == 1, "{answer:?}");
    flush_all(app.quota_of(1)).await;
    assert_eq!((logged(&app).await.1, counted(&app, SUBJECT).await), (1, 1));
    app.finish().await;
}

/// Guards that a commit is not told that somebody committed before it when that was itself: the records of the hold and of the
/// key are gone, as after a step of Redis' clock, and what Postgres has does not say who it was. Found by `headroom-torture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_records_are_gone_is_not_told_that_somebody_else_was_first() {
    let (app, proxy) = start(5).await;
    let body = json!({ "subject": SUBJECT, "model": MODEL, "amount": 2 });
    let held = app.caller().post("/v1/reservations", &body).await;
    let id = held.body["reservation_id"].as_str().unwrap();
    let path = format!("/v1/reservations/{id}:commit");

    let forget = async || {
        let mut redis = app.redis().await;
        let records: Vec<Vec<u8>> =
            redis::cmd("KEYS").arg("hr:{*}:r:*").query_async(&mut redis).await.unwrap();
        assert_eq!(records.len(), 1);
        redis::cmd("DEL").arg(&records).query_async::<()>(&mut redis).await.unwrap();
    };
    let answer = post_and_forget(&app, &proxy, &path, &json!({ "amount": 2 }), forget).await;

    assert_unavailable(&answer);
    flush_all(app.quota_of(1)).await;
    assert_eq!((logged(&app).await.1, counted(&app, SUBJECT).await), (2, 2));
    app.finish().await;
}
