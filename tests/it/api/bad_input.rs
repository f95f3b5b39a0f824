//! What is not a request: each gets a 4xx that names the field and its bound, and none touches a counter.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::ADMIN_KEY;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::Caller;
use crate::support::caller::answer;
use crate::support::raw::RawConnection;

pub(super) const JSON: &str = "application/json";

/// A node on which `user:u_1` has used 5 messages.
pub(super) async fn start() -> TestApp {
    let app = TestApp::start().await;
    let body = json!({ "subject": "user:u_1", "model": "claude-sonnet-4", "amount": 5 });
    assert!(app.caller().post("/v1/consume", &body).await.is_allowed());
    app
}

/// Fails when anything but the first five messages was charged.
pub(super) async fn finish(app: TestApp) {
    let usage = app.caller().get("/v1/subjects/user:u_1/usage").await;
    assert_eq!((usage.used("messages-month"), usage.used("premium_messages-month")), (5, 5));
    assert_eq!(app.flush().await, 1, "only the first request is an event");
    app.finish().await;
}

pub(super) async fn send(
    caller: &Caller,
    route: &str,
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> Answer {
    let request = caller.request(Method::POST, route).header("content-type", content_type);
    answer(request.body(body)).await
}

/// Fails unless the answer is a problem with these words in its detail.
pub(crate) fn assert_problem(answer: &Answer, status: StatusCode, code: &str, words: &[&str]) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.body["status"], status.as_u16());
    assert!(words.iter().all(|word| answer.detail().contains(word)), "{words:?}: {answer:?}");
    assert!(answer.text.len() < 1_000, "the caller's text is not repeated at length");
}

/// Guards the reader of bodies: what is not JSON, not declared so, or too long.
#[tokio::test]
async fn a_body_that_is_no_json_is_refused_as_a_whole() {
    let app = start().await;
    let caller = app.caller();
    let nested = format!(r#"{{"subject":{}"#, "[".repeat(8_000));
    let broken: [&[u8]; 10] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\"user:u_1\"",
        br#"{"model":"m",}"#,
        br#"{"model":"m"} {}"#,
        b"{\"model\":\"\xff\xfe\"}",
        b"\xef\xbb\xbf{\"model\":\"m\"}",
        nested.as_bytes(),
    ];
    let good = json!({ "subject": "user:u_1", "model": "claude-sonnet-4" }).to_string();
    let large = format!("{}{good}", " ".repeat(16_384));

    for body in broken {
        let answer = send(&caller, "/v1/consume", JSON, body.to_vec()).await;
        let text = String::from_utf8_lossy(body);
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{text}: {answer:?}");
        assert!(answer.detail().starts_with("the body "), "{text}: {answer:?}");
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        let answer = send(&caller, "/v1/consume", content_type, good.clone()).await;
        let words = ["application/json"];
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        assert_problem(&answer, status, "unsupported_media_type", &words);
    }
    let answer = send(&caller, "/v1/consume", JSON, large.clone()).await;
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    assert_problem(&answer, status, "body_too_large", &["16384 bytes"]);
    let mut unannounced = RawConnection::open(app.address()).await;
    let head = format!(
        "POST /v1/consume HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {ADMIN_KEY}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    unannounced.send(format!("{head}{:x}\r\n{large}\r\n0\r\n\r\n", large.len())).await;
    assert_eq!(unannounced.answer().await.unwrap().status, 413);

    finish(app).await;
}

/// Guards that a query which is not understood is never taken for one that asks for less.
#[tokio::test]
async fn a_query_that_is_not_understood_is_refused() {
    let app = start().await;
    let caller = app.caller();
    let body = json!({ "subject": "user:u_1", "model": "claude-sonnet-4" });
    let usage = "/v1/subjects/user:u_1/usage";
    let bad: [(Method, String, &str); 11] = [
        (Method::POST, "/v1/consume?on_denny=200".into(), "on_denny"),
        (Method::POST, "/v1/consume?on_deny=201".into(), "on_deny must be 200 or 429"),
        (Method::POST, "/v1/consume?on_deny=200&on_deny=429".into(), "on_deny"),
        (Method::POST, "/v1/check?amount=1".into(), "amount"),
        (Method::GET, format!("{usage}?metirc=messages"), "metirc"),
        (Method::DELETE, format!("{usage}?metirc=messages"), "metirc"),
        (Method::DELETE, format!("{usage}?period=year"), "period must be"),
        (Method::DELETE, format!("{usage}?period="), "period must be"),
        (Method::DELETE, format!("{usage}?metric=Messages"), "metric must be"),
        (Method::DELETE, "/api/usage?user=u_1".into(), "user"),
        (Method::DELETE, "/api/usage?userId=u_1%2Fuser:u_2".into(), "userId"),
    ];

    for (method, path, named) in bad {
        let answer = answer(caller.request(method, &path).json(&body)).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", &[named]);
    }

    finish(app).await;
}

/// Guards the path as a place for user text: it names a subject, or nothing.
#[tokio::test]
async fn a_path_holds_a_subject_or_is_refused() {
    let app = start().await;
    let caller = app.caller();
    let long = format!("user:{}", "x".repeat(10_240));
    let bad = [
        ("user:%7Bx%7D", "subject an id must be"),
        ("user:a%00b", "subject an id must be"),
        ("user:a%2Fb", "subject each segment"),
        ("user:a%2F", "subject each segment"),
        ("%2F..%2Fuser:u_1", "subject each segment"),
        ("user:a%0D%0Ab", "subject an id must be"),
        ("user:%C3%A9", "subject an id must be"),
        ("user:%FF", "subject must be percent-encoded"),
        ("u_1", "subject each segment"),
        ("", "subject must not be empty"),
        (&long, "subject an id must be 1 to 128"),
    ];

    for method in [Method::GET, Method::DELETE] {
        for (subject, words) in bad {
            let path = format!("/v1/subjects/{subject}/usage");
            let answer = answer(caller.request(method.clone(), &path)).await;
            assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", &[words]);
        }
    }
    let below = caller.get("/v1/subjects/org%3Aacme%2Fuser%3Au_1/usage").await;
    assert_eq!(
        (below.status, &below.body["subject"]),
        (StatusCode::OK, &json!("org:acme/user:u_1"))
    );

    finish(app).await;
}

/// Guards that there is nothing beside the documented routes.
#[tokio::test]
async fn other_routes_and_methods_do_not_exist() {
    let app = start().await;
    let caller = app.caller();
    let paths = [
        "/",
        "/v1",
        "/v1/",
        "/v1/consume/",
        "/v1/subjects",
        "/V1/consume",
        "/v1/subjects/user:u_1/usage/",
        "/api",
        "/.env",
    ];
    let methods = [
        (Method::GET, "/v1/consume", "POST"),
        (Method::PUT, "/v1/check", "POST"),
        (Method::POST, "/api/usage", "DELETE"),
        (Method::PATCH, "/v1/subjects/user:u_1/usage", "DELETE"),
        (Method::OPTIONS, "/v1/consume", "POST"),
        (Method::POST, "/livez", "GET"),
        (Method::DELETE, "/metrics", "GET"),
    ];

    for path in paths {
        for request in [caller.request(Method::GET, path), caller.stranger(Method::POST, path)] {
            let answer = answer(request).await;
            assert_problem(&answer, StatusCode::NOT_FOUND, "unknown_route", &["no such route"]);
        }
    }
    for (method, path, allowed) in methods {
        let answer = answer(caller.request(method, path)).await;
        let status = StatusCode::METHOD_NOT_ALLOWED;
        assert_problem(&answer, status, "method_not_allowed", &[]);
        assert!(answer.header("allow").contains(allowed), "{path}: {answer:?}");
    }

    finish(app).await;
}
