//! What is promised while something is broken: lost replies, killed processes, absent stores, full ones, poison.

mod flush_steps;
mod forgotten_attempts;
mod full_stores;
mod idempotency;
mod kills;
mod lost_commits;
mod lost_replies;
mod network;
mod poison;
mod postgres_away;
mod redis_away;

use std::collections::BTreeSet;

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use uuid::Uuid;

use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::Caller;

/// A model that charges one message.
const MODEL: &str = "gemini-2.0-flash";
/// The limit that it is measured against.
const LIMIT: &str = "messages-month";

/// A catalogue with one limit, of so many messages a month.
fn messages_a_month(max: u32) -> String {
    format!(
        "metrics = ['messages']\ndefault_plan = 'chat'\n\
         [plans.chat]\nlimits = [{{ metric = 'messages', period = 'month', max = {max} }}]\n\
         [[models]]\nnames = ['*']\ncharges = {{ messages = 1 }}\n"
    )
}

/// One consume of a subject after the other.
async fn consume_in_turn(caller: &Caller, subject: String, calls: usize) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(calls);
    for _ in 0..calls {
        answers.push(caller.consume(&subject, MODEL).await);
    }
    answers
}

/// The ids in the message log, and how many rows it has.
async fn logged(app: &TestApp) -> (BTreeSet<Uuid>, usize) {
    let rows = app.postgres().await.query("SELECT event_id FROM message_logs", &[]).await.unwrap();
    (rows.iter().map(|row| row.get(0)).collect(), rows.len())
}

/// What Postgres has counted for a subject.
async fn counted(app: &TestApp, subject: &str) -> i64 {
    let sql = "SELECT coalesce(sum(used), 0)::bigint FROM usage_counters WHERE subject = $1";
    app.postgres().await.query_one(sql, &[&subject]).await.unwrap().get(0)
}

/// Asserts a 503 that says what is wrong and when to come back: never disguised as a 429.
#[track_caller]
fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.body["code"], "store_unavailable", "{answer:?}");
    assert_reduced_capacity(answer);
}

/// The same for a request whose own time-out may come first.
#[track_caller]
fn assert_reduced_capacity(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    let kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
    assert_eq!(answer.body["type"], kind);
    let seconds: u64 = answer.headers[RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!(seconds >= 1);
}
