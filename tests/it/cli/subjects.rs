//! `headroom usage`, `reset` and `verify`.

use headroom::counters::keys;
use serde_json::Value;
use serde_json::json;

use super::assert_refused;
use super::on;
use crate::support::TestApp;
use crate::support::program::Outcome;
use crate::support::state::State;
use crate::support::stores::SHARDS;

/// A node on which `user:u_1` has sent 7 premium messages, which are in Postgres.
async fn start() -> TestApp {
    let app = TestApp::start().await;
    let body = json!({ "subject": "user:u_1", "model": "claude-sonnet-4", "amount": 7 });
    assert!(app.caller().post("/v1/consume", &body).await.is_allowed());
    app.flush().await;
    app
}

/// Units used, messages first.
fn used(usage: &Value) -> [u64; 2] {
    let limits = usage["limits"].as_array().unwrap();
    assert_eq!(
        (&limits[0]["name"], &limits[1]["name"]),
        (&"messages-month".into(), &"premium_messages-month".into())
    );
    [limits[0]["used"].as_u64().unwrap(), limits[1]["used"].as_u64().unwrap()]
}

/// Guards the operator's view of a subject and the reset: what the API says and does, without a node.
#[tokio::test]
async fn a_subject_s_usage_is_printed_and_reset() {
    let app = start().await;

    let before = on(&app, &["usage", "user:u_1"]).await.json();
    let premium = on(&app, &["reset", "user:u_1", "--metric", "premium_messages"]).await.json();
    let week = on(&app, &["reset", "user:u_1", "--period", "week"]).await.json();
    let dry = on(&app, &["reset", "user:u_1", "--dry-run"]).await.json();
    let between = on(&app, &["usage", "user:u_1"]).await.json();
    let month = on(&app, &["reset", "user:u_1", "--period", "month"]).await.json();
    let after = on(&app, &["usage", "user:u_1"]).await.json();

    assert_eq!((&before["subject"], &before["plan"]), (&json!("user:u_1"), &json!("chat")));
    assert_eq!(before["limits"][0]["remaining"], 93);
    assert_eq!([&before, &between, &after].map(used), [[7, 7], [7, 0], [0, 0]]);
    let cleared = |answer: &Value| {
        let counters = answer["cleared"].as_array().unwrap().iter();
        counters.map(|it| (it["metric"].clone(), it["units"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(cleared(&premium), [(json!("premium_messages"), json!(7))]);
    assert_eq!(cleared(&week), []);
    assert_eq!(cleared(&month), [(json!("messages"), json!(7))]);
    assert_eq!((cleared(&dry), &dry["dry_run"]), (cleared(&month), &json!(true)));
    let resets = "SELECT count(*) FROM message_logs WHERE kind = 'reset'";
    let logged: i64 = app.postgres().await.query_one(resets, &[]).await.unwrap().get(0);
    assert!(logged >= 2, "the resets are in postgres when the command ends");
    let through_the_node = app.caller().get("/v1/subjects/user:u_1/usage").await;
    assert_eq!(through_the_node.used("messages-month"), 0);
    app.finish().await;
}

/// Guards that a mistyped command changes nothing and names the argument.
#[tokio::test]
async fn an_argument_that_is_wrong_is_named() {
    let app = start().await;
    let long = format!("user:{}", "x".repeat(10_240));
    let wrong: [(&[&str], &[&str]); 8] = [
        (&["usage", "u_1"], &["SUBJECT", "scope:id"]),
        (&["usage", "user:{x}"], &["SUBJECT", "visible ascii"]),
        (&["usage", ""], &["SUBJECT", "must not be empty"]),
        (&["usage", &long], &["SUBJECT", "1 to 128"]),
        (&["reset", "u_1"], &["SUBJECT", "scope:id"]),
        (&["reset", "user:u_1", "--metric", "Messages"], &["--metric", "1 to 64"]),
        (&["reset", "user:u_1", "--metric", "tokens"], &["the metric is not in the catalogue"]),
        (&["reset", "user:u_1", "--period", "year"], &["--period must be minute, hour"]),
    ];

    for (arguments, words) in wrong {
        let outcome = on(&app, arguments).await;
        assert_refused(&outcome, words);
        assert!(outcome.stderr.len() < 400, "what was typed is not repeated at length");
    }

    assert_eq!(used(&on(&app, &["usage", "user:u_1"]).await.json()), [7, 7]);
    app.finish().await;
}

/// The names of the invariants that a report has as broken.
fn broken(outcome: &Outcome) -> Vec<String> {
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 8);
    let broken = checks.iter().filter(|check| check["broken"] != 0);
    broken.map(|check| check["name"].as_str().unwrap().to_owned()).collect()
}

/// Guards the proof: it holds for sound stores, with counts of what was looked at.
#[tokio::test]
async fn sound_stores_are_verified() {
    let app = start().await;
    assert!(app.caller().consume("user:u_2", "gemini-2.0-flash").await.is_allowed());

    let outcome = on(&app, &["verify"]).await;

    let report = outcome.json();
    assert_eq!(broken(&outcome), [""; 0]);
    assert_eq!(
        [&report["events"], &report["pending"], &report["loaded"]],
        [&json!(1), &json!(1), &json!(2)]
    );
    assert!(report["checks"][0]["examined"].as_u64().unwrap() >= 2, "{report}");
    app.finish().await;
}

/// Guards the proof's worth: a counter that was changed by hand, in either store, is found and named.
#[tokio::test]
async fn a_counter_that_was_tampered_with_is_found() {
    let app = start().await;

    add_in_postgres(&app, 1).await;
    let in_postgres = on(&app, &["verify"]).await;
    add_in_postgres(&app, -1).await;
    add_in_redis(&app, -3).await;
    let in_redis = on(&app, &["verify"]).await;
    add_in_redis(&app, 3).await;
    let mended = on(&app, &["verify"]).await;

    assert_eq!(
        (in_postgres.code, broken(&in_postgres)),
        (1, vec!["I1".to_owned(), "I2".to_owned()])
    );
    assert_eq!((in_redis.code, broken(&in_redis)), (1, vec!["I2".to_owned()]));
    for outcome in [in_postgres, in_redis] {
        assert!(outcome.stdout.contains("user:u_1 messages month"), "{outcome:?}");
    }
    assert_eq!(mended.code, 0, "{mended:?}");
    app.finish().await;
}

/// Guards the proof of promise 1: more than a limit of 100 that no loss explains is found although both stores agree on it.
#[tokio::test]
async fn units_above_a_limit_are_found() {
    let app = start().await;

    add_in_postgres(&app, 94).await;
    add_in_redis(&app, 94).await;
    let outcome = on(&app, &["verify"]).await;
    add_in_postgres(&app, -94).await;
    add_in_redis(&app, -94).await;

    assert_eq!(broken(&outcome), ["I1", "I3"], "{outcome:?}");
    let words = "1 units above hard limits, but losses explain 0 at most";
    assert!(outcome.stdout.contains(words), "{outcome:?}");
    app.finish().await;
}

/// Changes the messages that a subject has used, behind the service's back.
async fn add_in_postgres(app: &TestApp, units: i64) {
    let change = "UPDATE usage_counters SET used = used + $1 WHERE metric = 'messages'";
    assert_eq!(app.postgres().await.execute(change, &[&units]).await.unwrap(), 1);
}

async fn add_in_redis(app: &TestApp, units: i64) {
    let redis = app.redis().await;
    let shard = headroom::domain::Subject::parse("user:u_1").unwrap().shard(SHARDS);
    let key = keys::subject(shard, "user:u_1");
    let mut state = State::read(&redis, &key).await.unwrap();
    let counter = state.counters.iter_mut().find(|(name, _)| name.starts_with("messages:"));
    counter.unwrap().1 += units;
    state.write(&redis, &key).await;
}

/// Guards the proof against false alarms: what an admin set above a limit, and what a commit took past it, is no breach,
/// before and after it is in Postgres; and neither excuses another subject.
#[tokio::test]
async fn what_was_set_or_committed_above_a_limit_excuses_itself_alone() {
    let app = start().await;
    let caller = app.caller();

    caller.overwrite("/v1/subjects/user:u_2/usage/messages", &json!({ "value": 150 })).await;
    let order = json!({ "subject": "user:u_3", "model": "gemini-2.0-flash" });
    let reserved = caller.post("/v1/reservations", &order).await;
    let commit =
        format!("/v1/reservations/{}:commit", reserved.body["reservation_id"].as_str().unwrap());
    let committed = caller.post(&commit, &json!({ "amount": 130 })).await;
    let pending = app.verify().await;
    add_in_postgres(&app, 94).await;
    add_in_redis(&app, 94).await;
    let beside = app.verify().await;
    add_in_postgres(&app, -94).await;
    add_in_redis(&app, -94).await;
    app.flush().await;
    let flushed = app.verify().await;

    assert_eq!(committed.body["overage"], true, "{committed:?}");
    for report in [pending, flushed] {
        assert!(report.is_clean(), "{}", serde_json::to_string_pretty(&report).unwrap());
    }
    let words = "1 units above hard limits, but losses explain 0 at most";
    assert_eq!(beside.checks[2].failures, [words]);
    app.finish().await;
}
