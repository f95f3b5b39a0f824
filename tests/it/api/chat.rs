//! `GET` and `DELETE /api/usage`, with exactly the JSON of the chat interface that they replace.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::keys::key;
use super::move_to;
use super::tokens;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::answer;

const PATH: &str = "/api/usage?userId=user_123";

/// Sends messages of `user:user_123`: `premium` of `total` on a premium model.
async fn send_messages(app: &TestApp, total: u64, premium: u64) {
    for (model, amount) in [("claude-opus-4", premium), ("gemini-2.0-flash", total - premium)] {
        let body = json!({ "subject": "user:user_123", "model": model, "amount": amount });
        assert!(app.caller().post("/v1/consume", &body).await.is_allowed());
    }
}

fn usage(total: u64, premium: u64, last_reset: &str, can_send: [bool; 2]) -> Value {
    json!({
        "userId": "user_123",
        "totalMessages": total,
        "premiumMessages": premium,
        "lastReset": last_reset,
        "canSendMessage": can_send[0],
        "canSendPremiumMessage": can_send[1],
    })
}

fn assert_usage(answer: &Answer, expected: &Value) {
    assert_eq!((answer.status, &answer.body), (StatusCode::OK, expected), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// Guards the document's example: the same fields, the same types, and nothing else.
#[tokio::test]
async fn the_usage_of_a_user_is_the_document_s_json() {
    const MONTH: &str = "2027-02-01T00:00:00.000Z";
    let app = TestApp::start().await;
    move_to(&app, "2027-02-10T12:00:00Z");

    let fresh = app.caller().get(PATH).await;
    send_messages(&app, 45, 12).await;
    let used = app.caller().get(PATH).await;
    send_messages(&app, 8, 8).await;
    let premium_spent = app.caller().get(PATH).await;
    send_messages(&app, 47, 0).await;
    let all_spent = app.caller().get(PATH).await;
    move_to(&app, "2027-03-01T00:00:00Z");
    let next_month = app.caller().get(PATH).await;

    assert_usage(&fresh, &usage(0, 0, MONTH, [true, true]));
    assert_usage(&used, &usage(45, 12, MONTH, [true, true]));
    assert_usage(&premium_spent, &usage(53, 20, MONTH, [true, false]));
    assert_usage(&all_spent, &usage(100, 20, MONTH, [false, false]));
    assert_usage(&next_month, &usage(0, 0, "2027-03-01T00:00:00.000Z", [true, true]));
    app.finish().await;
}

/// Guards the document's reset: an admin's, at once, and remembered.
#[tokio::test]
async fn a_reset_gives_the_month_back_and_tells_when() {
    let app = TestApp::start().await;
    move_to(&app, "2027-02-10T12:00:00Z");
    send_messages(&app, 100, 20).await;

    let reset = app.caller().delete(PATH).await;
    let afterwards = app.caller().get(PATH).await;

    let last_reset = reset.body["lastReset"].as_str().unwrap();
    let has_form = last_reset.len() == 24 && last_reset.ends_with('Z');
    assert!(has_form && last_reset.starts_with("2027-02-10T12:"), "{last_reset}");
    assert_usage(&reset, &usage(0, 0, last_reset, [true, true]));
    assert_usage(&afterwards, &reset.body);
    send_messages(&app, 30, 5).await;
    let later = app.caller().get(PATH).await;
    assert_usage(&later, &usage(30, 5, last_reset, [true, true]));
    app.finish().await;
}

/// Guards the document's 401 and 403.
#[tokio::test]
async fn strangers_get_401_and_only_admins_may_reset() {
    let app = TestApp::start().await;
    send_messages(&app, 2, 1).await;
    let reader = app.caller().with_key(&key(&app, &["read"]).await);
    let backend = app.caller().with_key(&key(&app, &["check", "consume", "read"]).await);

    for method in [Method::GET, Method::DELETE] {
        let stranger = answer(app.caller().stranger(method.clone(), PATH)).await;
        assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
        assert_eq!(stranger.header("www-authenticate"), "Bearer realm=\"headroom\"");
        assert_eq!(stranger.code(), "unauthenticated");
        let liar = answer(app.caller().with_key("hr_live_x").request(method, PATH)).await;
        assert_eq!(liar.status, StatusCode::UNAUTHORIZED);
        let challenge = "Bearer realm=\"headroom\", error=\"invalid_token\"";
        assert_eq!(liar.header("www-authenticate"), challenge);
    }
    for caller in [&reader, &backend] {
        let refused = caller.delete(PATH).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "permission_denied"));
        assert_eq!(caller.get(PATH).await.body["totalMessages"], 2);
    }
    let nobody = reader.get("/api/usage").await;
    assert_eq!(nobody.status, StatusCode::BAD_REQUEST);
    assert!(nobody.detail().starts_with("userId "), "{nobody:?}");
    app.finish().await;
}

/// Guards the isolation of users: a token sees its own usage and no other.
#[tokio::test]
async fn a_user_with_a_token_sees_only_themselves() {
    let app = TestApp::start_with(tokens::hs256()).await;
    send_messages(&app, 3, 1).await;
    let user = app.caller().with_key(&tokens::signed(&tokens::claims("user_123")));
    let other = app.caller().with_key(&tokens::signed(&tokens::claims("user_124")));

    let (own, named) = (user.get("/api/usage").await, user.get(PATH).await);
    let (theirs, prying) = (other.get("/api/usage").await, other.get(PATH).await);

    assert_eq!((own.status, &own.body["totalMessages"]), (StatusCode::OK, &json!(3)));
    assert_eq!(named.body, own.body);
    assert_eq!(
        (&theirs.body["userId"], &theirs.body["totalMessages"]),
        (&json!("user_124"), &json!(0))
    );
    assert_eq!((prying.status, prying.code()), (StatusCode::NOT_FOUND, "unknown_subject"));
    for path in ["/api/usage", PATH] {
        assert_eq!(user.delete(path).await.status, StatusCode::FORBIDDEN);
    }
    app.finish().await;
}
