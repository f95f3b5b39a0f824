//! Refusals beside the log.

use std::time::Duration;

use serde_json::json;

use super::at_the_start_of_a_minute;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::poll::eventually;
use crate::support::stores::PostgresClient;

const SMALL: &str = r#"
metrics = ["messages"]
default_plan = "small"
[plans.small]
limits = [{ metric = "messages", period = "month", max = 1 }]
[[models]]
names = ["*"]
charges = { messages = 1 }
"#;

fn small() -> Options {
    Options { catalogue: Some(SMALL.to_owned()), ..Options::default() }
}

async fn number(postgres: &PostgresClient, sql: &str) -> i64 {
    postgres.query_one(sql, &[]).await.unwrap().get(0)
}

/// Guards that a refusal is found afterwards, with what refused it, and that promise 6 holds: the outbox stays empty.
#[tokio::test]
async fn a_refused_consume_is_noted_and_a_refused_check_is_not() {
    let app = TestApp::start_with(small()).await;
    let caller = app.caller();
    assert!(caller.consume("org:a/user:u_1", "gemini").await.is_allowed());
    app.flush().await;

    caller.post("/v1/check", &json!({ "subject": "org:a/user:u_1", "model": "gemini" })).await;
    let refused = caller.consume("org:a/user:u_1", "gemini").await;
    app.quota().write_denials().await.unwrap();

    let row = app.postgres().await;
    let row = row
        .query_one(
            "SELECT subject, code, limit_name, level, metric, model, amount, plan, request_id FROM denials",
            &[],
        )
        .await
        .unwrap();
    let text = |place: usize| row.get::<_, String>(place);
    let texts = [0, 1, 2, 3, 4, 5, 7, 8].map(text);
    let request_id = refused.header("x-request-id");
    assert_eq!(
        texts,
        [
            "org:a/user:u_1",
            "limit_exceeded",
            "messages-month",
            "org:a/user:u_1",
            "messages",
            "gemini",
            "small",
            request_id
        ]
    );
    assert_eq!(row.get::<_, i64>(6), 1);
    assert_eq!(app.flush().await, 0, "a refusal writes nothing to the outbox");
    app.finish().await;
}

/// Guards the bound of the table: however often a subject is refused, over all nodes.
#[tokio::test]
async fn of_many_refusals_in_a_minute_ten_have_rows_and_all_are_counted() {
    let app = TestApp::start_with(Options { nodes: 2, ..small() }).await;
    at_the_start_of_a_minute(&app);
    app.caller().consume("user:u_1", "gemini").await;
    for round in 0..30 {
        let answer = app.caller_of(round % 2).consume("user:u_1", "gemini").await;
        assert_eq!(answer.status.as_u16(), 429);
    }
    let (a, b) = (app.quota_of(0), app.quota_of(1));

    let written = tokio::join!(a.write_denials(), b.write_denials());

    written.0.and(written.1).unwrap();
    let postgres = app.postgres().await;
    assert_eq!(number(&postgres, "SELECT count(*) FROM denials").await, 10);
    assert_eq!(number(&postgres, "SELECT sum(denials)::bigint FROM denial_minutes").await, 30);
    assert_eq!(number(&postgres, "SELECT sum(denials)::bigint FROM denial_hours").await, 30);
    app.finish().await;
}

/// Guards that what only holds refuse is told apart, with the code of the answer.
#[tokio::test]
async fn a_refusal_that_only_holds_cause_is_noted_as_such() {
    let app = TestApp::start_with(small()).await;
    let caller = app.caller();
    let hold = json!({ "subject": "user:u_1", "metric": "messages", "amount": 1, "ttl_s": 60 });
    assert!(caller.post("/v1/reservations", &hold).await.is_allowed());

    let refused = caller.charge("user:u_1", "messages", 1).await;
    let never = caller.charge("user:u_1", "messages", 2).await;
    app.quota().write_denials().await.unwrap();

    assert_eq!((refused.code(), never.code()), ("reserved_by_others", "limit_exceeded"));
    let rows = "SELECT code FROM denials WHERE limit_name = 'messages-month' ORDER BY amount";
    let rows = app.postgres().await.query(rows, &[]).await.unwrap();
    let codes: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(codes, ["reserved_by_others", "limit_exceeded"]);
    app.finish().await;
}

/// Guards that refusals by profile are noted too, with the code of the answer.
#[tokio::test]
async fn a_blocked_subject_is_noted_with_the_code_of_its_answer() {
    let app = TestApp::start_with(small()).await;
    let caller = app.caller();
    caller.put("/v1/subjects/user:u_1", "*", &json!({ "blocked": true })).await;

    let refused = caller.charge("user:u_1", "messages", 1).await;
    app.quota().write_denials().await.unwrap();

    assert_eq!(refused.code(), "subject_blocked");
    let found = "SELECT count(*) FROM denials WHERE code = 'subject_blocked' AND limit_name IS NULL
        AND metric = 'messages' AND model IS NULL";
    assert_eq!(number(&app.postgres().await, found).await, 1);
    app.finish().await;
}

/// Refusals wait for a Postgres that is away, and decisions do not wait for them.
#[tokio::test]
async fn refusals_are_written_when_postgres_is_back() {
    let mut app = TestApp::start_with(Options { own_postgres: true, ..small() }).await;
    let caller = app.caller();
    caller.consume("user:u_1", "gemini").await;
    app.stores.postgres.as_mut().unwrap().stop().await.unwrap();
    assert_eq!(caller.consume("user:u_1", "gemini").await.status.as_u16(), 429);
    assert!(app.quota().write_denials().await.is_err());
    app.stores.postgres.as_mut().unwrap().restart().await.unwrap();

    let quota = app.quota();
    let are_written = || async { quota.write_denials().await.is_ok() };
    eventually("refusals were written", Duration::from_secs(10), are_written).await;

    assert_eq!(number(&app.postgres().await, "SELECT count(*) FROM denials").await, 1);
    app.finish().await;
}
