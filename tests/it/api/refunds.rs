//! `POST /v1/events/{event_id}:refund`: support gives back what a failed answer took.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::bad_input::assert_problem;
use super::keys::fenced_key;
use super::keys::key;
use super::move_to;
use super::told;
use super::with_catalogue;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::Caller;
use crate::support::caller::answer;

const CATALOGUE: &str = r#"
    metrics = ["messages", "tokens"]
    default_plan = "p"
    [plans.p]
    limits = [
        { metric = "messages", period = "month", max = 100 },
        { metric = "messages", period = "day", max = 50, refund_max = 10 },
        { metric = "tokens", period = "day", max = 10, refundable = false },
    ]
    [plans.team]
    limits = [{ metric = "messages", period = "lifetime", max = 1000 }]
"#;

async fn start() -> TestApp {
    let app = TestApp::start_with(with_catalogue(CATALOGUE)).await;
    move_to(&app, "2027-02-10T12:00:00Z");
    app
}

/// The id of an event that is in Postgres.
async fn charged(app: &TestApp, subject: &str, metric: &str, amount: u64) -> Uuid {
    let charged = app.caller().charge(subject, metric, amount).await;
    assert!(charged.is_allowed(), "{charged:?}");
    app.flush().await;
    charged.event_id()
}

async fn refund(caller: &Caller, event: Uuid) -> Answer {
    caller.post(&format!("/v1/events/{event}:refund"), &json!({})).await
}

async fn used(caller: &Caller, name: &str) -> u64 {
    caller.get("/v1/subjects/user:u_1/usage").await.used(name)
}

/// Guards the whole answer: every limit of every level gets back what it gave, in its window.
#[tokio::test]
async fn every_limit_of_every_level_gets_back_what_it_gave() {
    let app = start().await;
    let caller = app.caller();
    caller.put("/v1/subjects/org:acme", "*", &json!({ "plan": "team" })).await;
    let event = charged(&app, "org:acme/user:u_1", "messages", 5).await;

    let path = format!("/v1/events/{event}:refund");
    let refunded = caller.post(&path, &json!({ "metadata": { "ticket": 4711 } })).await;

    assert_eq!(refunded.status, StatusCode::OK, "{refunded:?}");
    assert_eq!(refunded.event_id().get_version_num(), 7);
    assert_eq!(refunded.body["refunds"], event.to_string());
    assert_eq!(refunded.body["request_id"], refunded.header("x-request-id"));
    let user = "org:acme/user:u_1";
    assert_eq!(
        refunded.body["refunded"],
        json!([
            {
                "subject": "org:acme", "metric": "messages", "period": "lifetime", "units": 5,
                "window_start": "1970-01-01T00:00:00Z",
            },
            {
                "subject": user, "metric": "messages", "period": "month", "units": 5,
                "window_start": "2027-02-01T00:00:00Z", "window_end": "2027-03-01T00:00:00Z",
            },
            {
                "subject": user, "metric": "messages", "period": "day", "units": 5,
                "window_start": "2027-02-10T00:00:00Z", "window_end": "2027-02-11T00:00:00Z",
            },
        ])
    );
    let usage = caller.get("/v1/subjects/org:acme%2Fuser:u_1/usage").await;
    let limits = usage.body["limits"].as_array().unwrap();
    assert!(limits.iter().all(|limit| limit["used"] == 0), "{usage:?}");
    app.flush().await;
    let row = "SELECT metadata->>'ticket' FROM message_logs WHERE kind = 'refund'";
    let ticket: String = app.postgres().await.query_one(row, &[]).await.unwrap().get(0);
    assert_eq!(ticket, "4711");
    app.finish().await;
}

/// Guards grants: units that were taken of one go back to it, and are named by it.
#[tokio::test]
async fn a_grant_gets_back_what_it_gave() {
    let app = start().await;
    let caller = app.caller();
    let body = json!({ "metric": "messages", "amount": 20 });
    let grant = caller.post("/v1/subjects/user:u_1/grants", &body).await;
    let event = charged(&app, "user:u_1", "messages", 60).await;

    let refunded = refund(&caller, event).await;

    let of_grant = refunded.body["refunded"].as_array().unwrap();
    let of_grant = of_grant.iter().find(|it| it["grant"].is_u64()).unwrap();
    assert_eq!(
        *of_grant,
        json!({ "subject": "user:u_1", "metric": "messages", "grant": grant.body["id"], "units": 10 })
    );
    let usage = caller.get("/v1/subjects/user:u_1/usage").await;
    assert_eq!(usage.limit("messages-month")["granted_remaining"], 20);
    app.finish().await;
}

/// Guards "once": sent again, also without a body, it answers the same; under another key it says that it is done.
#[tokio::test]
async fn an_event_is_refunded_once_however_often_it_is_asked_for() {
    let app = start().await;
    let caller = app.caller();
    let event = charged(&app, "user:u_1", "messages", 5).await;
    let path = format!("/v1/events/{event}:refund");

    let (first, second) = tokio::join!(refund(&caller, event), refund(&caller, event));
    let bare = answer(caller.request(Method::POST, &path)).await;
    let keyed = caller.request(Method::POST, &path).header("idempotency-key", "another");
    let keyed = answer(keyed).await;
    app.flush().await;
    let of_refund = refund(&caller, first.event_id()).await;

    assert!(first.is_replayed() != second.is_replayed(), "{first:?} {second:?}");
    assert!(bare.is_replayed(), "{bare:?}");
    for again in [&second, &bare] {
        for name in ["event_id", "refunds", "refunded"] {
            assert_eq!(again.body[name], first.body[name]);
        }
    }
    let words = ["refunded before"];
    assert_problem(&keyed, StatusCode::CONFLICT, "already_refunded", &words);
    let words = ["cannot be refunded"];
    assert_problem(&of_refund, StatusCode::CONFLICT, "not_refundable", &words);
    assert_eq!(used(&caller, "messages-month").await, 0);
    app.finish().await;
}

/// Guards a retry long after: when Redis has forgotten the first refund, Postgres has not.
#[tokio::test]
async fn a_refund_that_only_postgres_remembers_is_not_made_again() {
    let app = start().await;
    let caller = app.caller();
    let event = charged(&app, "user:u_1", "messages", 5).await;
    assert_eq!(refund(&caller, event).await.status, StatusCode::OK);
    charged(&app, "user:u_1", "messages", 5).await;

    let mut redis = app.redis().await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    let again = refund(&caller, event).await;

    assert_eq!(told(&again), (409, "already_refunded"), "{again:?}");
    assert_eq!(used(&caller, "messages-month").await, 5);
    app.finish().await;
}

/// Guards the window and the limit's own rules: a part that cannot be given back stays, and nothing at all is an error.
#[tokio::test]
async fn only_windows_that_go_on_and_limits_that_allow_it_get_units_back() {
    let app = start().await;
    let caller = app.caller();
    let never = charged(&app, "user:u_1", "tokens", 5).await;
    let first = charged(&app, "user:u_1", "messages", 8).await;
    let above_cap = charged(&app, "user:u_1", "messages", 8).await;
    let yesterday = charged(&app, "user:u_1", "messages", 2).await;
    let periods = |answer: &Answer| {
        let given = answer.body["refunded"].as_array().unwrap().iter();
        given.map(|it| it["period"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    let refused = refund(&caller, never).await;
    let whole = refund(&caller, first).await;
    let part = refund(&caller, above_cap).await;
    move_to(&app, "2027-02-11T12:00:00Z");
    let next_day = refund(&caller, yesterday).await;
    move_to(&app, "2027-03-01T12:00:00Z");
    let last_month = charged(&app, "user:u_1", "messages", 1).await;
    move_to(&app, "2027-04-01T12:00:00Z");
    let too_late = refund(&caller, last_month).await;

    let words = ["nothing of the event can be given back"];
    assert_problem(&refused, StatusCode::CONFLICT, "nothing_to_refund", &words);
    assert_eq!(periods(&whole), ["month", "day"]);
    assert_eq!(periods(&part), ["month"], "{part:?}");
    assert_eq!(periods(&next_day), ["month"], "{next_day:?}");
    assert_eq!(told(&too_late), (409, "nothing_to_refund"));
    app.finish().await;
}

/// Guards what may be refunded: consumes and commits, and nothing that is unknown or out of reach.
#[tokio::test]
async fn what_is_no_consume_or_commit_of_the_caller_s_reach_is_not_refunded() {
    let app = start().await;
    let caller = app.caller();
    let fenced = caller.with_key(&fenced_key(&app, &["consume"], "org:acme").await);
    let reader = caller.with_key(&key(&app, &["read", "check"]).await);
    let body = json!({ "subject": "user:u_1", "metric": "messages", "amount": 9 });
    let held = caller.post("/v1/reservations", &body).await;
    let id = held.body["reservation_id"].as_str().unwrap();
    let commit = format!("/v1/reservations/{id}:commit");
    let committed = caller.post(&commit, &json!({ "amount": 4 })).await;
    let reset = caller.delete("/v1/subjects/user:u_2/usage").await;
    let outside = charged(&app, "user:u_1", "messages", 1).await;

    assert_eq!(told(&refund(&fenced, outside).await), (404, "unknown_event"));
    assert_eq!(told(&refund(&fenced, held.event_id()).await), (404, "unknown_event"));
    assert_eq!(told(&refund(&reader, outside).await), (403, "permission_denied"));
    for not_refundable in [held.event_id(), reset.event_id()] {
        assert_eq!(told(&refund(&caller, not_refundable).await), (409, "not_refundable"));
    }
    let unknown = refund(&caller, Uuid::now_v7()).await;
    assert_problem(&unknown, StatusCode::NOT_FOUND, "unknown_event", &["no such event"]);
    let bad = caller.post("/v1/events/first:refund", &json!({})).await;
    assert_problem(&bad, StatusCode::BAD_REQUEST, "invalid_request", &["event_id", "uuid"]);
    let path = format!("/v1/events/{outside}:refund");
    for (body, words) in [
        (json!({ "metadata": 7 }), ["metadata", "must be an object"]),
        (json!({ "amount": 1 }), ["amount", "unknown field"]),
    ] {
        let refused = caller.post(&path, &body).await;
        assert_problem(&refused, StatusCode::BAD_REQUEST, "invalid_request", &words);
    }
    let nowhere = caller.post(&format!("/v1/events/{outside}:undo"), &json!({})).await;
    assert_eq!(told(&nowhere), (404, "unknown_route"));
    let refunded = refund(&caller, committed.event_id()).await;
    assert_eq!(refunded.body["refunded"][0]["units"], 4, "{refunded:?}");
    let null: Value = json!(null);
    assert_ne!(refunded.body["event_id"], null);
    app.finish().await;
}
