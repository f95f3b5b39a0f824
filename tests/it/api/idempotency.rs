//! `Idempotency-Key` over HTTP.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::answer;

async fn send(app: &TestApp, headers: &[(&str, &str)], body: &Value) -> Answer {
    let caller = app.caller();
    let request = caller.request(Method::POST, "/v1/consume").json(body);
    answer(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
        .await
}

fn message(subject: &str) -> Value {
    json!({ "subject": subject, "model": "claude-sonnet-4" })
}

/// Guards promise 2: one key is one charge, however the header is spelled.
#[tokio::test]
async fn the_same_key_gets_the_same_answer_in_every_spelling() {
    let app = TestApp::start().await;
    let body = message("user:u_1");

    let first = send(&app, &[("idempotency-key", "\"k-1\"")], &body).await;
    let quoted = send(&app, &[("idempotency-key", "\"k-1\"")], &body).await;
    let bare = send(&app, &[("idempotency-key", "k-1")], &body).await;
    let old = send(&app, &[("x-idempotency-key", "k-1")], &body).await;
    let both = send(&app, &[("idempotency-key", "\"k-1\""), ("x-idempotency-key", "k-1")], &body);
    let replays = [quoted, bare, old, both.await];

    assert!(first.is_allowed() && !first.headers.contains_key("idempotent-replayed"));
    for replay in replays {
        assert_eq!((replay.status, &replay.body), (first.status, &first.body));
        assert_eq!(replay.header("idempotent-replayed"), "true");
        for name in ["ratelimit", "ratelimit-policy"] {
            assert_eq!(replay.header(name), first.header(name));
        }
    }
    assert_eq!(app.flush().await, 1);
    app.finish().await;
}

/// Guards that a key never answers for another request: that is the caller's mistake, and told.
#[tokio::test]
async fn a_key_with_another_payload_is_refused() {
    let app = TestApp::start().await;
    let key = [("idempotency-key", "\"k-1\"")];
    assert!(send(&app, &key, &message("user:u_1")).await.is_allowed());

    for other in [
        json!({ "subject": "user:u_1", "model": "gemini-2.0-flash" }),
        json!({ "subject": "user:u_1", "model": "claude-sonnet-4", "amount": 2 }),
        json!({ "subject": "user:u_1", "metric": "messages" }),
        json!({ "subject": "user:u_1", "model": "claude-sonnet-4", "metadata": { "a": 1 } }),
    ] {
        let answer = send(&app, &key, &other).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{other}: {answer:?}");
        assert_eq!(answer.code(), "idempotency_mismatch");
    }

    let neighbour = send(&app, &key, &message("user:u_2")).await;
    assert!(neighbour.is_allowed(), "keys belong to a subject: {neighbour:?}");
    assert_eq!(app.flush().await, 2);
    app.finish().await;
}

/// Guards that refusals are not stored: after a reset or an upgrade the same key may pass.
#[tokio::test]
async fn a_refusal_is_not_remembered() {
    let app = TestApp::start().await;
    let key = [("idempotency-key", "\"k-1\"")];
    let all = json!({ "subject": "user:u_1", "model": "claude-sonnet-4", "amount": 20 });
    assert!(app.caller().post("/v1/consume", &all).await.is_allowed());

    let refused = send(&app, &key, &message("user:u_1")).await;
    let reset = app.caller().delete("/v1/subjects/user:u_1/usage").await;
    let accepted = send(&app, &key, &message("user:u_1")).await;

    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(reset.status, StatusCode::OK);
    assert!(accepted.is_allowed() && !accepted.headers.contains_key("idempotent-replayed"));
    app.finish().await;
}

/// Guards the form of keys: what cannot be told apart safely is refused before anything is charged.
#[tokio::test]
async fn a_key_of_a_wrong_form_is_refused() {
    let app = TestApp::start().await;
    let long = "k".repeat(256);
    let wrong: [&[(&str, &str)]; 6] = [
        &[("idempotency-key", "")],
        &[("idempotency-key", "\"\"")],
        &[("idempotency-key", "\"open")],
        &[("idempotency-key", "two words")],
        &[("idempotency-key", &long)],
        &[("idempotency-key", "a"), ("x-idempotency-key", "b")],
    ];

    for headers in wrong {
        let answer = send(&app, headers, &message("user:u_1")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{headers:?}");
        assert!(answer.detail().starts_with("Idempotency-Key "), "{answer:?}");
    }

    assert_eq!(app.flush().await, 0);
    app.finish().await;
}

/// Guards promise 4 for what admins do to counters: a repetition under the same key changes nothing and answers the same
/// event and changes; another payload under it is refused.
#[tokio::test]
async fn a_repeated_act_on_counters_is_done_once() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let usage = "/v1/subjects/user:u_1/usage";
    assert!(
        send(&app, &[], &json!({ "subject": "user:u_1", "metric": "messages", "amount": 9 }))
            .await
            .is_allowed()
    );
    let act = async |method: Method, path: String, body: Option<Value>, key: &str| {
        let request = caller.request(method, &path).header("idempotency-key", key);
        answer(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    };
    let decrement = format!("{usage}/messages:decrement");
    let lower = async |units: u64| {
        act(Method::POST, decrement.clone(), Some(json!({ "amount": units })), "d").await
    };
    let set = async || {
        act(Method::PUT, format!("{usage}/messages"), Some(json!({ "value": 40 })), "s").await
    };
    let reset = async || act(Method::DELETE, usage.to_owned(), None, "r").await;

    let (lowered, again, other) = (lower(2).await, lower(2).await, lower(3).await);
    let (first_set, second_set) = (set().await, set().await);
    let (first_reset, second_reset) = (reset().await, reset().await);

    assert_eq!(lowered.body["usage"]["limits"][0]["used"], 7, "{lowered:?}");
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{other:?}");
    assert_eq!(first_reset.body["usage"]["limits"][0]["used"], 0, "{first_reset:?}");
    for (first, second) in [(lowered, again), (first_set, second_set), (first_reset, second_reset)]
    {
        assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::OK));
        let without_request = |answer: &Answer| {
            let mut body = answer.body.clone();
            body["usage"]["request_id"] = Value::Null;
            body
        };
        assert_eq!(without_request(&first), without_request(&second));
    }
    assert_eq!(app.flush().await, 4);
    app.finish().await;
}
