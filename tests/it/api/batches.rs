//! Many decisions in one request: each item is answered as it would be by itself.

use headroom::counters::keys;
use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::bad_input::JSON;
use super::bad_input::assert_problem;
use super::bad_input::finish;
use super::bad_input::send;
use super::bad_input::start;
use super::bounds::pause;
use super::bounds::resume;
use super::keys::fenced_key;
use super::keys::key;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::Caller;
use crate::support::caller::answer;
use crate::support::orders::shard_of;

const CONSUME: &str = "/v1/consume:batch";
const CHECK: &str = "/v1/check:batch";
const BYTES_MAX: usize = 131_072;

async fn batch(caller: &Caller, route: &str, items: &[Value]) -> Answer {
    caller.post(route, &json!({ "items": items })).await
}

/// The results of a batch of which all was decided.
async fn results(caller: &Caller, route: &str, items: &[Value]) -> Vec<Value> {
    let answer = batch(caller, route, items).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.body["results"].as_array().unwrap().clone()
}

fn statuses(results: &[Value]) -> Vec<u64> {
    results.iter().map(|result| result["status"].as_u64().unwrap()).collect()
}

fn messages(subject: &str, amount: u64) -> Value {
    json!({ "subject": subject, "metric": "messages", "amount": amount })
}

/// How many calls of the script have accepted something for the subject's shard: each writes one entry of the outbox.
async fn script_calls(app: &TestApp, subject: &str) -> u64 {
    let mut command = redis::cmd("XLEN");
    command.arg(keys::outbox(shard_of(subject)));
    command.query_async(&mut app.redis().await).await.unwrap()
}

/// Guards that an item is answered with the status and the JSON of the single route, whatever that is, and in its place.
#[tokio::test]
async fn each_item_is_answered_as_it_would_be_by_itself() {
    let app = TestApp::start().await;
    app.clock.stop_at(app.clock.now_ms());
    let caller = app.caller();
    let items = [
        messages("user:u_1", 3),
        messages("user:u_2", 1_000),
        json!({ "subject": "user:u_1", "metric": "unheard_of" }),
        json!({ "subject": "user:u_3", "model": "claude-sonnet-4", "metadata": { "a": 1 } }),
        messages("org:acme/user:u_1", 0),
        json!({ "model": "claude-sonnet-4" }),
    ];

    let checks = results(&caller, CHECK, &items).await;
    for (item, result) in items.iter().zip(&checks) {
        let alone = caller.post("/v1/check", item).await;
        assert_eq!(result["status"], alone.status.as_u16(), "{item}: {result}");
        let retry_after = result["retry_after_s"].as_u64().map(|seconds| seconds.to_string());
        assert_eq!(retry_after.unwrap_or_default(), alone.header("retry-after"), "{item}");
        let mut expected = alone.body.clone();
        expected["request_id"] = result["body"]["request_id"].clone();
        if expected.get("instance").is_some() {
            expected["instance"] = json!(CHECK);
        }
        assert_eq!(result["body"], expected, "{item}");
    }
    assert_eq!(app.flush().await, 0, "a check writes nothing");

    let charges = results(&caller, CONSUME, &items).await;
    assert_eq!(statuses(&charges), [200, 429, 404, 200, 200, 403]);
    assert_eq!(statuses(&charges), statuses(&checks));
    assert_eq!(charges[0]["body"]["limits"][0]["used"], 3, "{charges:?}");
    assert_eq!(charges[1]["body"]["instance"], CONSUME);
    assert_eq!(charges[4]["body"]["event_id"], Value::Null, "an amount of 0 is not charged");
    assert_ne!(charges[0]["body"]["event_id"], charges[3]["body"]["event_id"]);
    assert!(charges.iter().all(|result| result["replayed"] == json!(false)), "{charges:?}");
    assert_eq!(app.flush().await, 2);
    app.finish().await;
}

/// Guards promise 1 within a batch, and that items share script calls: each item of a hundred is an event of its own.
#[tokio::test]
async fn a_full_batch_is_charged_exactly_and_in_a_few_calls_of_the_script() {
    let app = TestApp::start().await;
    let caller = app.caller();
    assert!(caller.charge("user:u_1", "messages", 40).await.is_allowed());
    let before = script_calls(&app, "user:u_1").await;

    let results = results(&caller, CONSUME, &vec![messages("user:u_1", 1); 100]).await;

    let calls = script_calls(&app, "user:u_1").await - before;
    let statuses = statuses(&results);
    let accepted = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!((accepted, results.len()), (60, 100), "the limit is 100");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    assert!((1..=10).contains(&calls), "{calls} calls of the script for 60 that were accepted");
    assert_eq!(app.flush().await, 61);
    app.finish().await;
}

/// Guards that nothing is charged before all is read, and that the caller learns which item is wrong and why.
#[tokio::test]
async fn a_batch_with_a_bad_item_is_refused_as_a_whole() {
    let app = start().await;
    let caller = app.caller();
    let good = messages("user:u_1", 1);
    let keyed = |amount| {
        let mut item = messages("user:u_1", amount);
        item["idempotency_key"] = json!("k");
        item
    };
    let cases = [
        (json!({ "items": [] }), "items must be a list of 1 to 100 orders"),
        (json!({ "items": vec![good.clone(); 101] }), "items must be a list of 1 to 100 orders"),
        (json!({ "items": good }), "items must be a list of 1 to 100 orders"),
        (json!({ "orders": [good] }), "orders is not a field; a batch has items"),
        (json!([good]), "the body must be an object"),
        (json!({ "items": [good, 7] }), "items[1] must be an object"),
        (json!({ "items": [good, messages("user:", 1)] }), "items[1].subject an id must be 1 to"),
        (
            json!({ "items": [good, { "metric": "messages", "amount": -1 }] }),
            "items[1].amount must",
        ),
        (json!({ "items": [good, { "feature": "export" }] }), "items[1].feature can only be"),
        (json!({ "items": [good, { "metric": "m", "user": 1 }] }), "items[1].user is not a field"),
        (
            json!({ "items": [good, { "metric": "m", "idempotency_key": "two words" }] }),
            "items[1].idempotency_key must be 1 to 255 visible ascii",
        ),
    ];

    for (body, words) in &cases {
        let answer = caller.post(CONSUME, body).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", &[words]);
        assert_eq!(answer.body["instance"], CONSUME);
    }
    let answer = batch(&caller, CONSUME, &[keyed(1), good.clone(), keyed(2)]).await;
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    assert_problem(&answer, status, "idempotency_mismatch", &["items[2].idempotency_key"]);

    finish(app).await;
}

/// Guards the bound of a batch's body, which is above that of others: 128 kB, and not a byte more.
#[tokio::test]
async fn a_batch_is_read_up_to_its_own_bound() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let mut item = messages("user:u_1", 1);
    item["metadata"] = json!({ "note": "x".repeat(1_200) });
    let body = json!({ "items": vec![item; 100] }).to_string();
    let padded = |bytes: usize| format!("{body}{}", " ".repeat(bytes - body.len()));

    let largest = send(&caller, CONSUME, JSON, padded(BYTES_MAX)).await;
    let larger = send(&caller, CONSUME, JSON, padded(BYTES_MAX + 1)).await;

    assert_eq!(largest.status, StatusCode::OK);
    let results = largest.body["results"].as_array().unwrap();
    assert!(statuses(results).iter().all(|status| *status == 200), "{results:?}");
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    assert_problem(&larger, status, "body_too_large", &["131072 bytes"]);
    assert_eq!(app.flush().await, 100);
    app.finish().await;
}

/// Guards promise 4 for items: a key is one charge, in one batch, in the next, and by itself.
#[tokio::test]
async fn items_with_the_same_key_are_charged_once() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let keyed = |subject: &str, key: &str| {
        let mut item = messages(subject, 2);
        item["idempotency_key"] = json!(key);
        item
    };
    let items = [keyed("user:u_1", "k-1"), keyed("user:u_1", "\"k-1\""), keyed("user:u_2", "k-1")];
    let replays = |results: &[Value]| {
        results.iter().filter(|result| result["replayed"] == json!(true)).count()
    };

    let first = results(&caller, CONSUME, &items).await;
    let again = results(&caller, CONSUME, &items).await;
    let alone = caller.keyed("k-1", "/v1/consume", &messages("user:u_1", 2)).await;
    let other = batch(
        &caller,
        CONSUME,
        &[messages("user:u_3", 1), {
            let mut item = keyed("user:u_1", "k-1");
            item["amount"] = json!(3);
            item
        }],
    )
    .await;

    assert_eq!(statuses(&first), [200; 3]);
    assert_eq!(replays(&first), 1, "one of the two repeats the other's answer: {first:?}");
    assert_eq!(first[0]["body"], first[1]["body"]);
    assert_ne!(first[0]["body"]["event_id"], first[2]["body"]["event_id"], "another subject");
    assert_eq!(replays(&again), 3, "{again:?}");
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(first["body"], again["body"]);
    }
    assert!(alone.is_replayed());
    assert_eq!(alone.body, first[0]["body"]);
    let results = other.body["results"].as_array().unwrap();
    assert_eq!(statuses(results), [200, 422], "a key of an earlier request: {other:?}");
    assert_eq!(results[1]["body"]["code"], "idempotency_mismatch");
    assert_eq!(app.flush().await, 3);
    app.finish().await;
}

/// Guards promise 4 for a batch that is sent again as a whole: its own key stands for those of items that have none.
#[tokio::test]
async fn a_batch_that_is_sent_again_under_its_key_is_charged_once() {
    let app = TestApp::start().await;
    let mut named = messages("user:u_1", 1);
    named["idempotency_key"] = json!("k-1");
    let body = json!({ "items": [named, messages("user:u_1", 1), messages("user:u_1", 1)] });
    let send = async || {
        let answer = app.caller().keyed("batch-1", CONSUME, &body).await;
        answer.body["results"].as_array().unwrap().clone()
    };

    let (first, again) = (send().await, send().await);
    let item = app.caller().keyed("batch-1:2", "/v1/consume", &messages("user:u_1", 1)).await;

    for (first, again) in first.iter().zip(&again) {
        assert_eq!((&first["replayed"], &again["replayed"]), (&json!(false), &json!(true)));
        assert_eq!(first["body"], again["body"]);
    }
    assert!(item.is_replayed(), "the key of an item is that of the batch and its place");
    assert_eq!(item.body, first[2]["body"]);
    assert_eq!(app.flush().await, 3);
    app.finish().await;
}

/// Guards least privilege and the fence: the permissions are those of the single routes, and outside of a key's part of the
/// tree nothing exists.
#[tokio::test]
async fn a_batch_goes_no_further_than_the_key() {
    let app = TestApp::start().await;
    let checks = app.caller().with_key(&key(&app, &["check"]).await);
    let consumes = app.caller().with_key(&key(&app, &["consume"]).await);
    let fenced = fenced_key(&app, &["consume"], "org:acme").await;
    let fenced = app.caller().with_key(&fenced);
    let items =
        [messages("org:acme/user:u_1", 1), messages("user:u_1", 1), json!({ "model": "m" })];

    for (caller, allowed, denied) in [(&checks, CHECK, CONSUME), (&consumes, CONSUME, CHECK)] {
        assert_eq!(batch(caller, allowed, &items[..1]).await.status, StatusCode::OK);
        let refused = batch(caller, denied, &items[..1]).await;
        assert_problem(&refused, StatusCode::FORBIDDEN, "permission_denied", &[]);
    }
    let stranger = caller_without_key(&app, &items).await;
    let results = results(&fenced, CONSUME, &items).await;

    assert_problem(&stranger, StatusCode::UNAUTHORIZED, "unauthenticated", &[]);
    assert_eq!(statuses(&results), [200, 404, 404]);
    assert_eq!(results[1]["body"]["code"], "unknown_subject", "{results:?}");
    assert_eq!(app.flush().await, 2);
    app.finish().await;
}

async fn caller_without_key(app: &TestApp, items: &[Value]) -> Answer {
    answer(app.caller().stranger(Method::POST, CONSUME).json(&json!({ "items": items }))).await
}

/// Guards `on_deny`: a caller who wants refusals as 200 gets each item's so.
#[tokio::test]
async fn refusals_of_items_may_be_answered_with_200() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let items = [messages("user:u_1", 1_000), messages("user:u_1", 1)];

    let results = results(&caller, "/v1/consume:batch?on_deny=200", &items).await;
    let unheard = batch(&caller, "/v1/consume:batch?on_deny=201", &items).await;

    assert_eq!(statuses(&results), [200, 200]);
    let allowed: Vec<_> = results.iter().map(|result| &result["body"]["allowed"]).collect();
    assert_eq!(allowed, [&json!(false), &json!(true)]);
    assert_problem(&unheard, StatusCode::BAD_REQUEST, "invalid_request", &["on_deny must be"]);
    assert_eq!(app.flush().await, 1);
    app.finish().await;
}

/// Guards the bound of a batch's time: while Redis does not answer, all items end within the time of one request, and the same
/// keys find out what happened.
#[tokio::test]
async fn a_batch_ends_in_time_while_redis_does_not_answer() {
    let options = Options::default()
        .with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 200)
        .with("HEADROOM_REDIS_RESPONSE_TIMEOUT_MS", 50);
    let app = TestApp::start_with(options).await;
    let caller = app.caller();
    let items: Vec<Value> = (0..100)
        .map(|at| {
            let mut item = messages(&format!("user:u_{}", at % 7), 1);
            item["idempotency_key"] = json!(format!("k-{at}"));
            item
        })
        .collect();
    let looks: Vec<Value> = (0..7).map(|at| messages(&format!("user:u_{at}"), 0)).collect();
    assert_eq!(statuses(&results(&caller, CONSUME, &looks).await), [200; 7], "all are loaded");
    let mut redis = app.redis().await;
    pause(&mut redis).await;

    let late = results(&caller, CONSUME, &items).await;
    resume(&mut redis).await;
    let again = results(&caller, CONSUME, &items).await;

    for result in &late {
        assert_eq!(result["status"], 503, "{result}");
        assert_eq!(result["body"]["code"], "store_unavailable");
        assert!(result["retry_after_s"].as_u64().is_some_and(|seconds| seconds >= 1));
    }
    assert!(statuses(&again).iter().all(|status| *status == 200), "{again:?}");
    assert_eq!(app.flush().await, 100, "whether it was charged the first time or the second");
    app.finish().await;
}
