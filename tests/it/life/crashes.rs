//! Nodes that are killed between every two steps of a reserve and its commit, of a gift and of an expiry.

use std::time::Duration;

use headroom::quota::Quota;
use reqwest::Url;
use serde_json::json;

use super::fixture::age_gifts;
use super::fixture::counts_of;
use super::fixture::logged;
use super::fixture::purchase;
use super::fixture::start;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::gate::Gate;
use crate::support::gate::Side;
use crate::support::orders;
use crate::support::process::Node;

/// More steps than any of these takes: what a node does besides counts, too.
const STEPS_MAX: i64 = 90;

/// A node behind a gate, as a process.
async fn behind_gate(app: &TestApp, role: &str, offset_ms: &str) -> (Node, Gate) {
    let gate = Gate::open();
    let postgres = Url::parse(&app.stores.postgres_url).unwrap().port().unwrap();
    let redis = gate.to(app.stores.redis.port()).await;
    let through = gate.to(postgres).await;
    let url = app.stores.postgres_url.replace(&format!(":{postgres}/"), &format!(":{through}/"));
    let redis = format!("redis://127.0.0.1:{redis}/");
    let settings = [
        ("HEADROOM_ROLE", role),
        ("HEADROOM_LOG_LEVEL", "off"),
        ("DATABASE_URL", url.as_str()),
        ("REDIS_URL", redis.as_str()),
        ("HEADROOM_CLOCK_OFFSET_MS", offset_ms),
    ];
    (Node::start(app, &settings).await, gate)
}

/// Runs `work` on nodes that are killed after one step, after two, and so on, until it is done before the kill. Answers
/// how many were killed in the middle.
async fn killed_at_every_step<F: Future<Output = bool>>(
    app: &TestApp,
    mut work: impl FnMut(Node, Gate, Side, i64) -> F,
) -> usize {
    let mut killed = 0;
    for side in [Side::Before, Side::After] {
        for step in 0..STEPS_MAX {
            let (node, gate) = behind_gate(app, "api", &app.clock.offset_ms().to_string()).await;
            if work(node, gate, side, step).await {
                break;
            }
            killed += 1;
        }
    }
    killed
}

/// The answer, unless the gate shuts first.
async fn unless_shut(gate: &Gate, call: impl Future<Output = Answer>) -> Option<Answer> {
    tokio::select! {
        answer = call => Some(answer),
        () = gate.shut() => None,
    }
}

/// Guards gifts: a gift is made on both sides or on none, wherever the node dies; another node goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gift_is_whole_wherever_its_node_dies() {
    let app = &start(5).await;
    let quota = app.quota();
    let work = |node: Node, gate: Gate, side: Side, step: i64| {
        let (from, to) = (format!("user:g_{side:?}_{step}"), format!("user:r_{side:?}_{step}"));
        async move {
            let giver = orders::subject(&from);
            quota.give_grant(&giver, &purchase(10), &orders::actor()).await.unwrap();
            let caller = node.caller();
            gate.shut_after(step, side);
            let body = json!({"from": from, "to": to, "metric": "messages", "amount": 3});
            let answer = unless_shut(&gate, caller.post("/v1/transfers", &body)).await;
            node.kill().await;
            finish_gifts(app, quota).await;
            let left = (counts_of(quota, &from).await.3, counts_of(quota, &to).await.3);
            match &answer {
                Some(answer) => assert_eq!((answer.status.as_u16(), left), (201, (7, 3))),
                None => assert!([(7, 3), (10, 0)].contains(&left), "{side:?} {step}: {left:?}"),
            }
            answer.is_some()
        }
    };
    let killed = killed_at_every_step(app, work).await;
    assert!(killed >= 6, "{killed}");
    check(app).await;
}

/// Everything is flushed, and every invariant holds.
async fn check(app: &TestApp) {
    app.flush().await;
    let report = app.verify().await;
    assert!(report.is_clean(), "{report:?}");
}

/// Time passes, and another node takes up what was left.
async fn finish_gifts(app: &TestApp, quota: &Quota) {
    age_gifts(app).await;
    quota.finish_transfers().await.unwrap();
    app.flush().await;
}

/// Guards holds and promise 4: a reserve and a commit happen once, wherever the node dies; the caller asks another node
/// with the same keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reserve_and_its_commit_happen_once_wherever_their_node_dies() {
    let app = start(100).await;
    let quota = app.quota();
    let survivor = app.caller();
    let work = |node: Node, gate: Gate, side: Side, step: i64| {
        let subject = format!("user:c_{side:?}_{step}");
        let survivor = survivor.clone();
        async move {
            let caller = node.caller();
            gate.shut_after(step, side);
            let hold = json!({"subject": subject, "metric": "messages", "amount": 10});
            let key = format!("r-{subject}");
            let reserve = caller.keyed(&key, "/v1/reservations", &hold);
            let reserved = unless_shut(&gate, reserve).await;
            let mut is_done = reserved.is_some();
            let reserved = match reserved {
                Some(answer) => answer,
                None => survivor.keyed(&key, "/v1/reservations", &hold).await,
            };
            let id = reserved.body["reservation_id"].as_str().unwrap().to_owned();
            let (path, amount) = (format!("/v1/reservations/{id}:commit"), json!({"amount": 4}));
            let key = format!("c-{subject}");
            let committed = unless_shut(&gate, caller.keyed(&key, &path, &amount)).await;
            is_done &= committed.is_some();
            node.kill().await;
            let again = survivor.keyed(&key, &path, &amount).await;
            assert_eq!(again.status.as_u16(), 200, "{again:?}");
            let is_same = |first: Answer| first.body["event_id"] == again.body["event_id"];
            assert!(committed.is_none_or(is_same), "{again:?}");
            assert_eq!(counts_of(quota, &subject).await, (4, 0, 96, 0), "{side:?} {step}");
            is_done
        }
    };
    let killed = killed_at_every_step(&app, work).await;
    assert!(killed >= 4, "{killed}");
    app.flush().await;
    assert_eq!(logged(&app, "reserve").await, logged(&app, "commit").await);
    app.finish().await;
}

/// Guards I8: a hold expires once, wherever the node that writes it down dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_expires_once_wherever_the_sweeper_dies() {
    let app = start(100).await;
    let quota = app.quota();
    let mut holds = 0;
    for side in [Side::Before, Side::After] {
        for step in [0, 1, 2, 3, 4, 6, 8, 12] {
            let subject = format!("user:e_{side:?}_{step}");
            let order = super::fixture::messages(&subject, 10);
            assert!(quota.reserve(order, Duration::from_secs(1)).await.unwrap().allowed);
            holds += 1;
            app.flush().await;
            app.clock.advance(3_000);
            let offset = app.clock.offset_ms().to_string();
            let (node, gate) = behind_gate(&app, "all", &offset).await;
            gate.shut_after(step, side);
            gate.shut().await;
            node.kill().await;
            quota.expire_due().await.unwrap();
            app.flush().await;
            assert_eq!(counts_of(quota, &subject).await, (0, 0, 100, 0));
        }
    }
    assert_eq!(logged(&app, "expire").await, holds);
    app.finish().await;
}
