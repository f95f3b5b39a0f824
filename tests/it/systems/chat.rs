//! Document 002: a chat with 100 messages a month, 20 of them premium, and one model for those who have not signed in.

use reqwest::StatusCode;
use serde_json::json;

use super::maxima;
use super::move_to;
use super::put;
use super::start;
use super::usage;

const PREMIUM: [&str; 6] = [
    "claude-3.5-sonnet",
    "claude-3-haiku",
    "claude-3-opus",
    "claude-3.7-sonnet",
    "claude-sonnet-4",
    "claude-opus-4",
];

/// Guards the document's limits, and that its six models are the premium ones.
#[tokio::test]
async fn a_hundred_messages_a_month_of_which_twenty_are_premium() {
    let app = start("chat").await;
    let caller = app.caller();

    for model in PREMIUM.into_iter().cycle().take(20) {
        assert!(caller.consume("user:user_123", model).await.is_allowed(), "{model}");
    }
    let twenty_first = caller.consume("user:user_123", PREMIUM[0]).await;
    let body = json!({ "subject": "user:user_123", "model": "gemini-2.0-flash", "amount": 80 });
    let others = caller.post("/v1/consume", &body).await;
    let hundred_and_first = caller.consume("user:user_123", "gemini-2.0-flash").await;

    let both = [("messages-month", json!(100)), ("premium_messages-month", json!(20))];
    assert_eq!(maxima(&usage(&app, "user:user_123").await), both);
    assert_eq!(twenty_first.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(twenty_first.body["violated-policies"], json!(["premium_messages-month"]));
    assert!(others.is_allowed());
    assert_eq!(hundred_and_first.body["violated-policies"], json!(["messages-month"]));
    app.finish().await;
}

/// Guards the document's restriction: without a sign-in one model is open, and the premium ones are a 403.
#[tokio::test]
async fn whoever_has_not_signed_in_may_use_one_model() {
    let app = start("chat").await;
    let subject = "anonymous:203.0.113.7";

    let open = app.caller().consume(subject, "gemini-2.0-flash").await;

    assert!(open.is_allowed(), "{open:?}");
    for model in PREMIUM.into_iter().chain(["gemini-2.5-pro", "gpt-4o"]) {
        let closed = app.caller().consume(subject, model).await;
        assert_eq!((closed.status, closed.code()), (StatusCode::FORBIDDEN, "model_not_allowed"));
    }
    app.finish().await;
}

/// Guards the document's answer to the letter: its numbers, and a month that began on the 15th of January.
#[tokio::test]
async fn the_usage_is_the_document_s_example() {
    let app = start("chat").await;
    move_to(&app, "2024-01-20T12:00:00Z");
    put(&app, "user:user_123", &json!({ "anchor_day": 15 })).await;
    for (model, amount) in [("claude-opus-4", 12), ("gemini-2.0-flash", 33)] {
        let body = json!({ "subject": "user:user_123", "model": model, "amount": amount });
        assert!(app.caller().post("/v1/consume", &body).await.is_allowed());
    }

    let answer = app.caller().get("/api/usage?userId=user_123").await;

    assert_eq!(
        answer.text,
        "{\"userId\":\"user_123\",\"totalMessages\":45,\"premiumMessages\":12,\
         \"lastReset\":\"2024-01-15T00:00:00.000Z\",\"canSendMessage\":true,\
         \"canSendPremiumMessage\":true}"
    );
    move_to(&app, "2024-02-15T00:00:00Z");
    let next = app.caller().get("/api/usage?userId=user_123").await;
    assert_eq!(next.body["lastReset"], "2024-02-15T00:00:00.000Z");
    assert_eq!(next.body["totalMessages"], 0);
    app.finish().await;
}
