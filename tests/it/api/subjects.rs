//! `GET`, `PUT` and `DELETE /v1/subjects/{subject}`.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::bad_input::assert_problem;
use super::keys::fenced_key;
use super::keys::key;
use super::tokens;
use super::told;
use super::with_catalogue;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::answer;

const PATH: &str = "/v1/subjects/user:u_1";
const CATALOGUE: &str = r#"
    metrics = ["messages"]
    features = ["export"]
    default_plan = "free"
    scope_plans = { org = "team" }
    [plans.free]
    upgrade_url = "https://app.example/upgrade"
    limits = [{ metric = "messages", period = "month", max = 2 }]
    [plans.pro]
    features = ["export"]
    limits = [{ metric = "messages", period = "month", max = 9 }]
    [plans.team]
"#;

fn full() -> Value {
    json!({
        "plan": "pro",
        "limits": [{ "metric": "messages", "period": "day", "max": 3, "mode": "soft", "grace": "10%" }],
        "features": { "export": false },
        "time_zone": "Europe/Berlin",
        "anchor_day": 31,
        "blocked": false,
    })
}

/// Guards the round trip of a profile: what is read can be changed and written under its `ETag`, and taken back.
#[tokio::test]
async fn what_is_put_is_read_changed_and_taken_back_under_its_etag() {
    let app = TestApp::start_with(with_catalogue(CATALOGUE)).await;
    let caller = app.caller();

    let before = caller.get(PATH).await;
    let put = caller.put(PATH, before.etag(), &full()).await;
    let read = caller.get(PATH).await;
    let changed = caller.put(PATH, read.etag(), &json!({ "plan": "pro" })).await;
    let deleted = caller.delete_if(PATH, changed.etag()).await;
    let after = caller.get(PATH).await;

    assert_eq!((before.status, before.etag()), (StatusCode::OK, "\"0\""), "{before:?}");
    let features = json!({ "export": false });
    let upgrade_url = "https://app.example/upgrade";
    let defaults = json!({
        "subject": "user:u_1", "version": 0, "created_at": null, "plan": null, "limits": [], "features": {},
        "time_zone": "UTC", "anchor_day": 1, "blocked": false,
        "effective": { "plan": "free", "upgrade_url": upgrade_url, "features": features },
    });
    assert_eq!(before.body, defaults);
    assert_eq!(put.status, StatusCode::OK, "{put:?}");
    assert_eq!((read.etag(), &read.body), (put.etag(), &put.body));
    for (field, value) in full().as_object().unwrap() {
        assert_eq!(read.body[field], *value, "{field}");
    }
    assert_eq!(read.body["effective"], json!({ "plan": "pro", "features": features }));
    assert_eq!(read.header("cache-control"), "no-store");
    assert_eq!(changed.body["limits"], json!([]), "a put replaces all that was configured");
    assert_eq!(changed.body["created_at"], read.body["created_at"]);
    assert_eq!((deleted.status, &*deleted.text), (StatusCode::NO_CONTENT, ""));
    assert_eq!(after.body, defaults);
    app.finish().await;
}

/// Guards that no admin writes over another's change, or without having looked.
#[tokio::test]
async fn a_write_that_is_based_on_another_version_or_on_none_is_refused() {
    let app = TestApp::start_with(with_catalogue(CATALOGUE)).await;
    let caller = app.caller();
    let body = json!({ "plan": "pro" });
    let first = caller.put_new(PATH, &body).await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");

    let stale = [
        caller.put_new(PATH, &body).await,
        caller.put(PATH, "\"0\"", &body).await,
        caller.put(PATH, "\"999\"", &body).await,
        caller.delete_if(PATH, "\"0\"").await,
    ];
    let bare =
        [answer(caller.request(Method::PUT, PATH).json(&body)).await, caller.delete(PATH).await];
    let unclear = caller.put(PATH, "W/\"1\"", &body).await;
    let any = caller.put(PATH, "*", &json!({})).await;

    for answer in stale {
        assert_problem(&answer, StatusCode::PRECONDITION_FAILED, "stale_write", &[]);
        let version = first.body["version"].to_string();
        assert!(answer.detail().contains(&version), "{answer:?}");
    }
    for answer in bare {
        let (status, code) = (StatusCode::PRECONDITION_REQUIRED, "precondition_required");
        assert_problem(&answer, status, code, &["If-Match"]);
    }
    assert_problem(&unclear, StatusCode::BAD_REQUEST, "invalid_request", &["If-Match"]);
    assert_eq!(any.status, StatusCode::OK);
    app.finish().await;
}

/// Guards the compare-and-set: of admins who saw one version, one writes.
#[tokio::test]
async fn of_many_writers_with_one_etag_one_wins() {
    let options = Options { nodes: 2, ..with_catalogue(CATALOGUE) };
    let app = TestApp::start_with(options).await;
    let etag = app.caller().put_new(PATH, &json!({})).await.etag().to_owned();
    let body = json!({ "plan": "pro" });

    let callers: Vec<_> = (0..8).map(|call| app.caller_of(call % 2)).collect();
    let puts = callers.iter().map(|caller| caller.put(PATH, &etag, &body));
    let answers = futures_util::future::join_all(puts).await;

    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!(count(StatusCode::OK), 1, "{answers:?}");
    assert_eq!(count(StatusCode::PRECONDITION_FAILED), 7);
    app.finish().await;
}

/// Guards the form of a profile: what is wrong is named with its bound, and changes nothing.
#[tokio::test]
async fn a_profile_that_is_none_is_refused_with_the_field() {
    let app = TestApp::start_with(with_catalogue(CATALOGUE)).await;
    let caller = app.caller();
    let limit = |field: &str, value: Value| {
        let mut limit = json!({ "metric": "messages", "period": "day" });
        limit[field] = value;
        json!({ "limits": [limit] })
    };
    let many: Vec<Value> = (0..33)
        .map(|at| json!({ "metric": "messages", "period": "day", "each": format!("s{at}") }))
        .collect();

    for (body, words) in [
        (json!({ "color": 1 }), &["color", "unknown field"][..]),
        (json!({ "subject": "user:u_1" }), &["subject", "unknown field"]),
        (json!({ "plan": 7 }), &["plan", "string"]),
        (json!({ "plan": "gold" }), &["plan names the plan \"gold\""]),
        (json!({ "features": { "chat": true } }), &["features names the feature \"chat\""]),
        (json!({ "features": { "export": 1 } }), &["features.export", "boolean"]),
        (json!({ "time_zone": "Mars/Olympus" }), &["time_zone must be an IANA time zone"]),
        (json!({ "anchor_day": 32 }), &["anchor_day", "1 to 31"]),
        (limit("max", json!(-2)), &["limits[0].max", "-1 (unlimited) or 0 to 9007199254740991"]),
        (limit("period", json!("year")), &["limits[0].period", "minute"]),
        (limit("metric", json!("tokens")), &["limits[0] names the metric \"tokens\""]),
        (limit("sliding", json!(true)), &["limits[0]", "sliding needs period"]),
        (limit("warning_percent", json!(101)), &["limits[0].warning_percent", "1 to 100"]),
        (json!({ "limits": many }), &["limits must have at most 32 entries, got 33"]),
        (json!([]), &["the body"]),
    ] {
        let answer = caller.put(PATH, "*", &body).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", words);
    }
    let typed = caller.request(Method::PUT, PATH).header("if-match", "*").body("{}");
    assert_eq!(told(&answer(typed).await), (415, "unsupported_media_type"));
    let long = caller.put(PATH, "*", &json!({ "plan": "p".repeat(20_000) })).await;
    assert_eq!(told(&long), (413, "body_too_large"));
    assert_eq!(caller.get(PATH).await.etag(), "\"0\"");
    app.finish().await;
}

/// Guards who is known: whoever has access by a default plan, and whoever is configured.
#[tokio::test]
async fn a_subject_without_access_is_unknown_until_it_is_configured() {
    let catalogue = CATALOGUE.replace("default_plan = \"free\"", "");
    let app = TestApp::start_with(with_catalogue(&catalogue)).await;
    let caller = app.caller();
    let member = "/v1/subjects/org:acme%2Fuser:u_1";

    let unknown = [caller.get(PATH).await, caller.delete_if(PATH, "*").await];
    let of_a_team = caller.get(member).await;
    let configured = caller.put(PATH, "\"0\"", &json!({ "blocked": true })).await;
    let known = caller.get(PATH).await;

    for answer in unknown {
        assert_problem(&answer, StatusCode::NOT_FOUND, "unknown_subject", &[]);
    }
    assert_eq!(of_a_team.body["subject"], "org:acme/user:u_1");
    assert_eq!((&of_a_team.body["effective"]["plan"], of_a_team.etag()), (&json!("team"), "\"0\""));
    assert_eq!([configured.status, known.status], [StatusCode::OK; 2]);
    assert_eq!(known.body["effective"]["plan"], Value::Null);
    app.finish().await;
}

/// Guards what is shown as in force: it follows the profiles above, and nothing that was deleted.
#[tokio::test]
async fn what_is_in_force_follows_the_levels_above_and_forgets_what_was_deleted() {
    let catalogue = CATALOGUE.replace("default_plan = \"free\"", "");
    let app = TestApp::start_with(with_catalogue(&catalogue)).await;
    let (caller, pro) = (app.caller(), json!({ "plan": "pro" }));
    let (team, member) = ("/v1/subjects/org:acme", "/v1/subjects/org:acme%2Fuser:u_1");
    let plan = async |path| caller.get(path).await.body["effective"]["plan"].clone();

    let before = plan(member).await;
    assert_eq!(caller.put(team, "*", &pro).await.status, StatusCode::OK);
    let below = plan(member).await;
    let deleted = caller.delete_if(team, "*").await;

    assert_eq!((before, below), (json!("team"), json!("pro")));
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!((plan(team).await, plan(member).await), (json!("team"), json!("team")));
    app.finish().await;
}

/// Guards who may look and who may change: permissions, the fence of a key, and end users' tokens.
#[tokio::test]
async fn profiles_are_read_and_changed_by_those_who_may() {
    let options = Options { catalogue: Some(CATALOGUE.to_owned()), ..tokens::hs256() };
    let app = TestApp::start_with(options).await;
    let member = "/v1/subjects/org:acme%2Fuser:u_1";
    let reader = app.caller().with_key(&key(&app, &["read"]).await);
    let fenced = app.caller().with_key(&fenced_key(&app, &["admin"], "org:acme").await);
    let user = app.caller().with_key(&tokens::signed(&tokens::claims("u_1")));
    let stranger = app.caller().with_key("nobody's key");

    assert_eq!(reader.get(PATH).await.status, StatusCode::OK);
    assert_eq!(told(&reader.put(PATH, "*", &json!({})).await), (403, "permission_denied"));
    assert_eq!(told(&reader.delete_if(PATH, "*").await), (403, "permission_denied"));
    assert_eq!(fenced.put(member, "*", &full()).await.status, StatusCode::OK);
    assert_eq!(fenced.delete_if(member, "*").await.status, StatusCode::NO_CONTENT);
    assert_eq!(told(&fenced.get(PATH).await), (404, "unknown_subject"));
    assert_eq!(told(&fenced.put(PATH, "*", &full()).await), (404, "unknown_subject"));
    assert_eq!(told(&fenced.delete_if(PATH, "*").await), (404, "unknown_subject"));
    assert_eq!(user.get(PATH).await.status, StatusCode::OK);
    assert_eq!(told(&user.get("/v1/subjects/user:u_2").await), (404, "unknown_subject"));
    assert_eq!(told(&user.get(member).await), (404, "unknown_subject"));
    assert_eq!(told(&user.put(PATH, "*", &full()).await), (403, "permission_denied"));
    for answer in [stranger.get(PATH).await, stranger.put(PATH, "*", &full()).await] {
        assert_eq!(told(&answer), (401, "unauthenticated"));
    }
    app.finish().await;
}
