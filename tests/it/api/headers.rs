//! The headers of decisions.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::move_to;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::answer;

/// 2027-03-01T00:00:00Z, the end of the month in which these tests run.
const MONTH_END_S: i64 = 1_803_859_200;
const DAILY: &str = r#"
    metrics = ["messages"]
    default_plan = "daily"
    [plans.daily]
    upgrade_url = "https://chat.example/upgrade"
    limits = [
        { metric = "messages", period = "day", max = 1 },
        { metric = "messages", period = "month", max = 2 },
        { metric = "messages", period = "lifetime", max = 50 },
        { metric = "messages", period = "hour" },
    ]
"#;

/// Fails unless the header is one of those that the seconds between two readings of the clock allow.
fn assert_between(found: &str, from_s: i64, to_s: i64, text: impl Fn(i64) -> String) {
    let possible: Vec<String> = (from_s..=to_s).map(text).collect();
    assert!(possible.iter().any(|text| text == found), "{found:?} is none of {possible:?}");
}

/// Guards draft-ietf-httpapi-ratelimit-headers-11: all limits, and the real length of February.
#[tokio::test]
async fn every_decision_names_its_limits_in_structured_fields() {
    let app = TestApp::start().await;
    move_to(&app, "2027-02-10T12:00:00Z");
    let before_s = app.clock.now_ms() / 1_000;

    let body = json!({ "subject": "user:u_1", "model": "claude-sonnet-4", "amount": 20 });
    let accepted = app.caller().post("/v1/consume", &body).await;
    let refused = app.caller().post("/v1/consume", &body).await;
    let checked = app.caller().post("/v1/check", &body).await;

    let after_s = app.clock.now_ms() / 1_000;
    for decision in [accepted, refused, checked] {
        assert_eq!(
            decision.header("ratelimit-policy"),
            "\"messages-month\";q=100;w=2419200, \"premium_messages-month\";q=20;w=2419200"
        );
        let (from_s, to_s) = (MONTH_END_S - after_s, MONTH_END_S - before_s);
        assert_between(decision.header("ratelimit"), from_s, to_s, |t| {
            format!("\"messages-month\";r=80;t={t}, \"premium_messages-month\";r=0;t={t}")
        });
        assert_eq!(decision.header("cache-control"), "no-store");
        assert_eq!(decision.header("x-content-type-options"), "nosniff");
        assert!(!decision.headers.contains_key("x-ratelimit-limit"), "off unless it is set");
    }
    app.finish().await;
}

/// Guards `Retry-After`: trying again before the latest violated window ends is of no use.
#[tokio::test]
async fn retry_after_is_the_end_of_the_latest_violated_window() {
    let catalogue = Some(DAILY.to_owned());
    let app = TestApp::start_with(Options { catalogue, ..Options::default() }).await;
    let consume = async || {
        let body = json!({ "subject": "user:u_1", "metric": "messages" });
        app.caller().post("/v1/consume", &body).await
    };
    move_to(&app, "2027-02-10T12:00:00Z");
    let before_s = app.clock.now_ms() / 1_000;

    let (accepted, day_spent) = (consume().await, consume().await);
    let after_s = app.clock.now_ms() / 1_000;
    move_to(&app, "2027-02-11T12:00:00Z");
    assert!(consume().await.is_allowed());
    let month_spent = consume().await;
    let end_s = app.clock.now_ms() / 1_000;

    assert_eq!(
        accepted.header("ratelimit-policy"),
        "\"messages-day\";q=1;w=86400, \"messages-month\";q=2;w=2419200, \"messages-lifetime\";q=50"
    );
    assert_eq!(day_spent.body["violated-policies"], json!(["messages-day"]));
    assert_eq!(day_spent.body["upgrade_url"], "https://chat.example/upgrade");
    let day_end_s = MONTH_END_S - 18 * 86_400;
    let retry = |answer: &Answer| answer.header("retry-after").to_owned();
    let text = |seconds: i64| seconds.to_string();
    assert_between(&retry(&day_spent), day_end_s - after_s, day_end_s - before_s, text);
    assert_eq!(month_spent.body["violated-policies"], json!(["messages-day", "messages-month"]));
    let month_left_s = MONTH_END_S - (day_end_s + 43_200);
    assert_between(&retry(&month_spent), MONTH_END_S - end_s, month_left_s, text);
    app.finish().await;
}

/// Guards the setting for older clients: the limit with the least left.
#[tokio::test]
async fn legacy_headers_are_sent_when_they_are_switched_on() {
    let options = Options::default().with("HEADROOM_SERVER_LEGACY_RATE_LIMIT_HEADERS", true);
    let app = TestApp::start_with(options).await;
    move_to(&app, "2027-02-10T12:00:00Z");

    let decision = app.caller().consume("user:u_1", "claude-sonnet-4").await;

    assert_eq!(decision.header("x-ratelimit-limit"), "20");
    assert_eq!(decision.header("x-ratelimit-remaining"), "19");
    assert_eq!(decision.header("x-ratelimit-reset"), MONTH_END_S.to_string());
    app.finish().await;
}

/// Guards that one request can be found in every log, whoever made its id, and that no id breaks a line.
#[tokio::test]
async fn a_request_id_is_echoed_or_made() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let with = async |id: &str, path: &str| {
        answer(caller.request(Method::GET, path).header("x-request-id", id)).await
    };

    let (echoed, on_error) = (with("req-1/2;3", "/livez").await, with("req-2", "/nowhere").await);
    let made = caller.get("/livez").await;
    let replaced = with("two words", "/livez").await;

    assert_eq!(echoed.header("x-request-id"), "req-1/2;3");
    assert_eq!(on_error.status, StatusCode::NOT_FOUND);
    assert_eq!(
        (&on_error.body["request_id"], on_error.header("x-request-id")),
        (&json!("req-2"), "req-2")
    );
    let ids: Vec<Uuid> =
        [made, replaced].iter().map(|it| it.header("x-request-id").parse().unwrap()).collect();
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.get_version_num() == 7), "{ids:?}");
    app.finish().await;
}
