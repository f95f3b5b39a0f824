//! `POST /v1/reservations` and what settles one: the stream whose cost nobody knows before it ends.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

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
    metrics = ["tokens", "messages"]
    default_plan = "p"
    [plans.p]
    limits = [
        { metric = "tokens", period = "day", max = 100 },
        { metric = "messages", period = "month", max = 10, hold_max = "50%" },
    ]
    [[models]]
    names = ["m"]
    charges = { tokens = 2, messages = 1 }
"#;

async fn start() -> TestApp {
    let app = TestApp::start_with(with_catalogue(CATALOGUE)).await;
    move_to(&app, "2027-02-10T12:00:00Z");
    app
}

async fn reserve(caller: &Caller, subject: &str, amount: u64, ttl_s: u64) -> Answer {
    let body = json!({ "subject": subject, "metric": "tokens", "amount": amount, "ttl_s": ttl_s });
    caller.post("/v1/reservations", &body).await
}

/// A reservation that must be accepted.
async fn held(caller: &Caller, amount: u64, ttl_s: u64) -> String {
    let reserved = reserve(caller, "user:u_1", amount, ttl_s).await;
    assert!(reserved.is_allowed(), "{reserved:?}");
    reserved.body["reservation_id"].as_str().unwrap().to_owned()
}

async fn act(caller: &Caller, id: &str, action: &str, body: &Value) -> Answer {
    caller.post(&format!("/v1/reservations/{id}:{action}"), body).await
}

/// Used, reserved and remaining of the day's tokens.
fn tokens(answer: &Answer) -> [u64; 3] {
    ["used", "reserved", "remaining"].map(|name| answer.limit("tokens-day")[name].as_u64().unwrap())
}

async fn usage(caller: &Caller) -> [u64; 3] {
    tokens(&caller.get("/v1/subjects/user:u_1/usage").await)
}

fn picked(body: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), body[*name].clone())).collect()
}

/// Guards the stream: held before it begins, charged with what it took, and the rest free at once.
#[tokio::test]
async fn a_stream_is_held_then_charged_with_what_it_took() {
    let app = start().await;
    let caller = app.caller();

    let reserved = reserve(&caller, "user:u_1", 60, 120).await;
    let id = reserved.body["reservation_id"].as_str().unwrap();
    let committed = act(&caller, id, "commit", &json!({ "amount": 25 })).await;

    assert!(reserved.is_allowed(), "{reserved:?}");
    assert_eq!(tokens(&reserved), [0, 60, 40]);
    assert_eq!(reserved.header("ratelimit"), "\"tokens-day\";r=40;t=43200");
    assert_eq!(reserved.body["amount"], 60);
    let until = reserved.body["expires_at"].as_str().unwrap();
    assert!(until.starts_with("2027-02-10T12:02:0"), "{until}");
    assert_eq!(committed.status, StatusCode::OK, "{committed:?}");
    let names = ["reservation_id", "state", "amount", "reserved", "returned", "overage", "late"];
    assert_eq!(
        picked(&committed.body, &names),
        json!({
            "reservation_id": id, "state": "committed", "amount": 25, "reserved": 60, "returned": 35,
            "overage": false, "late": false,
        })
    );
    assert_eq!(committed.body["expires_at"], until);
    assert_eq!(committed.body["plan"], "p");
    assert_eq!(committed.body["request_id"], committed.header("x-request-id"));
    assert_eq!(committed.header("ratelimit"), "\"tokens-day\";r=75;t=43200");
    assert_eq!(tokens(&committed), [25, 0, 75]);
    assert_eq!(usage(&caller).await, [25, 0, 75]);
    app.finish().await;
}

/// Guards a model's weights: what is held and what is charged are both multiplied.
#[tokio::test]
async fn a_model_holds_and_charges_by_its_weights() {
    let app = start().await;
    let caller = app.caller();

    let body =
        json!({ "subject": "user:u_1", "model": "m", "amount": 3, "metadata": { "chat": 7 } });
    let reserved = caller.post("/v1/reservations", &body).await;
    let id = reserved.body["reservation_id"].as_str().unwrap();
    let committed =
        act(&caller, id, "commit", &json!({ "amount": 2, "metadata": { "stop": "end" } })).await;

    assert_eq!(tokens(&reserved), [0, 6, 94]);
    assert_eq!(reserved.limit("messages-month")["reserved"], 3);
    assert_eq!(tokens(&committed), [4, 0, 96]);
    assert_eq!(committed.used("messages-month"), 2);
    app.finish().await;
}

/// Guards work that failed: what was held is free again, with a body or without.
#[tokio::test]
async fn a_released_reservation_charges_nothing() {
    let app = start().await;
    let caller = app.caller();
    let (one, other) = (held(&caller, 60, 120).await, held(&caller, 30, 120).await);

    let with_body = act(&caller, &one, "release", &json!({})).await;
    let path = format!("/v1/reservations/{other}:release");
    let without = answer(caller.request(Method::POST, &path)).await;

    for (released, amount) in [(&with_body, 60), (&without, 30)] {
        assert_eq!(released.status, StatusCode::OK, "{released:?}");
        let names = ["state", "amount", "reserved", "returned"];
        assert_eq!(
            picked(&released.body, &names),
            json!({ "state": "released", "amount": 0, "reserved": amount, "returned": amount })
        );
    }
    assert_eq!(usage(&caller).await, [0, 0, 100]);
    app.finish().await;
}

/// Guards a long stream: given more time it holds on, and its commit is not late.
#[tokio::test]
async fn an_extended_reservation_holds_on() {
    let app = start().await;
    let caller = app.caller();
    let id = held(&caller, 60, 60).await;

    app.clock.advance(50_000);
    let extended = act(&caller, &id, "extend", &json!({ "ttl_s": 60 })).await;
    app.clock.advance(50_000);
    let between = usage(&caller).await;
    let committed = act(&caller, &id, "commit", &json!({ "amount": 60 })).await;

    let names = ["state", "amount", "reserved", "returned"];
    assert_eq!(
        picked(&extended.body, &names),
        json!({ "state": "held", "amount": 0, "reserved": 60, "returned": 0 })
    );
    let until = extended.body["expires_at"].as_str().unwrap();
    assert!(until.starts_with("2027-02-10T12:01:5"), "{until}");
    assert_eq!(tokens(&extended), [0, 60, 40]);
    assert_eq!(between, [0, 60, 40]);
    assert_eq!((&committed.body["late"], &committed.body["amount"]), (&json!(false), &json!(60)));
    app.finish().await;
}

/// Guards the end of a hold without traffic, and that work which ends after it is charged all the same, once.
#[tokio::test]
async fn a_hold_ends_by_itself_and_a_late_commit_is_charged() {
    let app = start().await;
    let caller = app.caller();
    let id = held(&caller, 60, 60).await;

    app.clock.advance(70_000);
    let lapsed = usage(&caller).await;
    let extended = act(&caller, &id, "extend", &json!({ "ttl_s": 60 })).await;
    let released = act(&caller, &id, "release", &json!({})).await;
    let committed = act(&caller, &id, "commit", &json!({ "amount": 25 })).await;
    let again = act(&caller, &id, "commit", &json!({ "amount": 25 })).await;

    assert_eq!(lapsed, [0, 0, 100]);
    for refused in [&extended, &released] {
        assert_problem(refused, StatusCode::GONE, "reservation_expired", &["has expired"]);
    }
    let names = ["state", "amount", "reserved", "returned", "late"];
    assert_eq!(
        picked(&committed.body, &names),
        json!({ "state": "committed", "amount": 25, "reserved": 60, "returned": 0, "late": true })
    );
    assert_eq!(told(&again), (409, "reservation_already_committed"));
    assert_eq!(usage(&caller).await, [25, 0, 75]);
    app.finish().await;
}

/// Guards work that took more than was held: charged past the limit and said so, or refused when that was asked for.
#[tokio::test]
async fn more_than_was_held_is_charged_as_overage_or_refused_when_strict() {
    let app = start().await;
    let caller = app.caller();
    let id = held(&caller, 60, 120).await;

    let strict = act(&caller, &id, "commit", &json!({ "amount": 101, "strict": true })).await;
    let after = usage(&caller).await;
    let loose = act(&caller, &id, "commit", &json!({ "amount": 101 })).await;

    assert_problem(&strict, StatusCode::CONFLICT, "commit_does_not_fit", &["above what is held"]);
    assert_eq!(after, [0, 60, 40], "the hold goes on");
    assert_eq!(loose.status, StatusCode::OK, "{loose:?}");
    assert_eq!((&loose.body["overage"], &loose.body["returned"]), (&json!(true), &json!(0)));
    assert_eq!(loose.limit("tokens-day")["overage"], 1);
    app.finish().await;
}

/// Guards the vocabulary of errors: what has ended says how, and with which amount.
#[tokio::test]
async fn what_has_ended_says_how() {
    let app = start().await;
    let caller = app.caller();
    let (one, other) = (held(&caller, 20, 120).await, held(&caller, 20, 120).await);
    act(&caller, &one, "commit", &json!({ "amount": 7 })).await;
    act(&caller, &other, "release", &json!({})).await;

    for (action, body) in [
        ("commit", json!({ "amount": 7 })),
        ("release", json!({})),
        ("extend", json!({ "ttl_s": 9 })),
    ] {
        let committed = act(&caller, &one, action, &body).await;
        let words = ["committed before, with the amount 7"];
        let code = "reservation_already_committed";
        assert_problem(&committed, StatusCode::CONFLICT, code, &words);
        let released = act(&caller, &other, action, &body).await;
        let code = "reservation_already_released";
        assert_problem(&released, StatusCode::CONFLICT, code, &["released before"]);
    }
    assert_eq!(usage(&caller).await, [7, 0, 93]);
    app.finish().await;
}

/// Guards the refusal that only holds cause: another code, and the end of the first hold instead of the window's.
#[tokio::test]
async fn a_refusal_that_only_holds_cause_says_so_and_when_to_come_back() {
    let app = start().await;
    let caller = app.caller();
    held(&caller, 60, 60).await;
    held(&caller, 30, 600).await;

    let reserved = reserve(&caller, "user:u_1", 11, 60).await;
    let consumed = caller.charge("user:u_1", "tokens", 11).await;
    let never = reserve(&caller, "user:u_1", 101, 60).await;

    for refused in [&reserved, &consumed] {
        let words = ["no room for the request in tokens-day while others hold"];
        assert_problem(refused, StatusCode::TOO_MANY_REQUESTS, "reserved_by_others", &words);
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((58..=61).contains(&seconds), "{seconds}");
        assert_eq!(tokens(refused), [0, 90, 10]);
        assert_eq!(refused.body["violated-policies"], json!(["tokens-day"]));
        assert_eq!(refused.body["type"], never.body["type"]);
    }
    assert_eq!(told(&never), (429, "limit_exceeded"), "{never:?}");
    let path = "/v1/reservations?on_deny=200";
    let body = json!({ "subject": "user:u_1", "metric": "tokens", "amount": 101 });
    let polite = caller.post(path, &body).await;
    assert_eq!((polite.status, &polite.body["allowed"]), (StatusCode::OK, &json!(false)));
    assert_eq!(polite.body["reservation_id"], Value::Null);
    app.finish().await;
}

/// Guards the share that may be held: the rest of the limit is for those who do not hold.
#[tokio::test]
async fn no_more_than_a_limit_s_share_is_held() {
    let app = start().await;
    let caller = app.caller();
    let body =
        |amount: u64| json!({ "subject": "user:u_1", "metric": "messages", "amount": amount });

    let five = caller.post("/v1/reservations", &body(5)).await;
    let sixth = caller.post("/v1/reservations", &body(1)).await;
    let consumed = caller.charge("user:u_1", "messages", 5).await;

    assert!(five.is_allowed() && consumed.is_allowed(), "{five:?} {consumed:?}");
    assert_eq!(told(&sixth), (429, "reserved_by_others"), "{sixth:?}");
    app.finish().await;
}

/// Guards retries: the same key gives the same answer of each step, and another payload is refused.
#[tokio::test]
async fn every_step_may_be_sent_again_under_its_key() {
    let app = start().await;
    let caller = app.caller();
    let send = async |path: &str, key: &str, body: Value| {
        let request = caller.request(Method::POST, path).header("idempotency-key", key);
        answer(request.json(&body)).await
    };
    let body = |amount: u64| json!({ "subject": "user:u_1", "metric": "tokens", "amount": amount });

    let first = send("/v1/reservations", "a", body(20)).await;
    let second = send("/v1/reservations", "a", body(20)).await;
    let other = send("/v1/reservations", "a", body(21)).await;
    let id = first.body["reservation_id"].as_str().unwrap();
    assert!(second.is_replayed() && !first.is_replayed());
    assert_eq!(first.body, second.body);
    assert_eq!(told(&other), (422, "idempotency_mismatch"));
    for (action, body, other) in [
        ("extend", json!({ "ttl_s": 600 }), json!({ "ttl_s": 601 })),
        ("commit", json!({ "amount": 5 }), json!({ "amount": 6 })),
    ] {
        let path = format!("/v1/reservations/{id}:{action}");
        let first = send(&path, "b", body.clone()).await;
        let second = send(&path, "b", body).await;
        let third = send(&path, "b", other).await;
        assert_eq!(first.status, StatusCode::OK, "{first:?}");
        assert!(second.is_replayed() && !first.is_replayed(), "{action}: {second:?}");
        assert_eq!(first.body, second.body);
        assert_eq!(told(&third), (422, "idempotency_mismatch"), "{action}");
    }
    assert_eq!(usage(&caller).await, [5, 0, 95]);
    app.finish().await;
}

/// Guards the list: what is open as of the last flush, with ids that work.
#[tokio::test]
async fn open_reservations_are_listed_once_they_are_in_postgres() {
    let app = start().await;
    let caller = app.caller();
    let path = "/v1/subjects/user:u_1/reservations";
    let committed = held(&caller, 20, 120).await;
    let body = json!({ "subject": "user:u_1", "model": "m", "metadata": { "chat": 7 } });
    let by_model = caller.post("/v1/reservations", &body).await;
    let open = held(&caller, 30, 120).await;
    act(&caller, &committed, "commit", &json!({ "amount": 5 })).await;

    let before = caller.get(path).await;
    app.flush().await;
    let after = caller.get(path).await;

    assert_eq!(before.body, json!({ "reservations": [] }));
    let list = after.body["reservations"].as_array().unwrap();
    assert_eq!(list.len(), 2, "{after:?}");
    let names = ["reservation_id", "metric", "amount", "metadata"];
    assert_eq!(
        picked(&list[0], &names),
        json!({ "reservation_id": open, "metric": "tokens", "amount": 30, "metadata": null })
    );
    assert_eq!(list[1]["reservation_id"], by_model.body["reservation_id"]);
    assert_eq!(list[1]["event_id"], by_model.body["event_id"]);
    assert_eq!(list[1]["expires_at"], by_model.body["expires_at"]);
    assert_eq!((&list[1]["model"], &list[1]["metadata"]), (&json!("m"), &json!({ "chat": 7 })));
    let released = act(&caller, &open, "release", &json!({})).await;
    assert_eq!(released.status, StatusCode::OK);
    app.flush().await;
    app.clock.advance(600_000);
    assert_eq!(caller.get(path).await.body, json!({ "reservations": [] }), "it has lapsed");
    assert_eq!(app.quota().expire_due().await.unwrap(), 1);
    app.finish().await;
}

/// Guards what is not a reserve, commit or extend: each names its field and bound, and holds nothing.
#[tokio::test]
async fn what_is_not_understood_is_named_and_holds_nothing() {
    let app = start().await;
    let caller = app.caller();
    let id = held(&caller, 20, 120).await;
    let (of, ttl) = ("must be a whole number between", "between 1 and 86400");
    let with = |name: &str, value: Value| {
        let mut body = json!({ "subject": "user:u_1", "metric": "tokens" });
        body[name] = value;
        body
    };

    for (body, words) in [
        (with("amount", json!(0)), ["amount", "between 1 and 2147483648"]),
        (with("amount", json!(2_147_483_649_u64)), ["amount", "between 1 and 2147483648"]),
        (with("ttl_s", json!(0)), ["ttl_s", ttl]),
        (with("ttl_s", json!(86_401)), ["ttl_s", ttl]),
        (with("ttl_s", json!(1.5)), ["ttl_s", ttl]),
        (with("feature", json!("export")), ["feature", "can only be checked"]),
        (with("metadata", json!([1])), ["metadata", "must be an object"]),
        (with("ttl", json!(1)), ["ttl is not a field", "ttl_s"]),
        (json!({ "subject": "user:u_1" }), ["model", "or metric is needed"]),
    ] {
        let refused = caller.post("/v1/reservations", &body).await;
        assert_problem(&refused, StatusCode::BAD_REQUEST, "invalid_request", &words);
    }
    for (action, body, words) in [
        ("commit", json!({}), ["amount", "missing"]),
        ("commit", json!({ "amount": -1 }), ["amount", of]),
        ("commit", json!({ "amount": 2_147_483_649_u64 }), ["amount", "0 and 2147483648"]),
        ("commit", json!({ "amount": "5" }), ["amount", of]),
        ("commit", json!({ "amount": 5, "strict": 1 }), ["strict", "boolean"]),
        ("commit", json!({ "amount": 5, "metadata": 1 }), ["metadata", "must be an object"]),
        (
            "commit",
            json!({ "amount": 5, "metadata": { "a": "x".repeat(2_048) } }),
            ["metadata", "2048"],
        ),
        ("extend", json!({ "ttl_s": 0 }), ["ttl_s", ttl]),
        ("extend", json!({ "ttl_s": 86_401 }), ["ttl_s", ttl]),
        ("extend", json!({}), ["ttl_s", "missing"]),
        ("release", json!({ "amount": 1 }), ["amount", "unknown field"]),
    ] {
        let refused = act(&caller, &id, action, &body).await;
        assert_problem(&refused, StatusCode::BAD_REQUEST, "invalid_request", &words);
    }
    let path = format!("/v1/reservations/{id}:commit");
    let without = answer(caller.request(Method::POST, &path)).await;
    assert_problem(&without, StatusCode::BAD_REQUEST, "invalid_request", &["the body"]);
    let text = answer(caller.request(Method::POST, &path).body("amount=5")).await;
    assert_eq!(told(&text), (415, "unsupported_media_type"));
    assert_eq!(usage(&caller).await, [0, 20, 80]);
    app.finish().await;
}

/// Guards who may settle: whoever may consume, within their part of the tree; of all else nothing is told.
#[tokio::test]
async fn a_reservation_is_settled_from_its_own_part_of_the_tree() {
    let app = start().await;
    let caller = app.caller();
    let fenced = caller.with_key(&fenced_key(&app, &["consume", "read"], "org:acme").await);
    let reader = caller.with_key(&key(&app, &["read", "check"]).await);
    let outside = held(&caller, 20, 120).await;
    let inside = reserve(&fenced, "org:acme/user:u_1", 20, 120).await;
    let inside = inside.body["reservation_id"].as_str().unwrap();

    let beyond = reserve(&fenced, "user:u_1", 1, 60).await;
    assert_eq!(told(&beyond), (404, "unknown_subject"));
    assert_eq!(told(&reserve(&reader, "user:u_1", 1, 60).await), (403, "permission_denied"));
    let list = fenced.get("/v1/subjects/user:u_1/reservations").await;
    assert_eq!(told(&list), (404, "unknown_subject"));
    let forged = format!("{}A", &outside[..outside.len() - 1]);
    for (action, body) in [
        ("commit", json!({ "amount": 7 })),
        ("release", json!({})),
        ("extend", json!({ "ttl_s": 9 })),
    ] {
        for id in [outside.as_str(), &forged, "rsv_", "019aab7c-3f4e-7c1a-9d53-0d1f0a2b3c4d"] {
            let refused = act(&fenced, id, action, &body).await;
            assert_eq!(told(&refused), (404, "unknown_reservation"), "{action} {id}");
        }
        assert_eq!(told(&act(&reader, &outside, action, &body).await), (403, "permission_denied"));
    }
    assert_eq!(told(&act(&fenced, inside, "cancel", &json!({})).await), (404, "unknown_route"));
    let own = act(&fenced, inside, "commit", &json!({ "amount": 7 })).await;
    assert_eq!(own.status, StatusCode::OK, "{own:?}");
    let stranger = caller.stranger(Method::POST, "/v1/reservations").json(&json!({}));
    assert_eq!(told(&answer(stranger).await), (401, "unauthenticated"));
    app.finish().await;
}
