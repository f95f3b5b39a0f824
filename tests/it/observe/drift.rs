//! The drift auditor: what differs is found, and nothing else.

use std::time::Duration;

use futures_util::future::join;
use futures_util::future::join_all;
use headroom::quota::Quota;
use reqwest::Method;
use reqwest::StatusCode;
use serde_json::json;

use super::KEYS_MAX;
use super::add_units;
use super::key_of;
use super::options;
use super::round;
use super::step;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::answer;
use crate::support::orders;
use crate::support::orders::accept;
use crate::support::poll::eventually;
use crate::support::process::Node;

const SUBJECT: &str = "user:u_1";
/// Subjects that are charged at once in the test under load, two levels each.
const CROWD: u64 = 6;
const EACH: u64 = 60;
const ROUNDS: usize = 40;

async fn start() -> TestApp {
    let catalogue = Some(orders::messages_a_month(100_000));
    TestApp::start_with(Options { catalogue, ..options() }).await
}

async fn findings(app: &TestApp) -> i64 {
    let sql = "SELECT count(*) FROM drift_findings";
    app.postgres().await.query_one(sql, &[]).await.unwrap().get(0)
}

/// Takes steps until one has come to the subject's shard.
async fn step_until_suspected(app: &TestApp) {
    for _ in 0..app.quota().shard_count() {
        step(app).await;
        if findings(app).await == 1 {
            return;
        }
    }
    panic!("nothing was suspected in a whole round");
}

/// Guards the reach of a round: every shard is looked at, one after the other.
#[tokio::test]
async fn a_round_comes_to_the_subjects_of_every_shard() {
    let app = start().await;
    let shards = 0..app.quota().shard_count();
    let mut before = Vec::new();
    for shard in shards.clone() {
        let mut subjects = (0..).map(|number| format!("user:u_{number}"));
        let subject = subjects.find(|it| orders::shard_of(it) == shard).unwrap();
        accept(app.quota(), &subject, 1).await;
        app.flush().await;
        before.push((key_of(&subject), add_units(&app, &subject, "messages:m:", 7).await));
    }

    round(&app).await;

    assert_eq!(findings(&app).await, i64::from(shards.end));
    for (key, state) in before {
        state.write(&app.redis().await, &key).await;
    }
    app.finish().await;
}

/// Guards that a counter which differs from Postgres and the outbox is reported, once it was seen twice, with both counts;
/// and that it is reported no more when it differs no more.
#[tokio::test]
async fn a_counter_that_differs_twice_in_a_row_is_reported() {
    let app = start().await;
    accept(app.quota(), SUBJECT, 3).await;
    app.flush().await;
    accept(app.quota(), SUBJECT, 2).await;
    assert_eq!(round(&app).await.sums.subjects, 0);
    let before = add_units(&app, SUBJECT, "messages:m:", 7).await;

    step_until_suspected(&app).await;
    let suspected = app.quota().drift().await.unwrap();
    step(&app).await;
    let answer = app.caller().get("/v1/drift").await;

    assert_eq!(suspected.sums.subjects, 0, "a suspicion is no finding");
    assert_eq!((&answer.body["subjects"], &answer.body["units"]), (&json!(1), &json!(7)));
    let found = &answer.body["found"][0];
    assert_eq!((&found["subject"], &found["units"]), (&json!(SUBJECT), &json!(7)));
    let counter = &found["counters"][0];
    assert_eq!((&counter["redis"], &counter["postgres"]), (&json!(12), &json!(5)));
    assert_eq!((&counter["metric"], &counter["period"]), (&json!("messages"), &json!("month")));
    assert_eq!((&counter["count"], &counter["grant"]), (&json!("used"), &json!(null)));
    assert!(answer.body["last_round"]["compared"].as_u64().unwrap() >= 1, "{answer:?}");
    before.write(&app.redis().await, &key_of(SUBJECT)).await;
    assert_eq!(round(&app).await.sums.subjects, 0);
    assert_eq!(findings(&app).await, 0);
    app.finish().await;
}

/// Guards that the report is for admins of everything.
#[tokio::test]
async fn the_report_is_for_admins() {
    let app = start().await;

    let stranger = answer(app.caller().stranger(Method::GET, "/v1/drift")).await;

    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    app.finish().await;
}

async fn charge(quota: &Quota, subject: &str) {
    for _ in 0..EACH {
        assert!(orders::consume(quota, subject).await.unwrap().allowed);
    }
}

/// Guards against false alarms: while subjects are charged, flushed, trimmed and loaded, no comparison differs, not even once.
#[tokio::test]
async fn nothing_differs_under_load() {
    let catalogue = Some(orders::messages_a_month(100_000));
    let settings = options().with("HEADROOM_FLUSHER_TRIM_LAG_S", 0);
    let app =
        TestApp::start_with(Options { catalogue, nodes: 2, flushers: true, ..settings }).await;
    let subjects: Vec<String> =
        (0..CROWD).map(|at| format!("org:o_{}/user:u_{at}", at % 2)).collect();
    let charged = subjects.iter().zip([0, 1].into_iter().cycle());
    let charged = join_all(charged.map(|(subject, node)| charge(app.quota_of(node), subject)));
    let looked = async {
        let mut compared = 0;
        for _ in 0..ROUNDS {
            let report = round(&app).await;
            compared += report.last_round.unwrap().compared;
            assert_eq!(findings(&app).await, 0, "{report:?}");
        }
        compared
    };

    let (_, compared) = join(charged, looked).await;

    assert!(compared > 0, "something was compared");
    assert_eq!(round(&app).await.last_round.unwrap().compared, CROWD + 2, "the levels above, too");
    app.finish().await;
}

/// Guards the bound on one comparison: a shard whose outbox is long is left out, and said to be.
#[tokio::test]
async fn a_shard_that_is_far_ahead_of_postgres_is_left_out() {
    let app = start().await;
    accept(app.quota(), SUBJECT, 1_001).await;
    add_units(&app, SUBJECT, "messages:m:", 7).await;

    let ahead = round(&app).await.last_round.unwrap();
    let rows_then = findings(&app).await;
    app.flush().await;
    let caught_up = round(&app).await.last_round.unwrap();

    assert_eq!((ahead.compared, ahead.left_out, rows_then), (0, 1, 0));
    assert!(caught_up.compared >= 1 && caught_up.left_out == 0, "{caught_up:?}");
    assert_eq!(findings(&app).await, 1);
    add_units(&app, SUBJECT, "messages:m:", -7).await;
    app.finish().await;
}

/// Guards that a finding goes with its subject: what is not loaded cannot differ.
#[tokio::test]
async fn a_subject_that_left_redis_is_no_finding() {
    let app = start().await;
    accept(app.quota(), SUBJECT, 3).await;
    add_units(&app, SUBJECT, "messages:m:", 7).await;
    round(&app).await;
    assert_eq!(round(&app).await.sums.subjects, 1);
    let mut command = redis::cmd("DEL");
    command.arg(key_of(SUBJECT)).exec_async(&mut app.redis().await).await.unwrap();

    let report = round(&app).await;

    assert_eq!(report.sums.subjects, 0);
    assert!(report.found.is_empty(), "{report:?}");
    app.finish().await;
}

/// Guards the rate: of all nodes one takes a step, and the next not before the pause is over.
#[tokio::test]
async fn nodes_take_turns() {
    let app = start().await;
    accept(app.quota(), SUBJECT, 1).await;
    let hour = Duration::from_hours(1);

    let before = app.quota().drift().await.unwrap();
    app.quota().audit_drift(KEYS_MAX, hour).await.unwrap();
    let first = app.quota().drift().await.unwrap();
    app.quota().audit_drift(KEYS_MAX, hour).await.unwrap();
    let second = app.quota().drift().await.unwrap();

    let done = |report: &headroom::quota::DriftReport| (report.round, report.last_round);
    assert_eq!((before.round.compared, before.last_round), (0, None));
    assert_eq!(done(&first), done(&second), "the second step was not taken");
    let postgres = app.postgres().await;
    let next_at = "SELECT next_at > now() + interval '59 minutes' FROM drift_state";
    assert!(postgres.query_one(next_at, &[]).await.unwrap().get::<_, bool>(0));
    let free = "UPDATE drift_state SET next_at = now()";
    postgres.execute(free, &[]).await.unwrap();
    step(&app).await;
    assert!(app.quota().drift().await.unwrap().last_round.is_some(), "two shards, two steps");
    app.finish().await;
}

/// Guards that a service compares by itself: the gauges show the drift, and show it no more when it is mended.
#[tokio::test]
async fn the_gauges_of_a_node_show_the_drift() {
    let app = start().await;
    accept(app.quota(), SUBJECT, 3).await;
    let before = add_units(&app, SUBJECT, "messages:m:", 7).await;
    let node = Node::start(&app, &[("HEADROOM_DRIFT_KEYS_PER_S", "10000")]).await;
    let shows = async |wanted: &str| {
        let page = answer(node.caller().stranger(Method::GET, "/metrics")).await.text;
        page.lines().any(|line| line == wanted)
    };
    let within = Duration::from_secs(30);

    eventually("the drift", within, || shows("headroom_drift_units 7")).await;
    assert!(shows("headroom_drift_subjects 1").await);
    before.write(&app.redis().await, &key_of(SUBJECT)).await;
    eventually("its end", within, || shows("headroom_drift_units 0")).await;

    assert!(shows("headroom_drift_subjects 0").await);
    node.kill().await;
    app.finish().await;
}
