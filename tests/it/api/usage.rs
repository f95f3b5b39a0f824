//! `GET` and `DELETE /v1/subjects/{subject}/usage`.

use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::move_to;
use crate::support::Options;
use crate::support::TestApp;

const PATH: &str = "/v1/subjects/user:u_1/usage";
const PERIODS: &str = r#"
    metrics = ["messages", "storage_bytes"]
    default_plan = "p"
    [plans.p]
    limits = [
        { metric = "messages", period = "day", max = 10 },
        { metric = "messages", period = "month", max = 100 },
        { metric = "storage_bytes", period = "lifetime", max = 1000 },
    ]
"#;

/// A node with three limits, of which 4, 4 and 700 are used.
async fn start() -> TestApp {
    let catalogue = Some(PERIODS.to_owned());
    let app = TestApp::start_with(Options { catalogue, ..Options::default() }).await;
    move_to(&app, "2027-02-10T12:00:00Z");
    for (metric, amount) in [("messages", 4), ("storage_bytes", 700)] {
        let body = json!({ "subject": "user:u_1", "metric": metric, "amount": amount });
        assert!(app.caller().post("/v1/consume", &body).await.is_allowed());
    }
    app
}

/// The limits in an answer, as name and units used.
fn used(body: &Value) -> Vec<(String, u64)> {
    let limits = body["limits"].as_array().unwrap().iter();
    let pair = |it: &Value| (it["name"].as_str().unwrap().to_owned(), it["used"].as_u64().unwrap());
    limits.map(pair).collect()
}

fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(name, used)| ((*name).to_owned(), *used)).collect()
}

/// Guards the format of usage: every limit of the subject, whole or one metric or period.
#[tokio::test]
async fn usage_shows_every_limit_or_those_that_are_asked_for() {
    let app = start().await;
    let get = async |query: &str| app.caller().get(&format!("{PATH}{query}")).await;

    let all = get("").await;

    let days = pairs(&[("messages-day", 4)]);
    let messages = pairs(&[("messages-day", 4), ("messages-month", 4)]);
    let storage = pairs(&[("storage_bytes-lifetime", 700)]);
    assert_eq!(used(&all.body), [&messages[..], &storage[..]].concat());
    assert_eq!(used(&get("?metric=messages").await.body), messages);
    assert_eq!(used(&get("?period=lifetime").await.body), storage);
    assert_eq!(used(&get("?metric=messages&period=day").await.body), days);
    assert_eq!(all.header("cache-control"), "no-store");
    let fields: Vec<&String> = all.body.as_object().unwrap().keys().collect();
    let expected =
        ["blocked", "features", "last_reset_at", "limits", "plan", "request_id", "subject"];
    assert_eq!(fields, expected);
    assert_eq!(all.body["last_reset_at"], Value::Null);
    let window = |name: &str| {
        let limit = all.limit(name);
        [limit["window_start"].clone(), limit["resets_at"].clone()]
    };
    assert_eq!(window("messages-day"), ["2027-02-10T00:00:00Z", "2027-02-11T00:00:00Z"]);
    assert_eq!(window("storage_bytes-lifetime"), [Value::Null, Value::Null]);
    let nobody = app.caller().get("/v1/subjects/user:never_seen/usage").await;
    assert_eq!(nobody.status, StatusCode::OK, "nobody needs to be made before they are counted");
    app.finish().await;
}

/// Guards the admin's reset: an event that takes off what was used, lifetime limits only when named.
#[tokio::test]
async fn a_reset_clears_what_is_named_and_says_what_it_cleared() {
    let app = start().await;
    let delete = async |query: &str| app.caller().delete(&format!("{PATH}{query}")).await;

    let day = delete("?metric=messages&period=day").await;
    let all = delete("").await;
    let nothing_left = delete("").await;
    let lifetime = delete("?period=lifetime").await;

    let cleared = |metric: &str, period: &str, start: &str, end: Value, units: u64| json!({ "metric": metric, "period": period, "window_start": start, "window_end": end, "units": units });
    let day_end = json!("2027-02-11T00:00:00Z");
    let day_cleared = cleared("messages", "day", "2027-02-10T00:00:00Z", day_end, 4);
    assert_eq!(day.body["cleared"], json!([day_cleared]));
    assert_eq!(used(&day.body["usage"])[..2], pairs(&[("messages-day", 0), ("messages-month", 4)]));
    let month_end = json!("2027-03-01T00:00:00Z");
    let month_cleared = cleared("messages", "month", "2027-02-01T00:00:00Z", month_end, 4);
    assert_eq!(all.body["cleared"], json!([month_cleared]));
    assert_eq!(nothing_left.body["cleared"], json!([]));
    assert_eq!(lifetime.body["cleared"][0]["units"], 700);
    assert_eq!(lifetime.body["cleared"][0]["window_end"], Value::Null);
    let ids = [&day, &all, &lifetime].map(|it| it.body["event_id"].as_str().unwrap().to_owned());
    assert!(ids.iter().all(|id| id.parse::<Uuid>().is_ok_and(|id| id.get_version_num() == 7)));
    app.flush().await;
    let log =
        "SELECT event_id::text FROM message_logs WHERE kind = 'reset' AND event_id::text = ANY($1)";
    let logged = app.postgres().await.query(log, &[&ids.to_vec()]).await.unwrap();
    assert_eq!(logged.len(), 3);
    app.finish().await;
}

/// Guards the catalogue's closed set of metrics: resetting one that does not exist is a mistake, not a success.
#[tokio::test]
async fn a_metric_that_does_not_exist_has_no_usage() {
    let app = start().await;

    let read = app.caller().get(&format!("{PATH}?metric=tokens")).await;
    let reset = app.caller().delete(&format!("{PATH}?metric=tokens")).await;

    for answer in [read, reset] {
        assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "unknown_metric"));
    }
    app.finish().await;
}
