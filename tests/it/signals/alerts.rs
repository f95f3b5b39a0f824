//! Rules, and what they find.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use serde_json::json;

use super::receiver::Receiver;
use super::streamed::Stream;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Caller;
use crate::support::poll::eventually;

const TEN: &str = r#"
metrics = ["messages"]
default_plan = "small"
[plans.small]
limits = [{ metric = "messages", period = "month", max = 100 }]
[[models]]
names = ["*"]
charges = { messages = 1 }
"#;

pub async fn start(nodes: usize) -> TestApp {
    let catalogue = Some(TEN.to_owned());
    TestApp::start_with(Options { nodes, catalogue, ..Options::default() }.patient()).await
}

/// A rule of a kind in place of all others.
async fn only_rule(caller: &Caller, kind: &str, threshold: u64) {
    let rule = json!({
        "kind": kind, "threshold": threshold, "window_s": 3_600, "cooldown_s": 3_600, "enabled": true
    });
    only(caller, &rule).await;
}

/// A rule in place of all others.
pub async fn only(caller: &Caller, rule: &Value) {
    for name in ["bypass", "concurrent_attempts", "high_denial_rate", "near_limit", "usage_spike"] {
        assert_eq!(caller.delete(&format!("/v1/alerts/{name}")).await.status.as_u16(), 204);
    }
    let answer = caller.overwrite("/v1/alerts/mine", rule).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
}

/// Makes every rule due, and lets all nodes look at the same time.
pub async fn evaluate(app: &TestApp, nodes: usize) {
    app.postgres().await.execute("UPDATE alert_rules SET next_at = now()", &[]).await.unwrap();
    let looks = (0..nodes).map(|node| app.quota_of(node).evaluate_alerts());
    for looked in join_all(looks).await {
        looked.unwrap();
    }
}

/// What was found: rule, subject and value.
pub async fn alerts(caller: &Caller) -> Vec<(String, String, i64)> {
    let body = caller.get("/v1/alerts").await.body;
    let text = |alert: &Value, name: &str| alert[name].as_str().unwrap().to_owned();
    let alerts = body["alerts"].as_array().unwrap().iter();
    alerts
        .map(|it| (text(it, "rule"), text(it, "subject"), it["value"].as_i64().unwrap()))
        .collect()
}

/// Guards the default rule of five refusals a minute: told of once over two nodes, and not again within its cool-down, not even
/// after a restart.
#[tokio::test]
async fn many_refusals_are_told_of_once_over_two_nodes_and_a_restart() {
    let mut app = start(2).await;
    let mut stream = Stream::open(&app.caller(), "?types=abuse-detected", None).await;
    for _ in 0..12 {
        app.caller().charge("user:u_1", "messages", 101).await;
    }
    for _ in 0..2 {
        app.caller().charge("user:u_2", "messages", 101).await;
    }
    app.quota().write_denials().await.unwrap();

    evaluate(&app, 2).await;
    let told = stream.next().await.unwrap();
    app.stop_nodes().await;
    app.add_node().await;
    evaluate(&app, 1).await;

    assert_eq!(told.body["subject"], json!("user:u_1"));
    assert_eq!(told.body["data"]["rule"], json!("high_denial_rate"));
    let found = alerts(&app.caller()).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1 == "user:u_1" && found[0].2 >= 5, "{found:?}");
    let risks = &app.caller().get("/v1/alerts").await.body["risks"];
    assert_eq!(*risks, json!([{ "subject": "user:u_1", "score": 20 }]));
    app.finish().await;
}

/// Guards that after the cool-down a rule speaks again.
#[tokio::test]
async fn after_its_cool_down_a_rule_fires_again() {
    let app = start(1).await;
    let caller = app.caller();
    only_rule(&caller, "bypass", 2).await;
    for units in [5, 6] {
        let path = "/v1/subjects/user:u_1/usage/messages";
        caller.overwrite(path, &json!({ "value": units })).await;
    }
    app.flush().await;

    evaluate(&app, 1).await;
    evaluate(&app, 1).await;
    assert_eq!(alerts(&caller).await, [("mine".to_owned(), "user:u_1".to_owned(), 2)]);
    let past = "UPDATE alert_states SET fired_at = fired_at - interval '2 hours'";
    app.postgres().await.execute(past, &[]).await.unwrap();
    evaluate(&app, 1).await;

    assert_eq!(alerts(&caller).await.len(), 2);
    app.finish().await;
}

/// Guards that a subject who asks with many connections at once is found.
#[tokio::test]
async fn requests_at_once_are_found() {
    let app = start(1).await;
    let caller = app.caller();
    only_rule(&caller, "concurrent", 2).await;
    caller.consume("user:u_2", "gemini").await;
    let consumes = (0..64).map(|_| caller.consume("user:u_1", "gemini"));
    join_all(consumes).await;
    app.flush().await;

    evaluate(&app, 1).await;

    let found = alerts(&caller).await;
    assert!(found.len() == 1 && found[0].1 == "user:u_1", "{found:?}");
    app.finish().await;
}

/// Guards that a day of many times the usual usage is found, and told of as a spike.
#[tokio::test]
async fn a_day_of_five_times_the_average_is_a_spike() {
    let app = start(1).await;
    let caller = app.caller();
    only_rule(&caller, "spike", 5).await;
    let mut stream = Stream::open(&caller, "?types=spike-detected", None).await;
    let week = "INSERT INTO usage_days (day, subject, metric, model, events, units)
        SELECT current_date - day, subject, 'messages', '', 7, 7
        FROM generate_series(1, 7) AS day, unnest(ARRAY['user:u_1', 'user:u_2']) AS subject";
    app.postgres().await.execute(week, &[]).await.unwrap();
    for (subject, units) in [("user:u_1", 35), ("user:u_2", 34), ("user:u_3", 90)] {
        caller.charge(subject, "messages", units).await;
    }
    app.flush().await;
    app.quota().fold_rollups().await.unwrap();

    evaluate(&app, 1).await;

    assert_eq!(stream.next().await.unwrap().body["subject"], json!("user:u_1"));
    assert_eq!(alerts(&caller).await, [("mine".to_owned(), "user:u_1".to_owned(), 5)]);
    app.finish().await;
}

/// Guards that a look at spikes costs what today holds: the week before it is summed up once an hour, and not at every look.
#[tokio::test]
async fn the_week_before_a_day_is_summed_up_once_an_hour() {
    let app = start(1).await;
    only_rule(&app.caller(), "spike", 5).await;
    let postgres = app.postgres().await;
    let day = |ago: i32, subject: &str, units: i64| {
        let insert = "INSERT INTO usage_days (day, subject, metric, model, events, units)
            VALUES ((now() AT TIME ZONE 'UTC')::date - $1::integer, $2, 'messages', '', 1, $3)
            ON CONFLICT (day, subject, metric, model) DO UPDATE SET units = excluded.units";
        let (postgres, subject) = (&postgres, subject.to_owned());
        async move { postgres.execute(insert, &[&ago, &subject, &units]).await.unwrap() }
    };
    for subject in ["user:u_1", "user:u_2"] {
        day(7, subject, 7).await;
    }
    day(8, "user:u_3", 7).await;
    evaluate(&app, 1).await;

    // A look that read the week would find no spike of the first, and one of the third.
    day(1, "user:u_1", 1_000).await;
    day(1, "user:u_3", 7).await;
    for (subject, units) in [("user:u_1", 5), ("user:u_2", 4), ("user:u_3", 5)] {
        day(0, subject, units).await;
    }
    evaluate(&app, 1).await;
    let found = alerts(&app.caller()).await;
    let hour = "UPDATE usage_baseline_state SET computed_at = computed_at - interval '1 hour'";
    postgres.batch_execute(hour).await.unwrap();
    evaluate(&app, 1).await;

    let alert = |subject: &str| ("mine".to_owned(), subject.to_owned(), 5);
    assert_eq!(found, [alert("user:u_1")]);
    assert_eq!(alerts(&app.caller()).await, [alert("user:u_3"), alert("user:u_1")]);
    app.finish().await;
}

/// Guards the default's near-limit kind: critical levels and limits that were reached, told of as a warning.
#[tokio::test]
async fn a_subject_near_its_limit_is_found_and_warned_of() {
    let app = start(1).await;
    let caller = app.caller();
    only_rule(&caller, "near_limit", 2).await;
    for (subject, units) in [("user:u_1", 100), ("user:u_2", 95), ("user:u_3", 80)] {
        caller.charge(subject, "messages", units).await;
    }
    app.flush().await;

    evaluate(&app, 1).await;

    assert_eq!(alerts(&caller).await, [("mine".to_owned(), "user:u_1".to_owned(), 2)]);
    app.finish().await;
}

/// Waits until what was told of has its place in the feed: the node itself may be giving places, and then nobody else does.
async fn all_are_placed(app: &TestApp) {
    let postgres = app.postgres().await;
    eventually("the feed's order", Duration::from_secs(20), || async {
        app.quota().follow_feed().await.unwrap();
        let placed = "SELECT NOT EXISTS (SELECT FROM feed WHERE place IS NULL)";
        postgres.query_one(placed, &[]).await.unwrap().get(0)
    })
    .await;
}

/// Guards the channels of a rule: of the webhooks that ask for its type those are told that it names, and without names all.
#[tokio::test]
async fn a_rule_tells_the_channels_that_it_names() {
    let app = start(1).await;
    let (caller, receiver) = (app.caller(), Receiver::start().await);
    let mut ids = Vec::new();
    for path in ["ok", "other"] {
        let order = json!({ "url": receiver.url(path), "types": ["abuse-detected"] });
        ids.push(caller.post("/v1/webhooks", &order).await.body["id"].clone());
    }
    let mut queued = Vec::new();
    for (subject, channels) in
        [("user:u_1", json!([ids[1]])), ("user:u_2", json!([])), ("user:u_3", Value::Null)]
    {
        let rule = json!({
            "kind": "bypass", "threshold": 1, "window_s": 3_600, "cooldown_s": 3_600, "enabled": true,
            "subject": subject, "channels": channels
        });
        caller.overwrite("/v1/alerts/bypass", &rule).await;
        let path = format!("/v1/subjects/{subject}/usage/messages");
        caller.overwrite(&path, &json!({ "value": 1 })).await;
        app.flush().await;
        evaluate(&app, 1).await;
        all_are_placed(&app).await;
        while app.quota().fan_out().await.unwrap() {}
        let count =
            "SELECT webhook_id::text FROM webhook_deliveries ORDER BY created_at, webhook_id";
        let rows = app.postgres().await.query(count, &[]).await.unwrap();
        queued = rows.iter().map(|row| json!(row.get::<_, String>(0))).collect();
    }
    assert_eq!(queued, [&ids[1], &ids[0], &ids[1]].map(Clone::clone));
    assert_eq!(alerts(&caller).await.len(), 3, "all are kept");
    app.finish().await;
}

/// Guards that rules are within their bounds, and that a fenced key sees none of it.
#[tokio::test]
async fn a_rule_that_cannot_be_is_refused() {
    let app = start(1).await;
    let caller = app.caller();
    let rule = |threshold: u64, kind: &str| json!({ "kind": kind, "threshold": threshold, "window_s": 60, "cooldown_s": 0, "enabled": true });
    for (name, rule) in
        [("mine", rule(0, "spike")), ("mine", rule(1, "gift")), ("My%20rule", rule(1, "spike"))]
    {
        let answer = caller.overwrite(&format!("/v1/alerts/{name}"), &rule).await;
        assert_eq!(answer.status.as_u16(), 400, "{answer:?}");
    }
    assert_eq!(caller.delete("/v1/alerts/none").await.code(), "unknown_rule");
    app.finish().await;
}
