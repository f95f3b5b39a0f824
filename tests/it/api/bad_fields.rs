//! Fields of an order that are out of bounds.

use reqwest::StatusCode;
use serde_json::json;

use super::bad_input::JSON;
use super::bad_input::assert_problem;
use super::bad_input::finish;
use super::bad_input::send;
use super::bad_input::start;

/// Guards the bounds of every field of an order.
#[tokio::test]
async fn a_field_out_of_bounds_is_named_with_its_bound() {
    let app = start().await;
    let subject = |text: &str| json!({ "subject": text, "model": "m" }).to_string();
    let amount = |text: &str| {
        format!(r#"{{"subject":"user:u_1","model":"claude-sonnet-4","amount":{text}}}"#)
    };
    let with = |rest: &str| format!(r#"{{"subject":"user:u_1",{rest}}}"#);
    let long = "x".repeat(10_240);
    let range: &[&str] = &["amount must be", "between 0 and 2147483648"];
    let cases: Vec<(String, &[&str])> = vec![
        (subject("user:{x}"), &["subject", "visible ascii", "{"]),
        (subject("user:a/b"), &["subject", "scope:id"]),
        (subject("user:a//b:c"), &["subject", "scope:id"]),
        (subject("a:1/b:2/c:3/d:4/e:5"), &["subject", "at most 4 segments"]),
        (subject("user:a\0b"), &["subject", "visible ascii"]),
        (subject("user:a\nb"), &["subject", "visible ascii"]),
        (subject("user:*"), &["subject", "visible ascii", "*"]),
        (subject("User:u"), &["subject", "a-z"]),
        (subject("user:"), &["subject", "1 to 128"]),
        (subject(""), &["subject", "must not be empty"]),
        (subject(&format!("user:{long}")), &["subject", "1 to 128"]),
        (amount("-1"), range),
        (amount("0.5"), range),
        (amount("1.0"), range),
        (amount("2147483649"), range),
        (amount("9007199254740992"), range),
        (amount("99999999999999999999"), range),
        (amount("1e400"), range),
        (amount(r#""1""#), range),
        (amount("true"), range),
        (with(&format!(r#""model":"{long}""#)), &["model", "1 to 128"]),
        (with(r#""model":"a\u0000b""#), &["model", "visible ascii"]),
        (with(r#""model":7"#), &["model", "text"]),
        (with(r#""metric":"Messages""#), &["metric", "1 to 64"]),
        (with(r#""model":"m","metric":"messages""#), &["model", "metric", "exclude"]),
        (with(r#""amount":1"#), &["model", "metric", "needed"]),
        (with(r#""model":"m","occurred_at":"2026-01-01T00:00:00Z""#), &["occurred_at"]),
        (with(r#""model":"m","user":"u_1""#), &["user is not a field", "subject, model"]),
        (with(r#""model":"m","model":"n""#), &["model", "duplicate"]),
        (with(r#""model":"m","metadata":[1]"#), &["metadata", "object"]),
        (with(r#""model":"m","metadata":{"a":"\u0000"}"#), &["metadata", "u0000"]),
        (
            with(&format!(r#""model":"m","metadata":{{"a":"{}"}}"#, &long[..2_048])),
            &["metadata", "2048 bytes"],
        ),
        (
            with(&format!(
                r#""model":"m","metadata":{{"a":{}{}}}"#,
                "[".repeat(500),
                "]".repeat(500)
            )),
            &["metadata"],
        ),
    ];

    for route in ["/v1/consume", "/v1/check"] {
        for (body, words) in &cases {
            let answer = send(&app.caller(), route, JSON, body.clone()).await;
            assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", words);
        }
    }

    finish(app).await;
}
