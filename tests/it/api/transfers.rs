//! `POST /v1/transfers` and `GET /v1/transfers/{transfer_id}`.

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

const TRANSFERS: &str = "/v1/transfers";
const CATALOGUE: &str = r#"
    metrics = ["messages", "tokens"]
    default_plan = "p"
    [plans.p]
    limits = [{ metric = "messages", period = "day", max = 5 }]
"#;

/// A node with a setting of gifts, on which `user:u_1` has bought 20 messages.
async fn start_with(settings: &[(&str, &str)]) -> TestApp {
    let options = settings.iter().fold(with_catalogue(CATALOGUE), |options, (name, value)| {
        options.with(&format!("HEADROOM_TRANSFERS_{name}"), value)
    });
    let app = TestApp::start_with(options).await;
    move_to(&app, "2027-02-10T12:00:00Z");
    buy(&app.caller(), "user:u_1").await;
    app
}

async fn buy(caller: &Caller, subject: &str) {
    let path = format!("/v1/subjects/{}/grants", subject.replace('/', "%2F"));
    let body = json!({
        "metric": "messages", "amount": 20, "source": "purchase", "expires_at": "2027-03-01T00:00:00Z",
    });
    assert_eq!(caller.post(&path, &body).await.status, StatusCode::CREATED);
}

fn gift(to: &str, amount: u64) -> Value {
    json!({ "from": "user:u_1", "to": to, "metric": "messages", "amount": amount })
}

async fn granted(caller: &Caller, subject: &str) -> u64 {
    let usage = caller.get(&format!("/v1/subjects/{subject}/usage")).await;
    usage.limit("messages-day")["granted_remaining"].as_u64().unwrap()
}

/// Guards the whole gift: taken here, given there, with the giver's expiry, and the same when it is read.
#[tokio::test]
async fn a_gift_moves_units_and_both_sides_show_it() {
    let app = start_with(&[]).await;
    let caller = app.caller();
    let mut body = gift("user:u_2", 7);
    body["note"] = json!("happy birthday");

    let made = caller.post(TRANSFERS, &body).await;
    let id = made.body["transfer_id"].as_str().unwrap();
    let read = caller.get(&format!("{TRANSFERS}/{id}")).await;
    let received = caller.get("/v1/subjects/user:u_2/grants").await;

    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let kept = "SELECT request_id FROM transfers";
    let kept = app.postgres().await.query_one(kept, &[]).await.unwrap();
    assert_eq!(kept.get::<_, Option<&str>>(0), Some(made.header("x-request-id")));
    let mut told = made.body.clone();
    let fields = told.as_object_mut().unwrap();
    for name in ["requested_at", "ended_at"] {
        let at = fields.remove(name).unwrap();
        assert!(at.as_str().unwrap().starts_with("2027-02-10T12:00"), "{at}");
    }
    assert_eq!(
        told,
        json!({
            "transfer_id": id, "from": "user:u_1", "to": "user:u_2", "metric": "messages", "amount": 7,
            "state": "done", "note": "happy birthday",
        })
    );
    assert_eq!(read.body, made.body);
    let grant = &received.body["grants"][0];
    assert_eq!(
        (&grant["source"], &grant["amount"], &grant["expires_at"], &grant["transfer_id"]),
        (&json!("gift"), &json!(7), &json!("2027-03-01T00:00:00Z"), &json!(id))
    );
    assert_eq!((granted(&caller, "user:u_1").await, granted(&caller, "user:u_2").await), (13, 7));
    app.finish().await;
}

/// Guards retries: the same key makes one gift, and the key is good for nothing else.
#[tokio::test]
async fn a_gift_is_made_once_under_its_key() {
    let app = start_with(&[]).await;
    let caller = app.caller();
    let give = async |body: Value| {
        let request = caller.request(Method::POST, TRANSFERS).header("idempotency-key", "k");
        answer(request.json(&body)).await
    };

    let first = give(gift("user:u_2", 7)).await;
    let second = give(gift("user:u_2", 7)).await;
    let others = [give(gift("user:u_2", 8)).await, give(gift("user:u_3", 7)).await];

    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    assert_eq!(first.body, second.body);
    assert_eq!(others.each_ref().map(told), [(422, "idempotency_mismatch"); 2]);
    assert_eq!((granted(&caller, "user:u_1").await, granted(&caller, "user:u_2").await), (13, 7));
    app.finish().await;
}

/// Guards retries over the end of a month, by which the id that follows from a key changes: one gift is made, and the key is
/// good for nothing else.
#[tokio::test]
async fn a_gift_is_made_once_under_its_key_over_the_end_of_a_month() {
    let app = TestApp::start_with(with_catalogue(CATALOGUE)).await;
    move_to(&app, "2027-01-31T23:59:29Z");
    let caller = app.caller();
    buy(&caller, "user:u_1").await;
    let give = async |body: Value| {
        let request = caller.request(Method::POST, TRANSFERS).header("idempotency-key", "k");
        answer(request.json(&body)).await
    };

    let first = give(gift("user:u_2", 7)).await;
    move_to(&app, "2027-02-01T00:00:02Z");
    let second = give(gift("user:u_2", 7)).await;
    let others = [give(gift("user:u_2", 8)).await, give(gift("user:u_3", 7)).await];
    move_to(&app, "2027-02-02T00:05:00Z");
    let later = give(gift("user:u_2", 7)).await;

    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    assert_eq!(first.body, second.body);
    assert_eq!(others.each_ref().map(told), [(422, "idempotency_mismatch"); 2]);
    assert_ne!(later.body["transfer_id"], first.body["transfer_id"], "it is kept no longer");
    assert_eq!((granted(&caller, "user:u_1").await, granted(&caller, "user:u_2").await), (6, 14));
    app.finish().await;
}

fn assert_rule(answer: &Answer, words: &str) {
    assert_problem(answer, StatusCode::CONFLICT, "transfer_refused", &[words]);
}

/// Guards the rules of gifts: the least amount, the most of a day, the rests of both sides, and the sources.
#[tokio::test]
async fn a_gift_that_breaks_a_rule_says_which() {
    let bounded = start_with(&[("AMOUNT_MIN", "3"), ("DAILY_MAX", "10")]).await;
    let caller = bounded.caller();
    assert_rule(&caller.post(TRANSFERS, &gift("user:u_2", 2)).await, "below the least of a gift");
    assert_eq!(caller.post(TRANSFERS, &gift("user:u_2", 8)).await.status, StatusCode::CREATED);
    assert_rule(&caller.post(TRANSFERS, &gift("user:u_3", 3)).await, "gave 8 today");
    assert_eq!(granted(&caller, "user:u_1").await, 12);
    bounded.finish().await;

    let resting = start_with(&[("GIVER_REST_S", "60"), ("RECEIVER_REST_S", "3600")]).await;
    let caller = resting.caller();
    buy(&caller, "user:u_9").await;
    let from_other =
        json!({ "from": "user:u_9", "to": "user:u_2", "metric": "messages", "amount": 1 });
    assert_eq!(caller.post(TRANSFERS, &gift("user:u_2", 1)).await.status, StatusCode::CREATED);
    assert_rule(&caller.post(TRANSFERS, &gift("user:u_3", 1)).await, "the giver may give again at");
    assert_rule(&caller.post(TRANSFERS, &from_other).await, "the receiver may be given something");
    resting.clock.advance(61_000);
    assert_eq!(caller.post(TRANSFERS, &gift("user:u_3", 1)).await.status, StatusCode::CREATED);
    resting.finish().await;

    let promoted = start_with(&[("SOURCES", "promotion")]).await;
    let refused = promoted.caller().post(TRANSFERS, &gift("user:u_2", 1)).await;
    let words = ["the grants do not have as much"];
    assert_problem(&refused, StatusCode::CONFLICT, "insufficient_grant", &words);
    promoted.finish().await;
}

/// Guards the giver: nothing is taken of what does not suffice, and what the plan allows is not given away.
#[tokio::test]
async fn more_than_there_is_is_not_given_at_all() {
    let app = start_with(&[]).await;
    let caller = app.caller();

    let refused = caller.post(TRANSFERS, &gift("user:u_2", 21)).await;
    let all = caller.post(TRANSFERS, &gift("user:u_2", 20)).await;
    let none = caller.post(TRANSFERS, &gift("user:u_2", 1)).await;

    assert_eq!(told(&refused), (409, "insufficient_grant"), "{refused:?}");
    assert_eq!(all.status, StatusCode::CREATED, "{all:?}");
    assert_eq!(told(&none), (409, "insufficient_grant"));
    assert_eq!((granted(&caller, "user:u_1").await, granted(&caller, "user:u_2").await), (0, 20));
    app.finish().await;
}

/// Guards what may be given away: units of the metric that were given for good, from a source that is allowed, and not taken back.
#[tokio::test]
async fn grants_that_may_not_be_given_away_make_no_gift_larger() {
    let app = start_with(&[]).await;
    let caller = app.caller();
    let (path, end) = ("/v1/subjects/user:u_1/grants", "2027-03-01T00:00:00Z");
    let more = |metric: &str, source: &str, period: Value| {
        json!({
            "metric": metric, "amount": 50, "source": source, "expires_at": end, "period": period,
        })
    };
    let taken_back = caller.post(path, &more("messages", "purchase", Value::Null)).await;
    let kept = [
        more("tokens", "purchase", Value::Null),
        more("messages", "promotion", Value::Null),
        more("messages", "purchase", json!("day")),
    ];
    for grant in &kept {
        assert_eq!(caller.post(path, grant).await.status, StatusCode::CREATED, "{grant}");
    }
    let id = taken_back.body["id"].as_u64().unwrap();
    assert_eq!(caller.delete(&format!("{path}/{id}")).await.status, StatusCode::OK);

    let refused = caller.post(TRANSFERS, &gift("user:u_2", 21)).await;
    let all = caller.post(TRANSFERS, &gift("user:u_2", 20)).await;

    assert_eq!(told(&refused), (409, "insufficient_grant"), "{refused:?}");
    assert_eq!(all.status, StatusCode::CREATED, "{all:?}");
    app.finish().await;
}

/// Guards the bounds of a gift: each refusal names the field, and nothing moves.
#[tokio::test]
async fn what_is_no_gift_is_named() {
    let app = start_with(&[]).await;
    let caller = app.caller();
    let with = |name: &str, value: Value| {
        let mut body = gift("user:u_2", 1);
        body[name] = value;
        body
    };
    let amount = "between 1 and 2147483648";

    for (body, words) in [
        (with("amount", json!(0)), ["amount", amount]),
        (with("amount", json!(2_147_483_649_u64)), ["amount", amount]),
        (with("from", json!("u_1")), ["from", "scope:id"]),
        (with("to", json!("")), ["to", "must not be empty"]),
        (with("to", json!("user:u_1")), ["to", "must be another subject than from"]),
        (with("metric", json!("Messages")), ["metric", "1 to 64"]),
        (with("note", json!("x".repeat(501))), ["note", "at most 500 bytes"]),
        (with("expires_at", json!("2027-03-01T00:00:00Z")), ["expires_at", "unknown field"]),
        (json!({ "from": "user:u_1", "metric": "messages", "amount": 1 }), ["to", "missing"]),
    ] {
        let refused = caller.post(TRANSFERS, &body).await;
        assert_problem(&refused, StatusCode::BAD_REQUEST, "invalid_request", &words);
    }
    let unknown = caller.post(TRANSFERS, &with("metric", json!("images"))).await;
    assert_eq!(told(&unknown), (404, "unknown_metric"));
    let bad = caller.get(&format!("{TRANSFERS}/first")).await;
    let words = ["transfer_id", "uuid"];
    assert_problem(&bad, StatusCode::BAD_REQUEST, "invalid_request", &words);
    let none = caller.get(&format!("{TRANSFERS}/{}", Uuid::now_v7())).await;
    assert_problem(&none, StatusCode::NOT_FOUND, "unknown_transfer", &["no such transfer"]);
    assert_eq!(granted(&caller, "user:u_1").await, 20);
    app.finish().await;
}

/// Guards reach: a gift needs both sides within it, and reading one needs one of them.
#[tokio::test]
async fn a_gift_stays_within_the_reach_of_its_key() {
    let app = start_with(&[]).await;
    let caller = app.caller();
    buy(&caller, "org:acme/user:u_1").await;
    let fenced = caller.with_key(&fenced_key(&app, &["consume", "read"], "org:acme").await);
    let elsewhere = caller.with_key(&fenced_key(&app, &["read"], "org:other").await);
    let reader = caller.with_key(&key(&app, &["read", "check"]).await);
    let between =
        |from: &str, to: &str| json!({ "from": from, "to": to, "metric": "messages", "amount": 1 });

    let out = fenced.post(TRANSFERS, &between("org:acme/user:u_1", "user:u_2")).await;
    let into = fenced.post(TRANSFERS, &between("user:u_1", "org:acme/user:u_1")).await;
    let within = fenced.post(TRANSFERS, &between("org:acme/user:u_1", "org:acme/user:u_2")).await;
    let refused = reader.post(TRANSFERS, &gift("user:u_2", 1)).await;
    let path = format!("{TRANSFERS}/{}", within.body["transfer_id"].as_str().unwrap());

    assert_eq!(told(&out), (404, "unknown_subject"));
    assert_eq!(told(&into), (404, "unknown_subject"));
    assert_eq!(within.status, StatusCode::CREATED, "{within:?}");
    assert_eq!(told(&refused), (403, "permission_denied"));
    assert_eq!(fenced.get(&path).await.body, within.body);
    assert_eq!(told(&elsewhere.get(&path).await), (404, "unknown_transfer"));
    app.finish().await;
}
