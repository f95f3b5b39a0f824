//! Deliveries to a real receiver.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::receiver::Receiver;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Caller;
use crate::support::poll::eventually;

/// Longer than anything takes that these tests wait for.
pub const SOON: Duration = Duration::from_secs(20);

async fn start(nodes: usize) -> (TestApp, Receiver) {
    start_within(nodes, 500).await
}

/// Nodes whose receivers have so long to answer.
async fn start_within(nodes: usize, timeout_ms: u64) -> (TestApp, Receiver) {
    let options = Options { nodes, flushers: true, ..Options::default() }.patient();
    let options = options
        .with("HEADROOM_WEBHOOKS_ALLOW_PRIVATE", true)
        .with("HEADROOM_WEBHOOKS_TIMEOUT_MS", timeout_ms);
    (TestApp::start_with(options).await, Receiver::start().await)
}

/// Makes a webhook and answers it, with its secret.
async fn webhook(caller: &Caller, url: &str, types: &[&str]) -> Value {
    let answer = caller.post("/v1/webhooks", &json!({ "url": url, "types": types })).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    answer.body
}

async fn deliveries(caller: &Caller, webhook: &Value) -> Vec<Value> {
    let path = format!("/v1/webhooks/{}/deliveries", webhook["id"].as_str().unwrap());
    caller.get(&path).await.body["deliveries"].as_array().unwrap().clone()
}

/// The one delivery of a webhook, once it says so.
pub async fn delivery_when(caller: &Caller, webhook: &Value, is_so: fn(&Value) -> bool) -> Value {
    eventually("the delivery was written down", SOON, || async {
        deliveries(caller, webhook).await.first().is_some_and(is_so)
    })
    .await;
    deliveries(caller, webhook).await.remove(0)
}

/// Moves the next attempts to now, as time would.
async fn let_time_pass(app: &TestApp) {
    let sql = "UPDATE webhook_deliveries SET next_at = now() WHERE state = 'pending'";
    app.postgres().await.execute(sql, &[]).await.unwrap();
}

/// Guards that each event is delivered once, of two nodes, with a signature that the library of others verifies, and is not
/// sent again after a restart.
#[tokio::test]
async fn an_event_is_delivered_once_and_its_signature_is_verified() {
    let (mut app, receiver) = start(2).await;
    let made = webhook(&app.caller(), &receiver.url("ok"), &["quota-consumed"]).await;
    let verifier = standardwebhooks::Webhook::new(made["secret"].as_str().unwrap()).unwrap();
    let mut wanted = Vec::new();
    for number in 0..10 {
        let answer = app.caller_of(number % 2).consume("user:u_1", "gemini-2.0-flash").await;
        wanted.push(answer.body["event_id"].as_str().unwrap().to_owned());
    }

    let mut found = Vec::new();
    for _ in 0..10 {
        let came = receiver.next().await;
        verifier.verify(came.body.as_bytes(), &came.headers).unwrap();
        let event: Value = serde_json::from_str(&came.body).unwrap();
        assert_eq!(event["id"], json!(came.header("webhook-id")));
        assert_eq!(event["type"], json!("quota-consumed"));
        found.push(event["id"].as_str().unwrap().to_owned());
    }

    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    let caller = app.caller();
    eventually("all were written down", SOON, || async {
        deliveries(&caller, &made).await.iter().all(|it| it["state"] == "delivered")
    })
    .await;
    app.stop_nodes().await;
    app.add_node().await;
    let last = app.caller().consume("user:u_2", "gemini-2.0-flash").await;
    assert_eq!(last.body["event_id"], json!(receiver.next().await.header("webhook-id")));
    assert!(receiver.is_idle().await);
    app.finish().await;
}

/// Guards the retries: the same id again, until it is taken or given up, and then by hand.
#[tokio::test]
async fn a_delivery_that_fails_is_made_ten_times_and_can_be_replayed() {
    let (app, receiver) = start(1).await;
    let caller = app.caller();
    let made = webhook(&caller, &receiver.url("fail"), &["quota-consumed"]).await;
    caller.consume("user:u_1", "gemini-2.0-flash").await;

    let mut ids = Vec::new();
    for attempt in 1..=10 {
        ids.push(receiver.next().await.header("webhook-id").to_owned());
        let is_done = |it: &Value| it["last_status"] == 500;
        let found = delivery_when(&caller, &made, is_done).await;
        assert_eq!(found["attempts"], json!(attempt));
        assert_eq!(found["state"], json!(if attempt < 10 { "pending" } else { "failed" }));
        let reset = "UPDATE webhook_deliveries SET last_status = NULL";
        app.postgres().await.execute(reset, &[]).await.unwrap();
        let_time_pass(&app).await;
    }

    ids.dedup();
    assert_eq!(ids.len(), 1);
    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    caller.overwrite(&path, &json!({ "url": receiver.url("ok") })).await;
    let replayed = caller.post(&format!("{path}/replay"), &json!({})).await;
    assert_eq!(replayed.body, json!({ "replayed": 1 }));
    assert_eq!(receiver.next().await.header("webhook-id"), ids[0]);
    delivery_when(&caller, &made, |it| it["state"] == "delivered").await;
    app.finish().await;
}

/// Guards that a receiver that hangs is given up after the time-out and tried again, and that a redirect is not followed.
#[tokio::test]
async fn a_hang_and_a_redirect_are_failures() {
    let (app, receiver) = start(1).await;
    let caller = app.caller();
    for (path, error) in [("hang", "timed out"), ("redirect", "answered 302")] {
        let made = webhook(&caller, &receiver.url(path), &["quota-consumed"]).await;
        caller.consume("user:u_1", "gemini-2.0-flash").await;
        assert_eq!(receiver.next().await.path, path);
        let found = delivery_when(&caller, &made, |it| it["last_error"].is_string()).await;
        assert!(found["last_error"].as_str().unwrap().contains(error), "{found}");
        assert_eq!(found["state"], json!("pending"));
        caller.delete(&format!("/v1/webhooks/{}", made["id"].as_str().unwrap())).await;
    }
    assert!(receiver.is_idle().await, "nobody followed the redirect");
    app.finish().await;
}

/// Guards that receivers do not wait for each other: one hangs for longer than the test waits, the other is told of everything.
#[tokio::test]
async fn a_receiver_that_hangs_keeps_no_other_waiting() {
    let (app, receiver) = start_within(1, 30_000).await;
    let caller = app.caller();
    let hanging = webhook(&caller, &receiver.url("hang"), &["quota-consumed"]).await;
    webhook(&caller, &receiver.url("ok"), &["quota-consumed"]).await;

    let mut wanted = Vec::new();
    for number in 0..40 {
        let subject = format!("user:u_{number}");
        wanted.push(caller.consume(&subject, "gemini-2.0-flash").await.event_id().to_string());
    }

    let (mut found, mut hung) = (Vec::new(), 0);
    while found.len() < wanted.len() {
        let came = receiver.next().await;
        match came.path.as_str() {
            "ok" => found.push(came.header("webhook-id").to_owned()),
            _ => hung += 1,
        }
    }
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    assert!(hung <= 8, "at most eight are under way to one receiver: {hung}");
    receiver.let_go();
    eventually("all were taken", SOON, || async {
        deliveries(&caller, &hanging).await.iter().all(|it| it["state"] == "delivered")
    })
    .await;
    app.finish().await;
}

/// Guards that nothing waits for ever: what was to be sent to a webhook that is disabled is given up, and can be replayed.
#[tokio::test]
async fn what_waits_for_a_webhook_that_is_disabled_is_given_up() {
    let (app, receiver) = start(1).await;
    let caller = app.caller();
    let made = webhook(&caller, &receiver.url("fail"), &["quota-consumed"]).await;
    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    caller.consume("user:u_1", "gemini-2.0-flash").await;
    let failed = receiver.next().await;
    delivery_when(&caller, &made, |it| it["last_status"] == 500).await;

    caller.overwrite(&path, &json!({ "url": receiver.url("ok"), "enabled": false })).await;

    let given_up = delivery_when(&caller, &made, |it| it["state"] == "failed").await;
    assert_eq!(given_up["last_error"], json!("the webhook is disabled"));
    assert_eq!(given_up["next_at"], Value::Null);
    caller.overwrite(&path, &json!({ "url": receiver.url("ok") })).await;
    caller.post(&format!("{path}/replay"), &json!({})).await;
    let taken = receiver.next().await;
    assert_eq!(
        (taken.path.as_str(), taken.header("webhook-id")),
        ("ok", failed.header("webhook-id"))
    );
    app.finish().await;
}

/// Guards that a look at the feed is bounded in items: a row of it is a flush, which may be long.
#[tokio::test]
async fn a_long_row_of_the_feed_is_put_into_the_queue_in_parts() {
    let app = TestApp::start().await;
    webhook(&app.caller(), "https://receiver.example/", &[]).await;
    let postgres = app.postgres().await;
    let long = "INSERT INTO feed (events, signals)
        SELECT '{}', jsonb_agg(jsonb_build_object(
            'id', gen_random_uuid(), 'type', 'subject-configured', 'subject', 'user:u_1',
            'time', now(), 'data', '{}'::jsonb
        )) FROM generate_series(1, 2500)";
    postgres.execute(long, &[]).await.unwrap();
    eventually("it has its place", SOON, || async {
        app.ledger().place_feed().await.unwrap() == 1
    })
    .await;

    let (mut parts, mut has_more) = (Vec::<i64>::new(), true);
    while has_more {
        has_more = app.quota().fan_out().await.unwrap();
        let queued = "SELECT count(*) FROM webhook_deliveries";
        parts.push(postgres.query_one(queued, &[]).await.unwrap().get(0));
    }

    assert_eq!(parts, [1_000, 2_000, 2_500]);
    app.finish().await;
}

/// Guards that a receiver which answers 410 is sent nothing more, and that nothing waits for it.
#[tokio::test]
async fn a_receiver_that_is_gone_is_disabled() {
    let (app, receiver) = start(1).await;
    let caller = app.caller();
    let made = webhook(&caller, &receiver.url("gone"), &["quota-consumed"]).await;
    for number in 0..20 {
        caller.consume(&format!("user:u_{number}"), "gemini-2.0-flash").await;
    }
    receiver.next().await;
    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());

    eventually("it was disabled", SOON, || async {
        caller.get(&path).await.body["enabled"] == json!(false)
    })
    .await;

    assert_eq!(caller.get(&path).await.body["disabled_reason"], json!("answered 410"));
    eventually("nothing waits for it", SOON, || async {
        deliveries(&caller, &made).await.iter().all(|it| it["state"] == "failed")
    })
    .await;
    app.finish().await;
}

/// Guards the filters: by type and by the part of the tree; and the message of a chat.
#[tokio::test]
async fn a_webhook_is_told_of_what_it_asks_for_alone() {
    let (app, receiver) = start(1).await;
    let caller = app.caller();
    caller.consume("org:a/user:u_1", "gemini-2.0-flash").await;
    let body = json!({
        "url": receiver.url("ok"), "types": ["quota-reset"], "subject": "org:a", "format": "slack"
    });
    caller.post("/v1/webhooks", &body).await;

    caller.consume("org:a/user:u_1", "gemini-2.0-flash").await;
    for subject in ["org:ab", "org:a%2Fuser:u_1"] {
        caller.delete(&format!("/v1/subjects/{subject}/usage")).await;
    }

    let message: Value = serde_json::from_str(&receiver.next().await.body).unwrap();
    let text = message["text"].as_str().unwrap();
    assert!(text.starts_with("quota-reset org:a/user:u_1\n"), "{text}");
    assert!(receiver.is_idle().await);
    app.finish().await;
}

/// Guards that without the setting nothing is sent to this machine, under whatever name.
#[tokio::test]
async fn a_private_address_is_never_sent_to() {
    let receiver = Receiver::start().await;
    let app = TestApp::start_with(Options { flushers: true, ..Options::default() }.patient()).await;
    let caller = app.caller();
    let url = receiver.url("ok");
    let named = url.replace("http://127.0.0.1", "https://localhost");
    for url in [url.as_str(), &named, "https://169.254.169.254/latest/meta-data"] {
        let made = webhook(&caller, url, &["quota-consumed"]).await;
        caller.consume("user:u_1", "gemini-2.0-flash").await;
        delivery_when(&caller, &made, |it| it["last_error"].is_string()).await;
        caller.delete(&format!("/v1/webhooks/{}", made["id"].as_str().unwrap())).await;
    }
    assert!(receiver.is_idle().await);
    app.finish().await;
}
