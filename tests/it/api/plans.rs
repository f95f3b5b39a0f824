//! `GET /v1/plans`, and `GET` and `PUT /v1/plans/{name}`.

use headroom::domain::Catalogue;
use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::bad_input::assert_problem;
use super::keys::fenced_key;
use super::keys::key;
use super::tokens;
use super::told;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::answer;

fn daily(max: i64) -> Value {
    json!({ "metric": "messages", "period": "day", "max": max })
}

/// Guards the round trip of a plan, and that it is in force when the put is answered.
#[tokio::test]
async fn a_plan_is_put_under_the_catalogue_s_version_and_in_force_at_once() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let before = caller.get("/v1/plans").await;
    let plan = json!({ "title": "Tiny", "price": 100, "upgrade_url": "https://app.example", "limits": [daily(1)] });

    let added = caller.put("/v1/plans/tiny", before.etag(), &plan).await;
    let read = caller.get("/v1/plans/tiny").await;
    caller.put_new("/v1/subjects/user:u_1", &json!({ "plan": "tiny" })).await;
    assert!(caller.consume("user:u_1", "gpt-5").await.is_allowed());
    let refused = caller.consume("user:u_1", "gpt-5").await;
    let changed = json!({ "limits": [daily(-1)], "listed": false });
    let changed = caller.put("/v1/plans/tiny", read.etag(), &changed).await;
    let accepted = caller.consume("user:u_1", "gpt-5").await;

    assert_eq!((before.etag(), &before.body["version"]), ("\"1\"", &json!(1)));
    assert!(before.body["plans"]["chat"]["limits"].is_array(), "{before:?}");
    assert_eq!((added.status, added.etag()), (StatusCode::OK, "\"2\""), "{added:?}");
    let expected = json!({
        "name": "tiny", "version": 2, "title": "Tiny", "price": 100, "upgrade_url": "https://app.example",
        "features": [], "limits": [daily(1)],
    });
    assert_eq!((&read.body, read.etag()), (&expected, "\"2\""));
    assert_eq!(refused.body["violated-policies"], json!(["messages-day"]));
    let unlimited = json!([{ "metric": "messages", "period": "day" }]);
    assert_eq!((changed.etag(), &changed.body["limits"]), ("\"3\"", &unlimited));
    assert!(accepted.is_allowed(), "{accepted:?}");
    app.finish().await;
}

/// Guards nodes that were not asked: they go by a plan that another node took as soon as they look.
#[tokio::test]
async fn a_plan_is_in_force_on_the_other_nodes_when_they_have_looked() {
    let app = TestApp::start_with(Options { nodes: 2, ..Options::default() }).await;
    let chat = include_str!("../../../deploy/catalogues/chat.toml");
    let chat = Catalogue::parse(chat).unwrap();

    let put = app.caller().put("/v1/plans/chat", "*", &json!({ "limits": [daily(3)] })).await;
    let went_by_the_old = app.quota_of(1).goes_by(&chat);
    app.quota_of(1).follow_catalogue().await.unwrap();
    let usage = app.caller_of(1).get("/v1/subjects/user:u_1/usage").await;

    assert_eq!(put.status, StatusCode::OK, "{put:?}");
    assert!(went_by_the_old && !app.quota_of(1).goes_by(&chat));
    assert_eq!(usage.limit("messages-day")["limit"], 3);
    app.finish().await;
}

/// Guards the compare-and-set of the catalogue, and that nothing is written blindly.
#[tokio::test]
async fn a_plan_that_is_based_on_another_version_or_on_none_is_refused() {
    let options = Options { nodes: 2, ..Options::default() };
    let app = TestApp::start_with(options).await;
    let caller = app.caller();
    let plan = json!({ "limits": [daily(5)] });

    let callers: Vec<_> = (0..6).map(|call| app.caller_of(call % 2)).collect();
    let puts = callers.iter().map(|caller| caller.put("/v1/plans/one", "\"1\"", &plan));
    let answers = futures_util::future::join_all(puts).await;
    let exists = caller.put_new("/v1/plans/one", &plan).await;
    let new = caller.put_new("/v1/plans/two", &plan).await;
    let bare = answer(caller.request(Method::PUT, "/v1/plans/one").json(&plan)).await;
    let any = caller.put("/v1/plans/one", "*", &plan).await;

    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!(count(StatusCode::OK), 1, "{answers:?}");
    assert_eq!(count(StatusCode::PRECONDITION_FAILED), 5, "{answers:?}");
    assert_problem(&exists, StatusCode::PRECONDITION_FAILED, "stale_write", &["than 2"]);
    assert_eq!((new.status, new.etag()), (StatusCode::OK, "\"3\""));
    assert_eq!(told(&bare), (428, "precondition_required"));
    assert_eq!((any.status, any.etag()), (StatusCode::OK, "\"4\""));
    app.finish().await;
}

/// Guards the rules of a plan: each is named with its place and its bound, and nothing changes.
#[tokio::test]
async fn a_plan_that_breaks_a_rule_is_refused_with_the_field_and_the_bound() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let many: Vec<Value> = (0..33)
        .map(|at| json!({ "metric": "messages", "period": "day", "each": format!("s{at}") }))
        .collect();
    let limit = |limit: Value| json!({ "limits": [limit] });
    let of_day =
        |field: &str, value: Value| json!({ "metric": "messages", "period": "day", field: value });

    for (plan, words) in [
        (limit(daily(-2)), &["limits[0].max", "-1 (unlimited) or 0 to 9007199254740991"][..]),
        (json!({ "limits": many }), &["plans.p.limits must have at most 32 entries, got 33"]),
        (limit(of_day("grace", json!("10%"))), &["plans.p.limits[0]", "grace needs mode"]),
        (limit(of_day("grace", json!("1001%"))), &["limits[0].grace", "0%", "1000%"]),
        (limit(of_day("sliding", json!(true))), &["plans.p.limits[0]", "minute", "hour"]),
        (limit(of_day("warning_percent", json!(0))), &["limits[0].warning_percent", "1 to 100"]),
        (limit(of_day("color", json!(1))), &["limits[0]", "unknown field `color`"]),
        (limit(json!({ "metric": "x", "period": "day" })), &["plans.p.limits[0]", "\"x\""]),
        (json!({ "limits": [daily(1), daily(2)] }), &["plans.p.limits has messages-day twice"]),
        (json!({ "features": ["f"] }), &["plans.p.features names the feature \"f\""]),
        (json!({ "title": "x".repeat(201) }), &["plans.p.title must be 1 to 200 bytes", "201"]),
        (json!({ "title": "a\u{0}b" }), &["plans.p.title must not hold control characters"]),
        (json!({ "price": -1 }), &["price", "u32"]),
        (json!({ "name": "p" }), &["name", "unknown field"]),
    ] {
        let answer = caller.put("/v1/plans/p", "*", &plan).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", words);
    }
    for name in ["a%20b", "a%2Fb", "%C3%A9", &"x".repeat(65)] {
        let answer = caller.put(&format!("/v1/plans/{name}"), "*", &json!({})).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", &["plans must be"]);
    }
    let unknown = caller.get("/v1/plans/p").await;
    assert_problem(&unknown, StatusCode::NOT_FOUND, "unknown_plan", &[]);
    assert_eq!(caller.get("/v1/plans").await.etag(), "\"1\"");
    app.finish().await;
}

/// Guards that what holds for all subjects is changed by whoever may change all of them, and that end users see what they may
/// choose: models, and the plans that are listed.
#[tokio::test]
async fn plans_are_read_by_keys_and_changed_by_admins_of_the_whole_tree() {
    let app = TestApp::start_with(tokens::hs256()).await;
    let plan = json!({ "limits": [daily(1)] });
    let reader = app.caller().with_key(&key(&app, &["read"]).await);
    let fenced = app.caller().with_key(&fenced_key(&app, &["admin"], "org:acme").await);
    let user = app.caller().with_key(&tokens::signed(&tokens::claims("u_1")));
    let checker = app.caller().with_key(&key(&app, &["check", "consume"]).await);

    for path in ["/v1/plans", "/v1/plans/chat", "/v1/models", "/v1/catalogue"] {
        assert_eq!(reader.get(path).await.status, StatusCode::OK, "{path}");
        assert_eq!(fenced.get(path).await.status, StatusCode::OK, "{path}");
        assert_eq!(told(&checker.get(path).await), (403, "permission_denied"), "{path}");
        let stranger = answer(reader.stranger(Method::GET, path)).await;
        assert_eq!(told(&stranger), (401, "unauthenticated"), "{path}");
    }
    for path in ["/v1/plans/chat", "/v1/models", "/v1/catalogue"] {
        for caller in [&reader, &fenced, &user] {
            let answer = caller.put(path, "*", &plan).await;
            assert_eq!(told(&answer), (403, "permission_denied"), "{path}: {answer:?}");
        }
    }
    assert_eq!(reader.get("/v1/catalogue").await.etag(), "\"1\"");
    let listed = json!({ "listed": true, "limits": [daily(1)] });
    assert_eq!(app.caller().put("/v1/plans/pro", "*", &listed).await.status, StatusCode::OK);
    let models = user.get("/v1/models").await;
    assert_eq!(models.body, reader.get("/v1/models").await.body);
    let plans = user.get("/v1/plans").await;
    assert_eq!(plans.body["plans"].as_object().unwrap().keys().collect::<Vec<_>>(), ["pro"]);
    assert_eq!(user.get("/v1/plans/pro").await.body["name"], "pro");
    assert_eq!(told(&user.get("/v1/plans/chat").await), (404, "unknown_plan"));
    assert_eq!(told(&user.get("/v1/catalogue").await), (403, "permission_denied"));
    app.finish().await;
}
