//! Limits that are neared or reached.

use futures_util::future::join_all;
use serde_json::Value;
use serde_json::json;

use super::streamed::Stream;
use crate::life::fixture::commit;
use crate::life::fixture::reserve;
use crate::support::Options;
use crate::support::TestApp;

const HUNDRED: &str = r#"
metrics = ["messages"]
default_plan = "small"
[plans.small]
limits = [{ metric = "messages", period = "month", max = 100 }]
[[models]]
names = ["*"]
charges = { messages = 1 }
"#;

fn hundred(nodes: usize, flushers: bool) -> Options {
    Options { nodes, flushers, catalogue: Some(HUNDRED.to_owned()), ..Options::default() }.patient()
}

const NEAR: &str = "?types=quota-warning,quota-reached";

async fn crossings(app: &TestApp) -> Vec<(String, i64, i64)> {
    let rows = "SELECT level, used, max FROM crossings ORDER BY used, level";
    let rows = app.postgres().await.query(rows, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

fn levels(events: &[super::streamed::Event]) -> Vec<&Value> {
    events.iter().map(|event| &event.body["data"]["level"]).collect()
}

/// Guards that of 200 parallel consumes over two nodes that flush, each level is told of once, and not again after a restart.
#[tokio::test]
async fn each_level_is_told_of_once_under_parallel_consumes_on_two_nodes() {
    let mut app = TestApp::start_with(hundred(2, true)).await;
    let mut stream = Stream::open(&app.caller_of(1), NEAR, None).await;
    let consumes = (0..200).map(|number| {
        let caller = app.caller_of(number % 2);
        async move { caller.consume("user:u_1", "gemini").await.is_allowed() }
    });

    let allowed = join_all(consumes).await.into_iter().filter(|it| *it).count();

    assert_eq!(allowed, 100);
    let events = stream.take(3).await;
    let mut told: Vec<_> = levels(&events).into_iter().map(Value::to_string).collect();
    told.sort();
    assert_eq!(told, ["\"critical\"", "\"limit\"", "\"warning\""]);
    app.stop_nodes().await;
    app.add_node().await;
    let last = events.last().unwrap().id.clone();
    let mut stream = Stream::open(&app.caller(), NEAR, Some(&last)).await;
    app.caller().delete("/v1/subjects/user:u_1/usage").await;
    for _ in 0..90 {
        app.caller().consume("user:u_1", "gemini").await;
    }
    app.caller().charge("user:u_2", "messages", 80).await;
    let next = stream.next().await.unwrap();
    assert_eq!(next.body["subject"], json!("user:u_2"), "not the first one again: {next:?}");
    assert_eq!(crossings(&app).await.len(), 4);
    app.finish().await;
}

/// Guards that a level is reached exactly where the limit says, by the limit in force.
#[tokio::test]
async fn a_level_is_reached_at_its_share_and_not_before() {
    let app = TestApp::start_with(hundred(1, false)).await;
    let caller = app.caller();
    let mut found = Vec::new();
    for amount in [79, 1, 14, 1, 4, 1] {
        caller.charge("user:u_1", "messages", amount).await;
        app.flush().await;
        found.push(crossings(&app).await.len());
    }
    assert_eq!(found, [0, 1, 1, 2, 2, 3]);
    let levels = crossings(&app).await;
    let level = |name: &str, used| (name.to_owned(), used, 100);
    assert_eq!(levels, [level("warning", 80), level("critical", 95), level("limit", 100)]);
    app.finish().await;
}

/// Guards that work which was held first is seen, too: the limit travels with its commit.
#[tokio::test]
async fn a_commit_of_a_reservation_reaches_a_level_like_a_consume() {
    let app = TestApp::start_with(hundred(1, false)).await;
    let held = reserve(app.quota(), 90).await;
    app.flush().await;
    assert_eq!(crossings(&app).await, [], "what is held is not used");

    commit(app.quota(), &held, 85).await.unwrap();
    app.flush().await;

    assert_eq!(crossings(&app).await, [("warning".to_owned(), 85, 100)]);
    app.finish().await;
}
