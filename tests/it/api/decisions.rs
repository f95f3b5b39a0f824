//! `POST /v1/consume` and `POST /v1/check`.

use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::move_to;
use crate::support::TestApp;

const CLAUDE: &str = "claude-sonnet-4";
const GEMINI: &str = "gemini-2.0-flash";

/// Uses up the premium messages of `user:u_1`.
async fn spend_premium(app: &TestApp) {
    let body = json!({ "subject": "user:u_1", "model": CLAUDE, "amount": 20 });
    assert!(app.caller().post("/v1/consume", &body).await.is_allowed());
}

fn limit(name: &str, max: u64, used: u64, warning: &str) -> Value {
    json!({
        "name": format!("{name}-month"),
        "subject": "user:u_1",
        "metric": name,
        "period": "month",
        "limit": max,
        "used": used,
        "reserved": 0,
        "remaining": max - used,
        "granted_remaining": 0,
        "window_start": "2027-02-01T00:00:00Z",
        "resets_at": "2027-03-01T00:00:00Z",
        "mode": "hard",
        "warning": warning,
    })
}

/// Guards the format of an accepted decision: its whole body.
#[tokio::test]
async fn an_accepted_message_is_answered_with_every_limit_it_was_measured_against() {
    let app = TestApp::start().await;
    move_to(&app, "2027-02-10T12:00:00Z");

    let mut answer = app.caller().consume("user:u_1", CLAUDE).await;

    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let event_id: Uuid = answer.body["event_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(event_id.get_version_num(), 7);
    assert_eq!(answer.body["request_id"], answer.header("x-request-id"));
    let body = answer.body.as_object_mut().unwrap();
    body.retain(|name, _| name != "event_id" && name != "request_id");
    let limits = [limit("messages", 100, 1, "none"), limit("premium_messages", 20, 1, "none")];
    let expected = json!({ "allowed": true, "degraded": false, "plan": "chat", "limits": limits });
    assert_eq!(answer.body, expected);
    app.finish().await;
}

/// Guards promise 1 and the format of a refusal (RFC 9457): all or nothing, and told why.
#[tokio::test]
async fn a_refused_message_charges_nothing_and_says_which_limits_are_spent() {
    let app = TestApp::start().await;
    move_to(&app, "2027-02-10T12:00:00Z");
    spend_premium(&app).await;

    let mut answer = app.caller().consume("user:u_1", CLAUDE).await;

    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.body["request_id"], answer.header("x-request-id"));
    answer.body.as_object_mut().unwrap().remove("request_id");
    let expected = json!({
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": "no room for the request in premium_messages-month",
        "instance": "/v1/consume",
        "code": "limit_exceeded",
        "violated-policies": ["premium_messages-month"],
        "allowed": false,
        "event_id": null,
        "limits": [
            limit("messages", 100, 20, "none"),
            limit("premium_messages", 20, 20, "critical"),
        ],
        "degraded": false,
        "plan": "chat",
    });
    assert_eq!(answer.body, expected);
    assert!(app.caller().consume("user:u_1", GEMINI).await.is_allowed(), "other models go on");
    app.finish().await;
}

/// Guards `?on_deny=200`: the same decision for clients that take statuses for failures.
#[tokio::test]
async fn a_refusal_is_a_success_for_callers_who_ask_for_that() {
    let app = TestApp::start().await;
    spend_premium(&app).await;
    let body = json!({ "subject": "user:u_1", "model": CLAUDE });

    let refused = app.caller().post("/v1/consume?on_deny=200", &body).await;
    let as_usual = app.caller().post("/v1/check?on_deny=429", &body).await;

    assert_eq!((refused.status, &refused.body["allowed"]), (StatusCode::OK, &json!(false)));
    assert_eq!(refused.header("content-type"), "application/json");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!((&refused.body["event_id"], &refused.body["type"]), (&Value::Null, &Value::Null));
    assert_eq!(refused.used("premium_messages-month"), 20);
    assert_eq!(as_usual.status, StatusCode::TOO_MANY_REQUESTS);
    app.finish().await;
}

/// Guards that looking is free: a check and an amount of 0 write no event.
#[tokio::test]
async fn a_check_never_charges() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let ask = |amount: u64| json!({ "subject": "user:u_1", "model": CLAUDE, "amount": amount });

    let fits = caller.post("/v1/check", &ask(20)).await;
    let does_not_fit = caller.post("/v1/check", &ask(21)).await;
    let nothing = caller.post("/v1/consume", &ask(0)).await;

    for allowed in [&fits, &nothing] {
        assert!(allowed.is_allowed(), "{allowed:?}");
        assert_eq!(allowed.body["event_id"], Value::Null);
        assert_eq!(allowed.used("messages-month"), 0);
    }
    assert_eq!(does_not_fit.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(does_not_fit.body["instance"], "/v1/check");
    assert_eq!(app.flush().await, 0);
    spend_premium(&app).await;
    let spent = caller.post("/v1/consume", &ask(0)).await;
    assert!(spent.is_allowed(), "nothing fits even where all is spent: {spent:?}");
    app.finish().await;
}

/// Guards that a metric can be charged by its name, without a model.
#[tokio::test]
async fn a_metric_is_charged_alone_and_an_unknown_one_is_not_found() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let ask = |metric: &str| json!({ "subject": "user:u_1", "metric": metric, "amount": 7 });

    let charged = caller.post("/v1/consume", &ask("premium_messages")).await;
    let unknown = caller.post("/v1/consume", &ask("tokens")).await;

    assert!(charged.is_allowed(), "{charged:?}");
    assert_eq!(charged.body["limits"].as_array().unwrap().len(), 1);
    assert_eq!(charged.used("premium_messages-month"), 7);
    assert_eq!((unknown.status, unknown.code()), (StatusCode::NOT_FOUND, "unknown_metric"));
    assert_eq!(app.flush().await, 1);
    app.finish().await;
}

/// Guards the seed's rule for callers who have not signed in: one model, counted and never refused.
#[tokio::test]
async fn callers_who_have_not_signed_in_get_the_one_open_model() {
    let app = TestApp::start().await;
    let caller = app.caller();

    for body in [
        json!({ "model": GEMINI }),
        json!({ "subject": "anonymous:visitor-7", "model": GEMINI, "amount": 1_000 }),
    ] {
        let answer = caller.post("/v1/consume", &body).await;
        assert!(answer.is_allowed(), "{answer:?}");
        assert_eq!(answer.limit("messages-month")["unlimited"], true);
        assert_eq!(answer.header("ratelimit"), "", "an unlimited limit has no line");
    }

    for model in [CLAUDE, "claude-3-opus", "gemini-2.5-pro", "gpt-5"] {
        for route in ["/v1/consume", "/v1/check"] {
            let answer = caller.post(route, &json!({ "model": model })).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{model}");
            assert_eq!(answer.code(), "model_not_allowed");
        }
    }
    assert_eq!(app.flush().await, 2);
    app.finish().await;
}

/// Guards the seed's catalogue: the six models and `claude-*` are premium, all others are not.
#[tokio::test]
async fn claude_models_are_premium_and_others_are_not() {
    let app = TestApp::start().await;
    let premium = [
        "claude-3.5-sonnet",
        "claude-3-haiku",
        "claude-3-opus",
        "claude-3.7-sonnet",
        "claude-sonnet-4",
        "claude-opus-4",
        "claude-next",
    ];

    for (model, limits) in premium.map(|model| (model, 2)).into_iter().chain([("gpt-5", 1)]) {
        let answer = app.caller().consume("user:u_1", model).await;
        assert_eq!(answer.body["limits"].as_array().unwrap().len(), limits, "{model}");
    }

    let answer = app.caller().consume("user:u_1", CLAUDE).await;
    assert_eq!((answer.used("messages-month"), answer.used("premium_messages-month")), (9, 8));
    app.finish().await;
}

/// Guards that the log can answer later what was asked: model, metadata, request and trace.
#[tokio::test]
async fn what_the_caller_sends_along_is_in_the_message_log() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let app = TestApp::start().await;
    let metadata = json!({ "chat": "c_1", "tags": ["a", 1.5, null], "ü": { "nested": true } });
    let body = json!({ "subject": "org:acme/user:u_1", "model": GEMINI, "metadata": metadata });
    let caller = app.caller();
    let request = caller.request(reqwest::Method::POST, "/v1/consume").json(&body);
    let request = request
        .header("x-request-id", "req-1")
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));

    let answer = crate::support::caller::answer(request).await;

    assert!(answer.is_allowed(), "{answer:?}");
    app.flush().await;
    let row = app
        .postgres()
        .await
        .query_one("SELECT event_id, subject, model, plan, charges, request_id, trace_id, metadata FROM message_logs", &[])
        .await
        .unwrap();
    assert_eq!(answer.body["event_id"], row.get::<_, Uuid>(0).to_string());
    let texts: [String; 5] = [1, 2, 3, 5, 6].map(|column| row.get(column));
    assert_eq!(texts, ["org:acme/user:u_1", GEMINI, "chat", "req-1", TRACE]);
    assert_eq!(row.get::<_, Value>(4), json!({ "messages": 1 }));
    assert_eq!(row.get::<_, Value>(7), metadata);
    app.finish().await;
}
