//! Retries by the caller.

use futures_util::future::join_all;
use headroom::domain::Subject;
use headroom::quota::ResetScope;
use reqwest::StatusCode;

use super::LIMIT;
use super::MODEL;
use super::counted;
use super::logged;
use super::messages_a_month;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders::actor;

/// Guards promise 4: however many retries race, there is one charge and one answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_retries_at_once_through_two_nodes_are_one_charge_and_fifty_equal_answers() {
    let app = TestApp::start_with(Options { nodes: 2, ..Options::default() }).await;
    let callers = [app.caller_of(0), app.caller_of(1)];

    let calls = (0..50).map(|call| callers[call % 2].consume_once("user:u_1", MODEL, "k-1"));
    let answers = join_all(calls).await;

    assert!(answers[0].is_allowed(), "{:?}", answers[0]);
    assert!(answers.iter().all(|answer| answer.text == answers[0].text));
    assert_eq!(answers.iter().filter(|answer| !answer.is_replayed()).count(), 1);
    app.flush().await;
    assert_eq!((logged(&app).await.1, counted(&app, "user:u_1").await), (1, 1));
    app.finish().await;
}

/// Guards promise 4: a key stands for one payload.
#[tokio::test]
async fn a_key_with_another_payload_is_refused_and_charges_nothing() {
    let app = TestApp::start().await;
    let first = app.caller().consume_once("user:u_1", MODEL, "k-1").await;

    let other = app.caller().consume_once("user:u_1", "claude-sonnet-4", "k-1").await;
    let again = app.caller().consume_once("user:u_1", MODEL, "k-1").await;

    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(other.body["code"], "idempotency_mismatch");
    assert_eq!((again.is_replayed(), again.text), (true, first.text));
    app.flush().await;
    assert_eq!(counted(&app, "user:u_1").await, 1);
    app.finish().await;
}

/// Guards promise 6: a refusal leaves no record, so that the same key is decided anew when there is room.
#[tokio::test]
async fn a_refusal_is_not_remembered_under_its_key() {
    let options = Options { catalogue: Some(messages_a_month(1)), ..Options::default() };
    let app = TestApp::start_with(options).await;
    assert!(app.caller().consume("user:u_1", MODEL).await.is_allowed());
    let refused = app.caller().consume_once("user:u_1", MODEL, "k-1").await;
    let subject = Subject::parse("user:u_1").unwrap();
    app.quota().reset(&subject, ResetScope::default(), &actor()).await.unwrap();

    let accepted = app.caller().consume_once("user:u_1", MODEL, "k-1").await;

    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(accepted.is_allowed() && !accepted.is_replayed(), "{accepted:?}");
    assert_eq!(accepted.used(LIMIT), 1);
    app.finish().await;
}
