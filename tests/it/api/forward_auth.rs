//! `GET /v1/forward-auth`, as nginx and Traefik ask it.

use reqwest::Method;
use reqwest::StatusCode;

use super::keys;
use super::tokens;
use super::told;
use crate::support::ADMIN_KEY;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::answer;

const SUBJECT: &str = "x-headroom-subject";
const MODEL: &str = "x-headroom-model";
const METRIC: &str = "x-headroom-metric";
const REQUEST_ID: &str = "x-request-id";

/// What a gateway asks, with the headers that it sets and those that slip through.
async fn ask(app: &TestApp, query: &str, headers: &[(&str, &str)]) -> Answer {
    let path = format!("/v1/forward-auth{query}");
    let request = app.caller().stranger(Method::GET, &path);
    answer(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
        .await
}

/// The same of a gateway that holds a key.
async fn vouch(app: &TestApp, query: &str, headers: &[(&str, &str)]) -> Answer {
    ask(app, query, &[&[("x-api-key", ADMIN_KEY)], headers].concat()).await
}

async fn used(app: &TestApp, subject: &str) -> u64 {
    app.caller().get(&format!("/v1/subjects/{subject}/usage")).await.used("messages-month")
}

fn bearer(user: &str) -> String {
    format!("Bearer {}", tokens::signed(&tokens::claims(user)))
}

/// Guards the gateway's way: it says who and what, and the headers say what a consume's do.
#[tokio::test]
async fn a_gateway_with_a_key_charges_whom_it_names() {
    let app = TestApp::start().await;

    let by_headers = vouch(&app, "", &[(SUBJECT, "user:u_1"), (MODEL, "claude-sonnet-4")]).await;
    let by_query = vouch(&app, "?subject=user:u_1&metric=messages&amount=3", &[]).await;
    let looked = vouch(&app, "?subject=user:u_1&metric=messages&amount=0", &[]).await;

    assert!(by_headers.is_allowed() && by_query.is_allowed() && looked.is_allowed());
    assert_eq!(by_headers.header("x-headroom-event-id"), by_headers.event_id().to_string());
    assert_eq!(by_headers.header(SUBJECT), "user:u_1");
    assert_eq!(by_headers.header("x-headroom-plan"), "chat");
    assert_eq!(by_headers.used("premium_messages-month"), 1);
    assert!(by_query.header("ratelimit").starts_with("\"messages-month\";r=96;"));
    assert_eq!(looked.header("x-headroom-event-id"), "", "nothing was charged");
    assert_eq!(looked.used("messages-month"), 4);
    app.finish().await;
}

/// Guards the key's other place: `Authorization: Bearer`, where no token can be beside it.
#[tokio::test]
async fn a_key_may_come_as_the_bearer() {
    let app = TestApp::start().await;
    let key = format!("Bearer {ADMIN_KEY}");

    let headers = [("authorization", key.as_str()), (SUBJECT, "user:u_1"), (METRIC, "messages")];

    assert!(ask(&app, "", &headers).await.is_allowed());
    app.finish().await;
}

/// Guards end users' own way: a token charges its user by the query, and no header is believed.
#[tokio::test]
async fn a_token_alone_charges_its_user_by_the_query() {
    let app = TestApp::start_with(tokens::hs256()).await;
    let (bearer, query) = (bearer("u_1"), "?model=claude-sonnet-4");
    let token = ("authorization", bearer.as_str());
    let forged = [token, (SUBJECT, "user:u_2"), (MODEL, "gemini-2.0-flash"), (REQUEST_ID, "r-1")];

    let first = ask(&app, query, &forged).await;
    let second = ask(&app, query, &forged).await;
    let unsaid = ask(&app, "", &forged).await;
    let other = ask(&app, "?subject=user:u_2&model=claude-sonnet-4", &[token]).await;

    assert_eq!(first.header(SUBJECT), "user:u_1");
    assert_eq!(first.used("premium_messages-month"), 1);
    assert!(!second.is_replayed(), "a caller could repeat its request id for ever");
    assert_eq!(second.used("premium_messages-month"), 2);
    assert_eq!(told(&unsaid), (400, "invalid_request"));
    assert_eq!(told(&other), (404, "unknown_subject"));
    assert_eq!(used(&app, "user:u_2").await, 0);
    app.finish().await;
}

/// Guards a gateway that lets tokens through: beside its key the token's user is charged, and nobody else can be.
#[tokio::test]
async fn beside_a_key_the_token_s_user_is_charged_and_no_other() {
    let app = TestApp::start_with(tokens::hs256()).await;
    let bearer = bearer("u_1");
    let token = ("authorization", bearer.as_str());
    let query = "?metric=messages";

    let own = vouch(&app, query, &[token]).await;
    let within = vouch(&app, query, &[token, (SUBJECT, "user:u_1/project:p_9")]).await;
    let forged = vouch(&app, query, &[token, (SUBJECT, "user:u_2")]).await;
    let bad = vouch(&app, query, &[("authorization", "Bearer x.y.z"), (SUBJECT, "user:u_2")]).await;
    let basic = vouch(&app, query, &[("authorization", "Basic dTp4"), (SUBJECT, "user:u_3")]).await;

    assert_eq!((own.is_allowed(), own.header(SUBJECT)), (true, "user:u_1"));
    assert!(within.is_allowed(), "{within:?}");
    assert_eq!(told(&forged), (404, "unknown_subject"));
    assert_eq!(told(&bad), (401, "unauthenticated"));
    assert!(basic.is_allowed(), "nginx signed the user in by itself: {basic:?}");
    assert_eq!(used(&app, "user:u_2").await, 0);
    app.finish().await;
}

/// Guards nginx, which passes on 401 and 403 alone: `deny=403` refuses with 403, and headers tell the true status.
#[tokio::test]
async fn a_refusal_is_429_or_on_demand_403_with_the_true_status_in_a_header() {
    let app = TestApp::start().await;
    let spend = "?subject=user:u_1&metric=messages&amount=100";
    assert!(vouch(&app, spend, &[]).await.is_allowed());

    let plain = vouch(&app, spend, &[]).await;
    let mapped = vouch(&app, &format!("{spend}&deny=403"), &[]).await;

    assert_eq!(told(&plain), (429, "limit_exceeded"));
    assert_eq!(told(&mapped), (403, "limit_exceeded"));
    for refused in [&plain, &mapped] {
        assert_eq!(refused.header("x-headroom-status"), "429");
        assert_eq!(refused.header("x-headroom-code"), "limit_exceeded");
        assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
        assert!(refused.header("ratelimit").contains("r=0"));
        assert_eq!(refused.header(SUBJECT), "user:u_1");
    }
    assert_eq!(used(&app, "user:u_1").await, 100, "promise 6: a refusal charges nothing");
    app.finish().await;
}

/// Guards retries of the gateway: the same request id is charged once, and is no consume's idempotency key.
#[tokio::test]
async fn the_same_request_id_beside_a_key_is_charged_once() {
    let app = TestApp::start().await;
    let query = "?subject=user:u_1&metric=messages";

    let first = vouch(&app, query, &[(REQUEST_ID, "r-1")]).await;
    let again = vouch(&app, query, &[(REQUEST_ID, "r-1")]).await;
    let other = vouch(&app, &format!("{query}&amount=2"), &[(REQUEST_ID, "r-1")]).await;
    let consumed = app.caller().consume_once("user:u_1", "gemini-2.0-flash", "r-1").await;

    assert_eq!(again.event_id(), first.event_id());
    assert!(again.is_replayed() && !first.is_replayed());
    assert_eq!(told(&other), (422, "idempotency_mismatch"));
    assert_eq!(other.header("x-headroom-code"), "idempotency_mismatch");
    assert!(consumed.is_allowed() && !consumed.is_replayed());
    assert_eq!(used(&app, "user:u_1").await, 2);
    app.finish().await;
}

/// Guards against a gateway that forgets to clear a header: what is named twice stops the request.
#[tokio::test]
async fn what_the_query_and_a_header_both_name_is_refused() {
    let app = TestApp::start().await;
    let query = "?subject=user:u_1&model=claude-sonnet-4";

    for slipped in [(SUBJECT, "user:u_2"), (MODEL, "gemini-2.0-flash"), (METRIC, "messages")] {
        assert_eq!(told(&vouch(&app, query, &[slipped]).await), (400, "invalid_request"));
    }

    for bad in ["&deny=200", "&amount=-1", "&amount=2147483649", "&colour=red"] {
        let answer = vouch(&app, &format!("{query}{bad}"), &[]).await;
        assert_eq!(told(&answer), (400, "invalid_request"), "{bad}");
    }
    assert_eq!(used(&app, "user:u_1").await, 0);
    app.finish().await;
}

/// Guards the fences: who may not consume, and whom a key does not reach.
#[tokio::test]
async fn credentials_and_fences_are_those_of_a_consume() {
    let app = TestApp::start_with(Options::default()).await;
    let reader = keys::key(&app, &["read", "check"]).await;
    let fenced = keys::fenced_key(&app, &["consume"], "org:acme").await;
    let query = "?subject=user:u_1&metric=messages";
    let by = async |key: &str, query: &str| ask(&app, query, &[("x-api-key", key)]).await;

    let stranger = ask(&app, query, &[]).await;
    assert_eq!(told(&stranger), (401, "unauthenticated"));
    assert!(stranger.header("www-authenticate").starts_with("Bearer"));
    assert_eq!(stranger.header("x-headroom-status"), "401");
    assert_eq!(told(&by("hr_live_x", query).await), (401, "unauthenticated"));
    assert_eq!(told(&by(&reader, query).await), (403, "permission_denied"));
    assert_eq!(told(&by(&fenced, query).await), (404, "unknown_subject"));
    assert!(by(&fenced, "?subject=org:acme/user:u_1&metric=messages").await.is_allowed());
    let nobody = by(ADMIN_KEY, "?metric=messages").await;
    assert_eq!(told(&nobody), (401, "unauthenticated"), "nothing names who is charged");
    let unknown = by(ADMIN_KEY, "?subject=user:u_1&metric=steps").await;
    assert_eq!(told(&unknown), (404, "unknown_metric"));
    app.finish().await;
}

/// Guards callers who have not signed in: the gateway names them so, and they get the models that are open to them.
#[tokio::test]
async fn a_gateway_may_name_a_caller_who_has_not_signed_in() {
    let app = TestApp::start().await;
    let anyone = [(SUBJECT, "anonymous:anyone")];

    let open = vouch(&app, "?model=gemini-2.0-flash", &anyone).await;
    let premium = vouch(&app, "?model=claude-sonnet-4", &anyone).await;

    assert_eq!(open.status, StatusCode::OK);
    assert_eq!(told(&premium), (403, "model_not_allowed"));
    assert_eq!(premium.header("x-headroom-code"), "model_not_allowed");
    app.finish().await;
}
