//! Forecasts over HTTP.

use headroom::domain::Event;
use headroom::ledger::Batch;
use headroom::ledger::FlushGuards;
use reqwest::StatusCode;
use serde_json::json;

use crate::api::bad_input::assert_problem;
use crate::ledger::fixture::id_at;
use crate::support::Options;
use crate::support::TestApp;
use crate::traffic::Traffic;

const CATALOGUE: &str = r#"
metrics = ["messages", "premium_messages"]
features = ["nano"]
default_plan = "free"
scope_plans = { org = "team" }
[plans.free]
limits = [
    { metric = "messages", period = "lifetime", max = 100 },
    { metric = "premium_messages", period = "lifetime", max = 100 },
    { metric = "messages", period = "minute", max = 60 },
    { metric = "messages", period = "hour", max = 600 },
]
[plans.team]
limits = [{ metric = "messages", period = "lifetime", max = 9000 }]
[plans.pro]
price = 900
limits = [{ metric = "messages", period = "lifetime", max = 1000 }]
[[models]]
names = ["claude-3-opus"]
charges = { messages = 5 }
[[models]]
names = ["gemini-2.0-flash"]
charges = { messages = 2 }
[[models]]
names = ["nano"]
feature = "nano"
charges = { messages = 1 }
"#;

/// A message of `subject` with the model at noon of each of the last `days` days, in the log and the rollups alone.
async fn used_daily(app: &TestApp, subject: &str, model: &str, days: u64) {
    let today_s = app.clock.now_ms().div_euclid(86_400_000) * 86_400;
    let start_s = today_s - days.cast_signed() * 86_400;
    let traffic = Traffic { seed: 3, events: days, subjects: 1, start_s, days };
    let events: Vec<Event> = traffic
        .events()
        .zip(0_i64..)
        .map(|(event, day)| {
            let occurred_at_ms = (start_s + day * 86_400 + 43_200) * 1_000;
            let (event_id, model) = (id_at(occurred_at_ms), Some(model.to_owned()));
            Event { occurred_at_ms, event_id, model, subject: subject.to_owned(), ..event }
        })
        .collect();
    let batch = Batch { epoch: 1, to_seq: days, events, ..Batch::default() };
    app.ledger().flush(&batch, FlushGuards::default()).await.unwrap();
    app.quota().fold_rollups().await.unwrap();
}

/// Guards the forecast from end to end: a message a day and 100 left last 100 days, and what would help is named.
#[tokio::test]
async fn a_constant_usage_reaches_its_limit_when_arithmetic_says_so() {
    let options = Options { catalogue: Some(CATALOGUE.to_owned()), ..Options::default() };
    let mut app = TestApp::start_with(options).await;
    for subject in ["user:u_1", "org:a/user:u_2"] {
        let path = format!("/v1/subjects/{}/forecast?metric=messages", subject.replace('/', "%2F"));
        let sparse = app.caller().get(&path).await.body;
        assert_eq!(sparse["limits"][0]["reason"], json!("too_few_days"), "{sparse}");
        assert_eq!((&sparse["exhausts_at"], &sparse["hints"]), (&json!(null), &json!([])));
    }
    used_daily(&app, "user:u_1", "claude-3-opus", 14).await;

    let forecast = app.caller().get("/v1/subjects/user:u_1/forecast?metric=messages").await.body;

    assert_eq!(forecast["average_daily_milliunits"], json!(1_000), "{forecast}");
    assert_eq!((&forecast["trend"], &forecast["days"]), (&json!("stable"), &json!(14)));
    let limit = &forecast["limits"][0];
    let used = limit["used"].as_u64().unwrap();
    assert_eq!(limit["days_until_limit"], json!(100 - used));
    assert_eq!(limit["exhausts_at"], forecast["exhausts_at"]);
    assert_eq!(limit["recommended_daily_budget"], json!(null));
    assert_eq!(
        forecast["hints"],
        json!([
            { "kind": "plan", "plan": "pro" },
            { "kind": "model", "model": "claude-3-opus", "charges": 5, "cheaper": "gemini-2.0-flash", "cheaper_charges": 2 },
        ])
    );
    app.stop_nodes().await;
}

/// A deeper subject has no rollup of its own: its events are read in the log. Foretold are its own limits of a day or more, and
/// a model is named only if it is cheaper and open.
#[tokio::test]
async fn a_deeper_subject_is_foretold_from_its_own_events() {
    let options = Options { catalogue: Some(CATALOGUE.to_owned()), ..Options::default() };
    let mut app = TestApp::start_with(options).await;
    used_daily(&app, "org:a/user:u_2", "gemini-2.0-flash", 10).await;
    // More than the plan that is recommended allows, but not to the user.
    assert!(app.caller().charge("org:a", "messages", 2_000).await.is_allowed());

    let path = "/v1/subjects/org:a%2Fuser:u_2/forecast?metric=messages";
    let forecast = app.caller().get(path).await.body;

    assert_eq!(
        (&forecast["average_daily_milliunits"], &forecast["days"]),
        (&json!(1_000), &json!(10))
    );
    let limits = forecast["limits"].as_array().unwrap();
    let limits: Vec<_> = limits.iter().map(|it| &it["name"]).collect();
    assert_eq!(limits, ["messages-lifetime"], "{forecast}");
    assert_eq!(forecast["hints"], json!([{ "kind": "plan", "plan": "pro" }]));
    app.stop_nodes().await;
}

#[tokio::test]
async fn a_forecast_needs_a_metric_that_the_catalogue_defines() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let path = "/v1/subjects/user:u_1/forecast";
    let answer = caller.get(path).await;
    assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", &["metric"]);
    let answer = caller.get(&format!("{path}?metric=A")).await;
    assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", &["metric must be"]);
    assert_eq!(caller.get(&format!("{path}?metric=unheard_of")).await.code(), "unknown_metric");
    app.finish().await;
}
