//! The shortest way through everything.

use headroom::quota::verify::Report;

use crate::support::Options;
use crate::support::TestApp;

/// Guards promise 2: what was accepted is in Postgres once.
#[tokio::test]
async fn a_message_is_charged_and_logged_once() {
    let app = TestApp::start().await;

    let answer = app.caller().consume("user:u_1", "claude-sonnet-4").await;

    assert!(answer.is_allowed(), "{answer:?}");
    assert_eq!((answer.used("messages-month"), answer.used("premium_messages-month")), (1, 1));
    assert_eq!(app.flush().await, 1);
    let report: Report = app.verify().await;
    assert_eq!((report.events, report.loaded), (1, 1));
    app.finish().await;
}

/// Guards promise 1: no burst passes a limit, through however many nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_consumes_through_two_nodes_pass_a_limit_of_a_hundred_exactly() {
    let options = Options { nodes: 2, flushers: true, ..Options::default() };
    let app = TestApp::start_with(options).await;
    let callers = [app.caller_of(0), app.caller_of(1)];

    let calls = (0..500).map(|call| callers[call % 2].consume("user:u_1", "gemini-2.0-flash"));
    let answers = futures_util::future::join_all(calls).await;

    assert_eq!(answers.iter().filter(|answer| answer.is_allowed()).count(), 100);
    app.flush().await;
    let postgres = app.postgres().await;
    let logged: i64 =
        postgres.query_one("SELECT count(*) FROM message_logs", &[]).await.unwrap().get(0);
    let used: i64 =
        postgres.query_one("SELECT used FROM usage_counters", &[]).await.unwrap().get(0);
    assert_eq!((logged, used), (100, 100));
    app.finish().await;
}
