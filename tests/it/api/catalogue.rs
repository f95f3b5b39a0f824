//! `GET` and `PUT /v1/models` and `/v1/catalogue`.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::bad_input::JSON;
use super::bad_input::assert_problem;
use super::told;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::answer;

/// Guards the list of models: whole, in its order, and in force when the put is answered.
#[tokio::test]
async fn models_are_replaced_as_a_list_in_its_order() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let before = caller.get("/v1/models").await;
    let models = json!([
        { "names": ["claude-*"], "charges": { "messages": 3 } },
        { "names": ["*"], "charges": { "messages": 1 }, "anonymous": true },
    ]);

    let put = caller.put("/v1/models", before.etag(), &json!({ "models": models })).await;
    let read = caller.get("/v1/models").await;
    let charged = caller.consume("user:u_1", "claude-sonnet-4").await;
    let anonymous = caller.post("/v1/consume", &json!({ "model": "gpt-5" })).await;

    assert_eq!((put.status, put.etag()), (StatusCode::OK, "\"2\""), "{put:?}");
    assert_eq!(read.body, json!({ "version": 2, "models": models }));
    assert_eq!(charged.used("messages-month"), 3);
    assert!(anonymous.is_allowed(), "{anonymous:?}");
    for (body, words) in [
        (json!([]), &["the body"][..]),
        (json!({ "models": [{ "names": ["a"] }] }), &["models[0]", "missing field `charges`"]),
        (json!({ "models": [{ "names": ["a"], "charges": { "x": 1 } }] }), &["models[0]", "\"x\""]),
        (
            json!({ "models": [{ "names": ["a"], "charges": { "messages": 2_147_483_649_u32 } }] }),
            &["models[0].charges.messages must be at most 2147483648"],
        ),
        (json!({ "models": [], "color": 1 }), &["color", "unknown field"]),
    ] {
        let refused = caller.put("/v1/models", "*", &body).await;
        assert_problem(&refused, StatusCode::BAD_REQUEST, "invalid_request", words);
    }
    let stale = caller.put("/v1/models", "\"1\"", &json!({ "models": [] })).await;
    assert_problem(&stale, StatusCode::PRECONDITION_FAILED, "stale_write", &["than 2"]);
    let bare = caller.request(Method::PUT, "/v1/models").json(&json!({ "models": [] }));
    assert_eq!(told(&answer(bare).await), (428, "precondition_required"));
    app.finish().await;
}

/// Guards the catalogue as one document: it comes back as it was put, and replaces everything.
#[tokio::test]
async fn the_catalogue_is_replaced_as_a_whole() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let catalogue = json!({
        "metrics": ["tokens"], "features": ["export"], "default_plan": "free", "anonymous_plan": null,
        "scope_plans": { "org": "team" },
        "plans": {
            "free": { "limits": [{ "metric": "tokens", "period": "day", "max": 5 }] },
            "team": { "features": ["export"] },
        },
        "models": [{ "names": ["*"], "charges": { "tokens": 1 } }],
    });
    let before = caller.get("/v1/catalogue").await;

    let put = caller.put("/v1/catalogue", before.etag(), &catalogue).await;
    let read = caller.get("/v1/catalogue").await;
    let charged = caller.charge("user:u_1", "tokens", 5).await;
    let gone = caller.charge("user:u_1", "messages", 1).await;

    assert_eq!((put.status, put.etag()), (StatusCode::OK, "\"2\""), "{put:?}");
    assert_eq!((read.etag(), &read.body), (put.etag(), &put.body));
    let mut body = read.body;
    assert_eq!(body.as_object_mut().unwrap().remove("version"), Some(json!(2)));
    assert_eq!(body, catalogue);
    assert_eq!(charged.used("tokens-day"), 5);
    assert_eq!(told(&gone), (404, "unknown_metric"));
    let stale = caller.put("/v1/catalogue", before.etag(), &catalogue).await;
    assert_problem(&stale, StatusCode::PRECONDITION_FAILED, "stale_write", &["than 2"]);
    let exists = caller.put_new("/v1/catalogue", &catalogue).await;
    assert_eq!(told(&exists), (412, "stale_write"));
    app.finish().await;
}

/// Guards changes at once that are based on whatever there is: each is made on top of the others, and none is refused.
#[tokio::test]
async fn plans_that_are_put_at_once_are_all_there() {
    let app = TestApp::start().await;
    let caller = app.caller();

    let puts = (0..6_usize).map(|at| {
        let caller = &caller;
        async move { caller.put(&format!("/v1/plans/plan_{at}"), "*", &plan(at, 1)).await }
    });
    let puts = futures_util::future::join_all(puts).await;

    let mut versions: Vec<&str> = puts.iter().map(Answer::etag).collect();
    versions.sort_unstable();
    assert_eq!(versions, ["\"2\"", "\"3\"", "\"4\"", "\"5\"", "\"6\"", "\"7\""], "{puts:?}");
    let plans = caller.get("/v1/plans").await;
    let names = (0..6_usize).map(|at| format!("plan_{at}"));
    assert!(names.into_iter().all(|name| plans.text.contains(&name)), "{plans:?}");
    app.finish().await;
}

/// Guards the size of a catalogue: far above that of other bodies, and bounded.
#[tokio::test]
async fn a_catalogue_may_be_large_up_to_its_bound() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let mut catalogue = json!({ "metrics": ["messages"], "plans": {} });
    for at in 0..1_000 {
        catalogue["plans"][format!("plan_{at}")] = plan(at, 200);
    }
    let put = async |body: String| {
        let request = caller.request(Method::PUT, "/v1/catalogue").header("if-match", "*");
        answer(request.header("content-type", JSON).body(body)).await
    };
    let text = catalogue.to_string();
    assert!(text.len() > 200_000);

    let large = put(text.clone()).await;
    let above = put(format!("{text}{}", " ".repeat(1_048_577 - text.len()))).await;
    for at in 0..1_000 {
        catalogue["plans"][format!("plan_{at}")]["upgrade_url"] = json!("u".repeat(790));
    }
    let grown = catalogue.to_string();
    assert!((1_042_000..=1_048_576).contains(&grown.len()), "{}", grown.len());
    let in_postgres_too_large = put(grown).await;

    assert_eq!((large.status, large.etag()), (StatusCode::OK, "\"2\""), "{}", large.text.len());
    assert_problem(&above, StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &["1048576 bytes"]);
    let words = ["the catalogue", "1 MiB"];
    assert_problem(&in_postgres_too_large, StatusCode::BAD_REQUEST, "invalid_request", &words);
    app.finish().await;
}

/// A plan with a title of that length.
fn plan(at: usize, title_bytes: usize) -> Value {
    json!({ "title": "t".repeat(title_bytes), "price": at })
}
