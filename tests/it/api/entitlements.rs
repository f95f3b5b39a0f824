//! What a subject may do at all: features, blocks, plans and their changes.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::bad_input::assert_problem;
use super::told;
use super::with_catalogue;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::Caller;
use crate::support::caller::answer;

const CATALOGUE: &str = r#"
    metrics = ["messages"]
    features = ["export", "vision"]
    default_plan = "free"
    [plans.free]
    upgrade_url = "https://app.example/upgrade"
    limits = [{ metric = "messages", period = "month", max = 1 }]
    [plans.pro]
    features = ["export", "vision"]
    limits = [{ metric = "messages", period = "month", max = 9 }]
    [[models]]
    names = ["vision-*"]
    charges = { messages = 1 }
    feature = "vision"
    [[models]]
    names = ["*"]
    charges = { messages = 1 }
"#;

async fn start() -> TestApp {
    TestApp::start_with(with_catalogue(CATALOGUE)).await
}

async fn configure(caller: &Caller, subject: &str, profile: Value) {
    let path = format!("/v1/subjects/{}", subject.replace('/', "%2F"));
    let answer = caller.put(&path, "*", &profile).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

/// Guards boolean limits: on, off, unknown, and by whom they are switched.
#[tokio::test]
async fn a_feature_is_checked_without_any_limit() {
    let app = start().await;
    let caller = app.caller();
    let check = async |subject: &str, feature: &str| {
        caller.post("/v1/check", &json!({ "subject": subject, "feature": feature })).await
    };
    configure(&caller, "user:pro", json!({ "plan": "pro", "features": { "vision": false } })).await;
    configure(&caller, "user:guest", json!({ "features": { "vision": true } })).await;

    let on = check("user:pro", "export").await;
    let off = check("user:pro", "vision").await;
    let own = check("user:guest", "vision").await;
    let not_in_plan = check("user:u_1", "export").await;
    let unknown = check("user:u_1", "teleport").await;
    let usage = caller.get("/v1/subjects/user:pro/usage").await;

    for answer in [on, own] {
        assert!(answer.is_allowed(), "{answer:?}");
        assert_eq!((&answer.body["limits"], &answer.body["event_id"]), (&json!([]), &Value::Null));
    }
    let words = ["does not have the feature \"export\""];
    assert_problem(&not_in_plan, StatusCode::FORBIDDEN, "feature_not_entitled", &words);
    assert_eq!(not_in_plan.body["upgrade_url"], "https://app.example/upgrade");
    assert_eq!(told(&off), (403, "feature_not_entitled"));
    assert_eq!(off.body.get("upgrade_url"), None, "the plan names none");
    assert_problem(&unknown, StatusCode::NOT_FOUND, "unknown_feature", &[]);
    assert_eq!(usage.body["features"], json!({ "export": true, "vision": false }));
    assert_eq!(app.flush().await, 0);
    app.finish().await;
}

/// Guards that a feature is looked at and never charged, and goes alone.
#[tokio::test]
async fn a_feature_cannot_be_consumed_or_asked_for_with_a_charge() {
    let app = start().await;
    let caller = app.caller();

    let alone = json!({ "subject": "user:u_1", "feature": "export" });
    let both = json!({ "subject": "user:u_1", "feature": "export", "metric": "messages" });

    let consumed = caller.post("/v1/consume", &alone).await;
    let together = caller.post("/v1/check", &both).await;

    let words = ["feature can only be checked"];
    assert_problem(&consumed, StatusCode::BAD_REQUEST, "invalid_request", &words);
    let words = ["feature excludes model and metric"];
    assert_problem(&together, StatusCode::BAD_REQUEST, "invalid_request", &words);
    assert_eq!(app.flush().await, 0);
    app.finish().await;
}

/// Guards models that need a feature.
#[tokio::test]
async fn a_model_may_need_a_feature() {
    let app = start().await;
    let caller = app.caller();

    let refused = caller.consume("user:u_1", "vision-1").await;
    configure(&caller, "user:u_1", json!({ "features": { "vision": true } })).await;
    let accepted = caller.consume("user:u_1", "vision-1").await;

    assert_eq!(told(&refused), (403, "feature_not_entitled"));
    assert!(accepted.is_allowed(), "{accepted:?}");
    app.finish().await;
}

/// Guards the block: nothing is decided for the subject and all below it, and everything can still be read.
#[tokio::test]
async fn a_blocked_subject_is_refused_everything_but_reads() {
    let app = start().await;
    let caller = app.caller();
    assert!(caller.charge("org:acme/user:u_1", "messages", 1).await.is_allowed());
    configure(&caller, "org:acme", json!({ "blocked": true })).await;

    for subject in ["org:acme/user:u_1", "org:acme"] {
        let ask = |what: &str, name: &str| json!({ "subject": subject, what: name });
        for (route, body) in [
            ("/v1/consume", ask("metric", "messages")),
            ("/v1/consume", ask("model", "any")),
            ("/v1/check", ask("metric", "messages")),
            ("/v1/check", ask("feature", "export")),
        ] {
            let answer = caller.post(route, &body).await;
            let words = ["org:acme is blocked"];
            assert_problem(&answer, StatusCode::FORBIDDEN, "subject_blocked", &words);
        }
    }
    let usage = caller.get("/v1/subjects/org:acme%2Fuser:u_1/usage").await;
    assert_eq!((usage.status, &usage.body["blocked"]), (StatusCode::OK, &json!(true)));
    assert_eq!(usage.used("messages-month"), 1);
    let profile = caller.get("/v1/subjects/org:acme").await;
    assert_eq!((profile.status, &profile.body["blocked"]), (StatusCode::OK, &json!(true)));
    configure(&caller, "org:acme", json!({})).await;
    let again = caller.charge("org:acme/user:u_1", "messages", 1).await;
    assert_eq!(again.code(), "limit_exceeded", "the block is gone, and nothing was charged by it");
    app.finish().await;
}

/// Guards that a missing plan is no access, and told as such.
#[tokio::test]
async fn without_a_plan_there_is_no_access() {
    let catalogue = CATALOGUE.replace("default_plan = \"free\"", "");
    let app = TestApp::start_with(with_catalogue(&catalogue)).await;
    let caller = app.caller();
    let body = json!({ "subject": "user:u_1", "metric": "messages" });

    let refused = [
        caller.post("/v1/consume", &body).await,
        caller.post("/v1/check", &body).await,
        caller.post("/v1/check", &json!({ "subject": "user:u_1", "feature": "export" })).await,
        caller.get("/v1/subjects/user:u_1/usage").await,
    ];
    configure(&caller, "user:u_1", json!({ "plan": "pro" })).await;
    let accepted = caller.post("/v1/consume", &body).await;

    for answer in refused {
        assert_problem(&answer, StatusCode::FORBIDDEN, "no_plan", &["no plan"]);
    }
    assert!(accepted.is_allowed(), "{accepted:?}");
    app.finish().await;
}

/// Guards promise 4 across an upgrade: a refusal is not remembered, so the same key passes under the new plan.
#[tokio::test]
async fn an_upgrade_lets_the_refused_request_pass_under_its_key() {
    let app = start().await;
    let caller = app.caller();
    let send = async || -> Answer {
        let body = json!({ "subject": "user:u_1", "metric": "messages" });
        let request = caller.request(Method::POST, "/v1/consume").json(&body);
        answer(request.header("idempotency-key", "\"k-1\"")).await
    };
    assert!(caller.charge("user:u_1", "messages", 1).await.is_allowed());

    let refused = send().await;
    configure(&caller, "user:u_1", json!({ "plan": "pro" })).await;
    let accepted = send().await;
    let replayed = send().await;

    assert_eq!(told(&refused), (429, "limit_exceeded"));
    assert!(accepted.is_allowed() && !accepted.is_replayed(), "{accepted:?}");
    assert_eq!((accepted.used("messages-month"), &accepted.body["plan"]), (2, &json!("pro")));
    assert!(replayed.is_replayed() && replayed.body == accepted.body, "{replayed:?}");
    app.finish().await;
}

/// Guards who has access: a profile that names a plan which the catalogue has dropped gives none, and another plan does.
#[tokio::test]
async fn a_plan_that_is_gone_gives_no_access_until_another_is_named() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let subject = "/v1/subjects/user:u_1";
    let read = caller.get("/v1/catalogue").await;
    let put = async |path: &str, body: &Value| {
        answer(caller.request(Method::PUT, path).header("if-match", "*").json(body)).await
    };
    let mut with = read.body.clone();
    with.as_object_mut().unwrap().remove("version");
    let without = with.clone();
    with["plans"]["gone"] = with["plans"]["chat"].clone();
    assert_eq!(put("/v1/catalogue", &with).await.status, StatusCode::OK);
    assert_eq!(put(subject, &json!({ "plan": "gone" })).await.status, StatusCode::OK);
    assert!(caller.consume("user:u_1", "gemini-2.0-flash").await.is_allowed());

    let dropped = put("/v1/catalogue", &without).await;
    let refused = caller.consume("user:u_1", "gemini-2.0-flash").await;
    let seen = caller.get(subject).await;
    let repaired = put(subject, &json!({ "plan": "chat" })).await;
    let allowed = caller.consume("user:u_1", "gemini-2.0-flash").await;

    assert_eq!(dropped.status, StatusCode::OK, "{dropped:?}");
    assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "no_plan"));
    assert_eq!(seen.body["effective"]["plan"], Value::Null, "{seen:?}");
    assert_eq!(repaired.status, StatusCode::OK);
    assert!(allowed.is_allowed(), "{allowed:?}");
    app.finish().await;
}

/// Guards the bound of limits: a profile that would give its level one too many is refused, and nothing changes.
#[tokio::test]
async fn a_profile_with_one_limit_too_many_is_refused() {
    let metrics = ["a", "b", "c", "d", "e", "f"];
    let periods = ["minute", "hour", "day", "week", "month", "lifetime"];
    let all = metrics.iter().flat_map(|metric| periods.map(|period| (metric, period)));
    let limits: Vec<String> = all
        .take(32)
        .map(|(metric, period)| format!("{{ metric = '{metric}', period = '{period}', max = 9 }}"))
        .collect();
    let catalogue = format!(
        "metrics = ['a', 'b', 'c', 'd', 'e', 'f']\ndefault_plan = 'full'\n[plans.full]\nlimits = [{}]\n",
        limits.join(", ")
    );
    let options = Options { catalogue: Some(catalogue), ..Options::default() };
    let app = TestApp::start_with(options).await;
    let caller = app.caller();
    let put = async |limits: Value| {
        let request = caller.request(Method::PUT, "/v1/subjects/user:u_1").header("if-match", "*");
        answer(request.json(&json!({ "limits": limits }))).await
    };

    let more = put(json!([{ "metric": "f", "period": "lifetime", "max": 1 }])).await;
    let same = put(json!([{ "metric": "a", "period": "minute", "max": 1 }])).await;
    let charged = caller.charge("user:u_1", "a", 1).await;

    assert_eq!((more.status, more.code()), (StatusCode::FORBIDDEN, "too_many_limits"), "{more:?}");
    assert_eq!(same.status, StatusCode::OK, "{same:?}");
    assert!(charged.is_allowed(), "{charged:?}");
    app.finish().await;
}

/// Guards promise 4: what was accepted under a key is answered under it, although the catalogue has dropped its model.
#[tokio::test]
async fn a_key_is_answered_after_its_model_is_gone() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let first = caller.consume_once("user:u_1", "gemini-2.0-flash", "k-1").await;
    let models = caller.request(Method::PUT, "/v1/models").header("if-match", "*");
    assert_eq!(answer(models.json(&json!({ "models": [] }))).await.status, StatusCode::OK);

    let again = caller.consume_once("user:u_1", "gemini-2.0-flash", "k-1").await;
    let another = caller.consume_once("user:u_1", "gemini-2.0-flash", "k-2").await;
    let hold = caller.request(Method::POST, "/v1/reservations").header("idempotency-key", "k-3");
    let order = json!({ "subject": "user:u_1", "model": "gemini-2.0-flash" });
    let hold = answer(hold.json(&order)).await;

    assert!(again.is_replayed() && again.body == first.body, "{again:?}");
    for refused in [another, hold] {
        assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "model_not_allowed"));
    }
    app.finish().await;
}
