//! The five systems whose documents this service was made from: their own numbers and JSON, against the real service on the
//! catalogues of `deploy/catalogues/`, each applied as an operator does.

mod catalogues;
mod chat;
mod entries;
mod images;
mod invoicing;
mod tiers;

use chrono::DateTime;
use chrono::Utc;
use serde_json::Value;
use serde_json::json;

use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::program::Outcome;
use crate::support::program::env_of;
use crate::support::program::run;

/// A node that goes by a demo catalogue.
async fn start(catalogue: &str) -> TestApp {
    let app = TestApp::start().await;
    apply(&app, &demo(catalogue)).await.json();
    app.quota().follow_catalogue().await.unwrap();
    app
}

/// The file of a demo catalogue.
fn demo(catalogue: &str) -> String {
    format!("{}/deploy/catalogues/{catalogue}.toml", env!("CARGO_MANIFEST_DIR"))
}

/// Makes a file the catalogue in force.
async fn apply(app: &TestApp, file: &str) -> Outcome {
    command(app, &["apply", file]).await
}

/// Runs a command on a test's stores, at the time of its nodes.
async fn command(app: &TestApp, arguments: &[&str]) -> Outcome {
    let mut env = env_of(app);
    env.push(("HEADROOM_CLOCK_OFFSET_MS".to_owned(), app.clock.offset_ms().to_string()));
    run(arguments, env).await
}

/// Gives a subject a profile.
async fn put(app: &TestApp, subject: &str, profile: &Value) {
    let file = app.stores.folder().join("profile.json");
    std::fs::write(&file, profile.to_string()).unwrap();
    let put = command(app, &["subject", "put", subject, "--file", file.to_str().unwrap()]).await;
    assert_eq!(put.json()["profile"], *profile);
}

/// Moves the nodes' clock to an instant. Not back once anything was counted.
fn move_to(app: &TestApp, instant: &str) {
    let target: DateTime<Utc> = instant.parse().unwrap();
    app.clock.advance(target.timestamp_millis() - app.clock.now_ms());
}

/// Charges so many units of a metric.
async fn consume(app: &TestApp, subject: &str, metric: &str, amount: u64) -> Answer {
    let body = json!({ "subject": subject, "metric": metric, "amount": amount });
    app.caller().post("/v1/consume", &body).await
}

/// Asks for so many units of a metric.
async fn check(app: &TestApp, subject: &str, metric: &str, amount: u64) -> Answer {
    let body = json!({ "subject": subject, "metric": metric, "amount": amount });
    app.caller().post("/v1/check", &body).await
}

/// The state of a subject's limits.
async fn usage(app: &TestApp, subject: &str) -> Answer {
    app.caller().get(&format!("/v1/subjects/{}/usage", subject.replace('/', "%2F"))).await
}

/// Every limit of an answer by its name, with `max`; null is unlimited.
fn maxima(answer: &Answer) -> Vec<(&str, Value)> {
    let limits = answer.body["limits"].as_array().unwrap().iter();
    let pair = |it: &'_ Value| (it["limit"].clone(), it["unlimited"] == json!(true));
    limits
        .map(|it| {
            let (max, is_unlimited) = pair(it);
            assert_eq!(max.is_null(), is_unlimited, "{it}");
            (it["name"].as_str().unwrap(), max)
        })
        .collect()
}
