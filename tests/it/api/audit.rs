//! `GET /v1/audit`: what admins did.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::bad_input::assert_problem;
use super::keys::fenced_key;
use super::keys::key;
use super::told;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::answer;

const SUBJECT: &str = "/v1/subjects/user:u_1";

fn acts(answer: &Answer) -> Vec<(&str, &str)> {
    let acts = answer.body["acts"].as_array().unwrap().iter();
    acts.map(|act| (act["action"].as_str().unwrap(), act["target"].as_str().unwrap())).collect()
}

/// Guards that every act is found afterwards: who, what, to what, why, before and after, under which request.
#[tokio::test]
async fn every_act_of_an_admin_is_in_the_log_newest_first() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let plan = json!({ "limits": [{ "metric": "messages", "period": "day", "max": 1 }] });
    let put = caller.request(Method::PUT, SUBJECT).header("if-none-match", "*");
    let put = put.header("x-reason", "ticket 4711: größer").header("x-request-id", "req-1");
    assert_eq!(answer(put.json(&json!({ "plan": "chat" }))).await.status, StatusCode::OK);
    let catalogue = {
        let mut body = caller.get("/v1/catalogue").await.body;
        body.as_object_mut().unwrap().remove("version");
        body
    };

    caller.put("/v1/plans/tiny", "*", &plan).await;
    caller.put("/v1/models", "*", &json!({ "models": [] })).await;
    caller.put("/v1/catalogue", "*", &catalogue).await;
    caller.delete_if(SUBJECT, "*").await;
    let log = caller.get("/v1/audit").await;

    assert_eq!(
        acts(&log),
        [
            ("subject.delete", "user:u_1"),
            ("catalogue.replace", "catalogue"),
            ("model.put", "models"),
            ("plan.put", "tiny"),
            ("subject.put", "user:u_1"),
        ]
    );
    let mut first = log.body["acts"][4].clone();
    let fields = first.as_object_mut().unwrap();
    assert!(fields.remove("id").unwrap().is_u64());
    assert!(fields.remove("occurred_at").unwrap().as_str().unwrap().ends_with('Z'));
    assert_eq!(
        first,
        json!({
            "actor": "bootstrap", "action": "subject.put", "target": "user:u_1", "reason": "ticket 4711: größer",
            "before": null, "after": { "plan": "chat" }, "request_id": "req-1",
        })
    );
    assert_eq!(log.body["acts"][0]["before"], json!({ "plan": "chat" }));
    assert_eq!(log.body["acts"][0]["after"], Value::Null);
    assert_eq!(log.body["acts"][3]["after"], json!({ "version": 2 }));
    app.finish().await;
}

/// Guards that acts on counters are in the log as soon as their events are in Postgres.
#[tokio::test]
async fn acts_on_counters_are_in_the_log_after_a_flush() {
    let app = TestApp::start().await;
    let caller = app.caller();
    caller.charge("user:u_1", "messages", 5).await;

    caller.overwrite(&format!("{SUBJECT}/usage/messages"), &json!({ "value": 9 })).await;
    caller.post(&format!("{SUBJECT}/usage/messages:decrement"), &json!({ "amount": 1 })).await;
    caller.delete(&format!("{SUBJECT}/usage")).await;
    caller.charge("user:u_1", "messages", 1).await;
    caller.post("/v1/reset", &json!({ "prefix": "user:u_1", "dry_run": false })).await;
    app.flush().await;
    let log = caller.get("/v1/audit?target=user:u_1").await;

    let expected = ["usage.reset", "usage.reset", "usage.decrement", "usage.set"];
    assert_eq!(acts(&log), expected.map(|action| (action, "user:u_1")), "{log:?}");
    app.finish().await;
}

/// Guards the pages and the filters: every act once, in order, also through the link.
#[tokio::test]
async fn pages_follow_each_other_by_cursor_and_link() {
    let app = TestApp::start().await;
    let caller = app.caller();
    for user in ["user:a", "user:b", "user:a", "user:b", "user:a"] {
        let path = format!("/v1/subjects/{user}");
        assert_eq!(caller.put(&path, "*", &json!({ "plan": "chat" })).await.status, StatusCode::OK);
    }

    let mut targets = Vec::new();
    let mut next = Some("/v1/audit?limit=2&actor=bootstrap".to_owned());
    while let Some(path) = next {
        let page = caller.get(&path).await;
        targets.extend(acts(&page).iter().map(|(_, target)| (*target).to_owned()));
        let link = page.header("link").strip_suffix(">; rel=\"next\"");
        next = link.and_then(|link| link.strip_prefix('<')).map(str::to_owned);
        assert_eq!(next.is_some(), page.body["next_cursor"].is_string(), "{page:?}");
    }
    let of_b = caller.get("/v1/audit?target=user:b&limit=2").await;
    let nobody = caller.get("/v1/audit?actor=nobody").await;

    assert_eq!(targets, ["user:a", "user:b", "user:a", "user:b", "user:a"]);
    assert_eq!(acts(&of_b), [("subject.put", "user:b"); 2]);
    assert_eq!((&of_b.body["next_cursor"], of_b.header("link")), (&Value::Null, ""));
    assert_eq!(acts(&nobody), []);
    app.finish().await;
}

/// Guards the query and the log's readers: admins, and of a fenced key only its own part.
#[tokio::test]
async fn the_log_is_for_admins_and_a_query_is_understood_or_refused() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let fenced = caller.with_key(&fenced_key(&app, &["admin"], "org:acme").await);
    let reader = caller.with_key(&key(&app, &["read", "check", "consume"]).await);
    fenced.put("/v1/subjects/org:acme%2Fuser:u_1", "*", &json!({ "plan": "chat" })).await;

    for (query, words) in [
        ("limit=0", "limit must be 1 to 200"),
        ("limit=201", "limit must be 1 to 200"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor must be"),
        ("cursor=99999999999999999999", "cursor must be"),
        ("target=", "target must be 1 to 1000 bytes"),
        ("actor=a%00b", "actor must be 1 to 200 bytes"),
        ("actr=a", "actr"),
    ] {
        let answer = caller.get(&format!("/v1/audit?{query}")).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", &[words]);
    }
    let own = fenced.get("/v1/audit?target=org:acme/user:u_1").await;
    assert_eq!(acts(&own), [("subject.put", "org:acme/user:u_1")], "{own:?}");
    let outside = fenced.get("/v1/audit?target=user:u_1").await;
    assert_eq!(told(&outside), (404, "unknown_subject"));
    for path in ["/v1/audit", "/v1/audit?target=catalogue"] {
        assert_eq!(told(&fenced.get(path).await), (403, "permission_denied"), "{path}");
    }
    assert_eq!(told(&reader.get("/v1/audit").await), (403, "permission_denied"));
    let stranger = answer(caller.stranger(Method::GET, "/v1/audit")).await;
    assert_eq!(told(&stranger), (401, "unauthenticated"));
    app.finish().await;
}
