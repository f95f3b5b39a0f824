//! `POST /v1/reset`: a subject and all that lies below it.

use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::bad_input::assert_problem;
use super::keys::fenced_key;
use super::keys::key;
use super::told;
use super::with_catalogue;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::Caller;

const CATALOGUE: &str = r#"
    metrics = ["messages", "storage"]
    default_plan = "p"
    scope_plans = { org = "p" }
    [plans.p]
    limits = [
        { metric = "messages", period = "month", max = 100 },
        { metric = "storage", period = "lifetime", max = 100 },
    ]
"#;
const MEMBERS: [&str; 3] = ["org:acme/user:u_1", "org:acme/user:u_2", "org:acme/user:u_3"];
const OTHERS: [&str; 2] = ["org:acme2/user:u_1", "user:u_1"];

/// Three members of `org:acme` and two others, each with 2 messages and 5 units of storage. Nothing is in Postgres yet, where
/// it comes in many batches.
async fn start() -> TestApp {
    let options = with_catalogue(CATALOGUE).with("HEADROOM_FLUSHER_BATCH_EVENTS_MAX", 1);
    let app = TestApp::start_with(options).await;
    for subject in MEMBERS.into_iter().chain(OTHERS) {
        assert!(app.caller().charge(subject, "messages", 2).await.is_allowed());
        assert!(app.caller().charge(subject, "storage", 5).await.is_allowed());
    }
    app
}

/// Units of the subject's own messages and storage.
async fn used(caller: &Caller, subject: &str) -> [u64; 2] {
    let path = format!("/v1/subjects/{}/usage", subject.replace('/', "%2F"));
    let usage = caller.get(&path).await;
    let limits = usage.body["limits"].as_array().unwrap();
    let own = limits.iter().filter(|limit| limit["subject"] == subject);
    let used: Vec<u64> = own.map(|limit| limit["used"].as_u64().unwrap()).collect();
    used.try_into().unwrap()
}

fn subjects(body: &Value) -> Vec<&str> {
    let subjects = body["subjects"].as_array().unwrap().iter();
    subjects.map(|it| it["subject"].as_str().unwrap()).collect()
}

/// Guards the reach of a reset: the prefix itself and what is below it, whole segments, no lifetime unless named.
#[tokio::test]
async fn a_part_of_the_tree_is_cleared_and_the_rest_is_left() {
    let app = start().await;
    let caller = app.caller();
    let ask = |dry_run: bool| json!({ "prefix": "org:acme", "dry_run": dry_run });

    let looked = caller.post("/v1/reset", &ask(true)).await;
    let before = used(&caller, MEMBERS[0]).await;
    let cleared = caller.post("/v1/reset", &ask(false)).await;
    let again = caller.post("/v1/reset", &ask(false)).await;

    let expected = ["org:acme", MEMBERS[0], MEMBERS[1], MEMBERS[2]];
    for (answer, is_dry) in [(&looked, true), (&cleared, false)] {
        assert_eq!((answer.status, &answer.body["dry_run"]), (StatusCode::OK, &json!(is_dry)));
        assert_eq!(subjects(&answer.body), expected);
        assert_eq!(answer.body["next_cursor"], Value::Null);
        assert_eq!(answer.body["subjects"][0]["event_id"].is_null(), is_dry);
        let counters = answer.body["subjects"].as_array().unwrap().iter().map(|it| &it["cleared"]);
        let pairs: Vec<_> =
            counters.map(|it| (it.as_array().unwrap().len(), &it[0]["units"])).collect();
        assert_eq!(pairs, [(1, &json!(6)), (1, &json!(2)), (1, &json!(2)), (1, &json!(2))]);
    }
    assert_eq!(before, [2, 5], "a dry run clears nothing");
    assert_eq!(subjects(&again.body), [""; 0]);
    for subject in MEMBERS {
        assert_eq!(used(&caller, subject).await, [0, 5]);
    }
    for subject in OTHERS {
        assert_eq!(used(&caller, subject).await, [2, 5]);
    }
    app.finish().await;
}

/// Guards what a dry run tells: the windows of a subject are those of its own calendar, as they are when it is cleared.
#[tokio::test]
async fn a_dry_run_goes_by_the_calendar_of_the_subject() {
    let app = TestApp::start_with(with_catalogue(CATALOGUE)).await;
    let caller = app.caller();
    let profile = json!({ "time_zone": "Europe/Berlin" });
    assert_eq!(caller.put_new("/v1/subjects/user:u_1", &profile).await.status, StatusCode::OK);
    assert!(caller.charge("user:u_1", "messages", 2).await.is_allowed());
    assert!(caller.charge("user:u_1", "storage", 5).await.is_allowed());
    let ask = |dry_run: bool, period: Value| json!({ "prefix": "user:u_1", "dry_run": dry_run, "period": period });

    let looked = caller.post("/v1/reset", &ask(true, json!("month"))).await;
    let of_ever = caller.post("/v1/reset", &ask(true, json!("lifetime"))).await;
    let cleared = caller.post("/v1/reset", &ask(false, Value::Null)).await;
    app.flush().await;
    let left = caller.post("/v1/reset", &ask(true, json!("month"))).await;

    let units = |answer: &Answer| {
        let cleared = answer.body["subjects"][0]["cleared"].as_array().unwrap().iter();
        cleared.map(|it| it["units"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!([&looked, &of_ever, &cleared].map(units), [[2], [5], [2]], "{looked:?}");
    let left = left.body["subjects"].as_array().unwrap();
    assert!(left.iter().all(|it| it["cleared"] == json!([])), "{left:?}");
    app.finish().await;
}

/// Guards the pages: every subject once, and a scope that names what it clears.
#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    let app = start().await;
    let caller = app.caller();
    let mut body = json!({ "prefix": "org:acme", "metric": "storage", "period": "lifetime", "dry_run": false, "limit": 3 });

    let first = caller.post("/v1/reset", &body).await;
    body["cursor"] = first.body["next_cursor"].clone();
    let second = caller.post("/v1/reset", &body).await;

    assert_eq!(subjects(&first.body), ["org:acme", MEMBERS[0], MEMBERS[1]]);
    assert_eq!(first.body["next_cursor"], MEMBERS[1]);
    assert_eq!(subjects(&second.body), [MEMBERS[2]]);
    assert_eq!(second.body["next_cursor"], Value::Null);
    for subject in MEMBERS {
        assert_eq!(used(&caller, subject).await, [2, 0]);
    }
    app.finish().await;
}

/// Guards the form: nobody clears a tree by a slip.
#[tokio::test]
async fn a_reset_that_is_not_clear_is_refused() {
    let app = start().await;
    let caller = app.caller();

    for (body, words) in [
        (json!({ "prefix": "org:acme" }), "missing field `dry_run`"),
        (json!({ "dry_run": false }), "missing field `prefix`"),
        (json!({ "prefix": "org", "dry_run": false }), "prefix each segment must be"),
        (json!({ "prefix": "", "dry_run": false }), "prefix must not be empty"),
        (json!({ "prefix": "org:*", "dry_run": false }), "prefix an id must be"),
        (json!({ "prefix": "org:acme", "dry_run": false, "limit": 0 }), "limit must be 1 to 200"),
        (json!({ "prefix": "org:acme", "dry_run": false, "limit": 201 }), "limit must be 1 to 200"),
        (json!({ "prefix": "org:acme", "dry_run": false, "cursor": "user:u_1" }), "cursor must be"),
        (
            json!({ "prefix": "org:acme", "dry_run": false, "period": "year" }),
            "period is not valid",
        ),
        (json!({ "prefix": "org:acme", "dry_run": false, "metirc": "messages" }), "metirc is not"),
    ] {
        let answer = caller.post("/v1/reset", &body).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", &[words]);
    }
    let unknown = json!({ "prefix": "org:acme", "metric": "tokens", "dry_run": true });
    assert_eq!(told(&caller.post("/v1/reset", &unknown).await), (404, "unknown_metric"));
    assert_eq!(used(&caller, MEMBERS[0]).await, [2, 5]);
    app.finish().await;
}

/// Guards who may reset, and where.
#[tokio::test]
async fn a_part_of_the_tree_is_reset_by_admins_within_their_fence() {
    let app = start().await;
    let ask = |prefix: &str| json!({ "prefix": prefix, "dry_run": false });
    let fenced = app.caller().with_key(&fenced_key(&app, &["admin"], MEMBERS[0]).await);
    let reader = app.caller().with_key(&key(&app, &["read"]).await);

    let own = fenced.post("/v1/reset", &ask(MEMBERS[0])).await;
    let above = fenced.post("/v1/reset", &ask("org:acme")).await;
    let denied = reader.post("/v1/reset", &ask(MEMBERS[0])).await;

    assert_eq!(subjects(&own.body), [MEMBERS[0]], "{own:?}");
    assert_eq!(told(&above), (404, "unknown_subject"));
    assert_eq!(told(&denied), (403, "permission_denied"));
    assert_eq!(used(&app.caller(), MEMBERS[1]).await, [2, 5]);
    app.finish().await;
}
