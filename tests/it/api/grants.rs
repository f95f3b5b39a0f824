//! `GET` and `POST /v1/subjects/{subject}/grants`, and `DELETE …/grants/{grant_id}`.

use futures_util::future::join_all;
use headroom::clock::Clock;
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
use crate::support::caller::answer;

const GRANTS: &str = "/v1/subjects/user:u_1/grants";
const CATALOGUE: &str = r#"
    metrics = ["messages", "tokens"]
    default_plan = "p"
    [plans.p]
    limits = [{ metric = "messages", period = "day", max = 5 }]
"#;

async fn start() -> TestApp {
    let app = TestApp::start_with(with_catalogue(CATALOGUE)).await;
    move_to(&app, "2027-02-10T12:00:00Z");
    app
}

/// What a list has of each grant: its amount, what is used and left, and its state.
fn listed(answer: &Answer) -> Vec<(u64, u64, u64, &str)> {
    let grants = answer.body["grants"].as_array().unwrap().iter();
    let number = |it: &Value, name: &str| it[name].as_u64().unwrap();
    grants
        .map(|it| {
            let state = it["state"].as_str().unwrap();
            (number(it, "amount"), number(it, "used"), number(it, "remaining"), state)
        })
        .collect()
}

/// Guards that a refusal names what refused: a grant spares the limits of its metric on its subject's level, and no others.
#[tokio::test]
async fn a_refusal_does_not_name_a_limit_that_grants_would_have_spared() {
    let catalogue = r#"
        metrics = ["messages", "premium"]
        scope_plans = { org = "org", user = "user" }
        [[models]]
        names = ["m"]
        charges = { messages = 1, premium = 1 }
        [plans.org]
        limits = [{ metric = "messages", period = "month", max = 4 }]
        [plans.user]
        limits = [
            { metric = "messages", period = "month", max = 2 },
            { metric = "premium", period = "month", max = 3 },
        ]
    "#;
    let app = TestApp::start_with(with_catalogue(catalogue)).await;
    let (caller, subject) = (app.caller(), "org:acme/user:u_1");
    let grant = json!({ "metric": "messages", "amount": 9, "source": "promotion" });
    let given = caller.post("/v1/subjects/org:acme%2Fuser:u_1/grants", &grant).await;
    assert_eq!(given.status, StatusCode::CREATED, "{given:?}");
    for _ in 0..3 {
        assert!(caller.consume(subject, "m").await.is_allowed());
    }

    let premium = caller.consume(subject, "m").await;
    assert!(caller.charge(subject, "messages", 1).await.is_allowed());
    let of_org = caller.charge(subject, "messages", 1).await;

    assert_eq!(premium.body["violated-policies"], json!(["premium-month"]), "{premium:?}");
    assert_eq!(of_org.body["violated-policies"], json!(["org.messages-month"]), "{of_org:?}");
    app.finish().await;
}

/// Guards the format of a grant, and that bonus units are used after the plan's.
#[tokio::test]
async fn bonus_units_are_given_shown_and_used_after_the_plan_s() {
    let app = start().await;
    let caller = app.caller();
    let body = json!({
        "metric": "messages", "amount": 10, "expires_at": "2027-03-01T01:00:00+01:00", "source": "promotion",
        "note": "spring sale",
    });

    let given = caller.post(GRANTS, &body).await;
    let before = caller.get("/v1/subjects/user:u_1/usage").await;
    let charged = caller.charge("user:u_1", "messages", 8).await;
    let refused = caller.charge("user:u_1", "messages", 8).await;
    app.flush().await;
    let list = caller.get(GRANTS).await;

    assert_eq!(given.status, StatusCode::CREATED, "{given:?}");
    let mut grant = given.body.clone();
    let fields = grant.as_object_mut().unwrap();
    assert!(fields.remove("id").unwrap().as_u64().unwrap() >= 1);
    assert!(fields.remove("created_at").unwrap().as_str().unwrap().starts_with("2027-02-10T12:00"));
    assert_eq!(
        grant,
        json!({
            "subject": "user:u_1", "metric": "messages", "amount": 10, "used": 0, "remaining": 10,
            "source": "promotion", "state": "open", "expires_at": "2027-03-01T00:00:00Z", "note": "spring sale",
            "created_by": "bootstrap", "revoked_at": null, "transfer_id": null,
        })
    );
    assert_eq!(before.limit("messages-day")["granted_remaining"], 10);
    assert!(charged.is_allowed(), "{charged:?}");
    assert_eq!(charged.limit("messages-day")["granted_remaining"], 7);
    assert_eq!((charged.used("messages-day"), refused.code()), (5, "limit_exceeded"));
    assert_eq!(listed(&list), [(10, 3, 7, "open")]);
    app.finish().await;
}

/// Guards the life of a grant: used up, expired and revoked ones are told apart, and count no more.
#[tokio::test]
async fn what_has_become_of_each_grant_is_shown() {
    let app = start().await;
    let caller = app.caller();
    let give = async |amount: u64, expires_at: Value| {
        let body = json!({ "metric": "messages", "amount": amount, "expires_at": expires_at });
        let given = caller.post(GRANTS, &body).await;
        assert_eq!(given.status, StatusCode::CREATED, "{given:?}");
        given.body["id"].as_u64().unwrap()
    };
    give(2, json!("2027-02-10T18:00:00Z")).await;
    give(3, json!("2027-02-10T19:00:00Z")).await;
    let revoked = give(4, json!("2027-02-11T00:00:00Z")).await;
    give(6, Value::Null).await;
    assert!(caller.charge("user:u_1", "messages", 11).await.is_allowed());

    let gone = caller.delete(&format!("{GRANTS}/{revoked}")).await;
    let again = caller.delete(&format!("{GRANTS}/{revoked}")).await;
    app.flush().await;
    let report = app.verify().await;
    app.clock.advance(7 * 3_600_000 + 60_000);
    let list = caller.get(GRANTS).await;

    assert!(report.is_clean(), "what is used of a revoked grant still counts: {report:?}");
    assert_eq!(gone.status, StatusCode::OK, "{gone:?}");
    assert_eq!((&gone.body["state"], &gone.body["remaining"]), (&json!("revoked"), &json!(0)));
    assert!(gone.body["revoked_at"].is_string());
    assert_problem(&again, StatusCode::NOT_FOUND, "unknown_grant", &["no such grant"]);
    let expected =
        [(6, 0, 6, "open"), (4, 1, 0, "revoked"), (3, 3, 0, "expired"), (2, 2, 0, "expired")];
    assert_eq!(listed(&list), expected);
    assert!(caller.charge("user:u_1", "messages", 6).await.is_allowed());
    assert_eq!(told(&caller.charge("user:u_1", "messages", 1).await), (429, "limit_exceeded"));
    app.flush().await;
    assert_eq!(listed(&caller.get(GRANTS).await)[0], (6, 6, 0, "used_up"));
    app.finish().await;
}

/// Guards a limit that is higher for a while: nothing of it is used up, and then it is as it was.
#[tokio::test]
async fn a_raised_limit_is_higher_until_its_grant_ends() {
    let app = start().await;
    let caller = app.caller();
    let body = json!({
        "metric": "messages", "amount": 10, "period": "day", "expires_at": "2027-02-10T18:00:00Z",
    });

    let given = caller.post(GRANTS, &body).await;
    let charged = caller.charge("user:u_1", "messages", 12).await;
    app.clock.advance(7 * 3_600_000);
    let after = caller.get("/v1/subjects/user:u_1/usage").await;

    assert_eq!((&given.body["period"], &given.body["used"]), (&json!("day"), &json!(0)));
    assert!(charged.is_allowed(), "{charged:?}");
    assert_eq!(charged.limit("messages-day")["limit"], 15);
    assert_eq!(
        (&after.limit("messages-day")["limit"], after.used("messages-day")),
        (&json!(5), 12)
    );
    app.finish().await;
}

/// Guards the profile: grants are no part of it, neither of its version's sense nor of what is put.
#[tokio::test]
async fn a_profile_neither_shows_nor_takes_grants_and_a_put_keeps_them() {
    let app = start().await;
    let caller = app.caller();
    let subject = "/v1/subjects/user:u_1";
    assert_eq!(
        caller.post(GRANTS, &json!({ "metric": "messages", "amount": 10 })).await.status,
        201
    );

    let read = caller.get(subject).await;
    let again = caller.get(subject).await;
    let put = caller.put(subject, read.etag(), &json!({ "anchor_day": 15 })).await;
    let usage = caller.get("/v1/subjects/user:u_1/usage").await;

    assert_eq!(read.body.get("grants"), None, "{read:?}");
    assert_eq!(read.etag(), again.etag());
    assert_eq!(put.status, StatusCode::OK, "{put:?}");
    assert_eq!(put.body.get("grants"), None);
    assert_eq!(usage.limit("messages-day")["granted_remaining"], 10);
    let grant = json!({ "id": 1, "metric": "messages", "amount": 99 });
    for grants in [json!([grant]), json!([{ "metric": "messages" }]), json!(7)] {
        let refused = caller.put(subject, "*", &json!({ "grants": grants })).await;
        let words = ["grants are no part of a profile", "POST"];
        assert_problem(&refused, StatusCode::BAD_REQUEST, "invalid_request", &words);
    }
    app.finish().await;
}

/// Guards retries: with a key one grant is made, and the key is good for nothing else.
#[tokio::test]
async fn a_grant_is_made_once_under_its_key() {
    let app = start().await;
    let caller = app.caller();
    let give = async |amount: u64| {
        let request = caller.request(Method::POST, GRANTS).header("idempotency-key", "k");
        answer(request.json(&json!({ "metric": "messages", "amount": amount }))).await
    };

    let (first, second, other) = (give(5).await, give(5).await, give(6).await);

    assert_eq!(first.body, second.body);
    assert_eq!(told(&other), (422, "idempotency_mismatch"));
    assert_eq!(listed(&caller.get(GRANTS).await), [(5, 0, 5, "open")]);
    let acts = caller.get("/v1/audit?target=user:u_1").await;
    assert_eq!(acts.body["acts"].as_array().unwrap().len(), 1, "{acts:?}");
    assert_eq!(acts.body["acts"][0]["action"], "grant.create");
    app.finish().await;
}

/// Guards retries over the end of a month, by which the id that follows from a key changes: for as long as an answer is kept
/// one grant is made, and the key is good for nothing else. After that it makes another.
#[tokio::test]
async fn a_grant_is_made_once_under_its_key_over_the_end_of_a_month() {
    let app = TestApp::start_with(with_catalogue(CATALOGUE)).await;
    move_to(&app, "2027-02-28T23:59:29Z");
    let caller = app.caller();
    let give = async |amount: u64| {
        let request = caller.request(Method::POST, GRANTS).header("idempotency-key", "k");
        answer(request.json(&json!({ "metric": "messages", "amount": amount }))).await
    };

    let first = give(5).await;
    move_to(&app, "2027-03-01T00:00:02Z");
    let (second, other) = (give(5).await, give(6).await);
    move_to(&app, "2027-03-01T23:58:00Z");
    let last = give(5).await;
    move_to(&app, "2027-03-02T00:05:00Z");
    let (later, again) = (give(5).await, give(5).await);

    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    assert_eq!((&second.body, &last.body), (&first.body, &first.body));
    assert_eq!(told(&other), (422, "idempotency_mismatch"));
    assert_eq!(later.status, StatusCode::CREATED, "{later:?}");
    assert_ne!(later.body["id"], first.body["id"], "the answer is kept no longer");
    assert_eq!(later.body, again.body);
    assert_eq!(listed(&caller.get(GRANTS).await), [(5, 0, 5, "open"), (5, 0, 5, "open")]);
    app.finish().await;
}

/// Guards retries at once, at nodes of which one is in the next month already.
#[tokio::test]
async fn nodes_on_both_sides_of_a_month_s_end_make_one_grant_under_a_key() {
    let mut app = TestApp::start_with(with_catalogue(CATALOGUE).patient()).await;
    move_to(&app, "2027-02-28T23:58:00Z");
    app.add_node_with_clock(Clock::with_offset_ms(app.clock.offset_ms() + 150_000)).await;
    let give = async |node: usize| {
        let request = app.caller_of(node).request(Method::POST, GRANTS);
        let body = json!({ "metric": "messages", "amount": 5 });
        answer(request.header("idempotency-key", "k").json(&body)).await
    };

    let ahead = give(1).await;
    let others = join_all((0..20).map(|call| give(call % 2))).await;

    assert_eq!(ahead.status, StatusCode::CREATED, "{ahead:?}");
    for other in others {
        assert_eq!(other.body, ahead.body);
    }
    assert_eq!(listed(&app.caller().get(GRANTS).await), [(5, 0, 5, "open")]);
    app.finish().await;
}

/// Guards the bounds of a grant: each refusal names the field, and nothing is given.
#[tokio::test]
async fn what_is_no_grant_is_named_and_not_given() {
    let app = start().await;
    let caller = app.caller();
    let with = |name: &str, value: Value| {
        let mut body = json!({ "metric": "messages", "amount": 5 });
        body[name] = value;
        body
    };
    let (amount, instant) = ("between 1 and 2147483648", "rfc 3339 instant in the future");

    for (body, words) in [
        (with("amount", json!(0)), ["amount", amount]),
        (with("amount", json!(2_147_483_649_u64)), ["amount", amount]),
        (with("amount", json!(-1)), ["amount", amount]),
        (with("amount", json!("5")), ["amount", amount]),
        (json!({ "metric": "messages" }), ["amount", "missing"]),
        (with("metric", json!("Messages")), ["metric", "1 to 64"]),
        (with("expires_at", json!("2027-02-10T11:00:00Z")), ["expires_at", instant]),
        (with("expires_at", json!("tomorrow")), ["expires_at", instant]),
        (with("expires_at", json!("9999-12-31T00:00:00Z")), ["expires_at", "before the year 9999"]),
        (with("period", json!("day")), ["expires_at", "is needed with period"]),
        (with("period", json!("year")), ["period", "unknown variant"]),
        (with("source", json!("gift")), ["source", "POST /v1/transfers"]),
        (with("source", json!("theft")), ["source", "admin, promotion or purchase"]),
        (with("note", json!("x".repeat(501))), ["note", "at most 500 bytes"]),
        (with("note", json!("a\u{0}b")), ["note", "control characters"]),
        (with("units", json!(5)), ["units", "unknown field"]),
    ] {
        let refused = caller.post(GRANTS, &body).await;
        assert_problem(&refused, StatusCode::BAD_REQUEST, "invalid_request", &words);
    }
    let unknown = caller.post(GRANTS, &json!({ "metric": "images", "amount": 5 })).await;
    assert_problem(&unknown, StatusCode::NOT_FOUND, "unknown_metric", &["not in the catalogue"]);
    for id in ["first", "-1", "99999999999999999999"] {
        let refused = caller.delete(&format!("{GRANTS}/{id}")).await;
        let words = ["grant_id", "number of a grant"];
        assert_problem(&refused, StatusCode::BAD_REQUEST, "invalid_request", &words);
    }
    assert_eq!(told(&caller.delete(&format!("{GRANTS}/4711")).await), (404, "unknown_grant"));
    assert_eq!(listed(&caller.get(GRANTS).await), []);
    app.finish().await;
}

/// Guards the bound of open grants: the 33rd is refused, and one that is revoked makes room.
#[tokio::test]
async fn a_subject_has_no_more_open_grants_than_it_may() {
    let app = start().await;
    let caller = app.caller();
    let body = json!({ "metric": "messages", "amount": 1 });
    let mut last = None;
    for _ in 0..32 {
        let given = caller.post(GRANTS, &body).await;
        assert_eq!(given.status, StatusCode::CREATED, "{given:?}");
        last = given.body["id"].as_u64();
    }

    let refused = caller.post(GRANTS, &body).await;
    caller.delete(&format!("{GRANTS}/{}", last.unwrap())).await;
    let after = caller.post(GRANTS, &body).await;

    assert_problem(&refused, StatusCode::CONFLICT, "too_many_grants", &["32 open grants"]);
    assert_eq!(after.status, StatusCode::CREATED, "{after:?}");
    let usage = caller.get("/v1/subjects/user:u_1/usage").await;
    assert_eq!(usage.limit("messages-day")["granted_remaining"], 32);
    app.finish().await;
}

/// Guards who gives and who sees: admins give, readers and end users see, each within their part of the tree.
#[tokio::test]
async fn grants_are_given_by_admins_and_seen_by_readers_within_their_reach() {
    let app = start().await;
    let caller = app.caller();
    let fenced = caller.with_key(&fenced_key(&app, &["admin"], "org:acme").await);
    let backend = caller.with_key(&key(&app, &["read", "check", "consume"]).await);
    let body = json!({ "metric": "messages", "amount": 5 });
    let given = caller.post(GRANTS, &body).await;
    let path = format!("{GRANTS}/{}", given.body["id"]);

    assert_eq!(listed(&backend.get(GRANTS).await), [(5, 0, 5, "open")]);
    assert_eq!(told(&backend.post(GRANTS, &body).await), (403, "permission_denied"));
    assert_eq!(told(&backend.delete(&path).await), (403, "permission_denied"));
    assert_eq!(told(&fenced.get(GRANTS).await), (404, "unknown_subject"));
    assert_eq!(told(&fenced.post(GRANTS, &body).await), (404, "unknown_subject"));
    assert_eq!(told(&fenced.delete(&path).await), (404, "unknown_subject"));
    let own = "/v1/subjects/org:acme%2Fuser:u_1/grants";
    assert_eq!(fenced.post(own, &body).await.status, StatusCode::CREATED);
    let stolen = format!("{own}/{}", given.body["id"]);
    assert_eq!(told(&fenced.delete(&stolen).await), (404, "unknown_grant"), "it is another's");
    assert_eq!(listed(&caller.get(GRANTS).await), [(5, 0, 5, "open")]);
    app.finish().await;
}
