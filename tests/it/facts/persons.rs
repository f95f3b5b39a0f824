//! One person's data, out and away.

use headroom::counters::keys;
use serde_json::Value;
use serde_json::json;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::program::env_of;
use crate::support::program::run;

const CATALOGUE: &str = r#"
metrics = ["messages"]
default_plan = "small"
scope_plans = { org = "large" }
[plans.small]
limits = [{ metric = "messages", period = "month", max = 5 }]
[plans.large]
limits = [{ metric = "messages", period = "month", max = 1000 }]
[[models]]
names = ["*"]
charges = { messages = 1 }
"#;
const PERSON: &str = "org:a/user:u_1";
const PERSON_USAGE: &str = "/v1/subjects/org:a%2Fuser:u_1/usage";

/// A team of two, of whom one has a profile, some events, and a refusal.
async fn team() -> TestApp {
    let options = Options { catalogue: Some(CATALOGUE.to_owned()), ..Options::default() };
    let app = TestApp::start_with(options).await;
    let caller = app.caller();
    caller.put("/v1/subjects/org:a%2Fuser:u_1", "*", &json!({ "features": {} })).await;
    for subject in [PERSON, PERSON, "org:a/user:u_2"] {
        assert!(caller.charge(subject, "messages", 2).await.is_allowed());
    }
    assert_eq!(caller.charge(PERSON, "messages", 2).await.status.as_u16(), 429);
    app.quota().write_denials().await.unwrap();
    let alert = "INSERT INTO alerts (alert_id, rule, kind, subject, value, threshold)
        VALUES (gen_random_uuid(), 'r', 'spike', $1, 5, 5)";
    app.postgres().await.execute(alert, &[&PERSON]).await.unwrap();
    let usual = "INSERT INTO usage_baselines (subject, metric, units) VALUES ($1, 'messages', 7)";
    app.postgres().await.execute(usual, &[&PERSON]).await.unwrap();
    app
}

async fn count(app: &TestApp, sql: &str) -> i64 {
    app.postgres().await.query_one(sql, &[]).await.unwrap().get(0)
}

/// Guards that an export is whole: profile, counters, events and refusals of the person, and of nobody else.
#[tokio::test]
async fn an_export_holds_all_that_there_is_about_a_person() {
    let app = team().await;

    let outcome = run(&["export-person", PERSON], env_of(&app)).await;

    assert_eq!(outcome.code, 0, "{outcome:?}");
    let documents: Vec<Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| documents.iter().filter(|it| it.get(name).is_some()).count();
    assert_eq!((of("profile"), of("counter"), of("log")), (1, 1, 3), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("u_2"));
    app.finish().await;
}

/// Guards that an erased person is gone from all tables and from Redis, while the team's sums and all invariants hold.
#[tokio::test]
async fn an_erased_person_is_gone_and_the_sums_above_stay() {
    let app = team().await;

    let outcome = run(&["erase-person", PERSON, "--reason", "asked to"], env_of(&app)).await;

    assert_eq!(
        outcome.json(),
        json!({ "subject": PERSON, "events": 2, "counters": 1, "denials": 2 })
    );
    for table in [
        "message_logs",
        "usage_counters",
        "denials",
        "denial_minutes",
        "usage_days",
        "archived_sums",
        "crossings",
        "alerts",
        "usage_baselines",
    ] {
        let left = format!("SELECT count(*) FROM {table} WHERE subject LIKE '%u\\_1'");
        assert_eq!(count(&app, &left).await, 0, "{table}");
    }
    let team = app.caller().get("/v1/subjects/org:a/usage").await;
    assert_eq!(team.used("messages-month"), 6);
    let person = app.caller().get(PERSON_USAGE).await;
    assert_eq!(
        person.body["limits"].as_array().unwrap().last().unwrap()["used"],
        json!(0),
        "{person:?}"
    );
    assert_eq!(count(&app, "SELECT sum(units)::bigint FROM usage_hours").await, 6);
    app.finish().await;
}

/// Guards that Redis forgets a person of whom nothing was flushed since they were loaded.
#[tokio::test]
async fn an_erased_person_who_was_loaded_a_moment_ago_has_used_nothing() {
    let app = team().await;
    app.flush().await;
    let state = keys::subject(orders::shard_of(PERSON), PERSON);
    let deleted: u64 =
        redis::cmd("DEL").arg(state).query_async(&mut app.redis().await).await.unwrap();
    assert_eq!(deleted, 1);
    app.caller().get(PERSON_USAGE).await;

    run(&["erase-person", PERSON], env_of(&app)).await.json();

    let person = app.caller().get(PERSON_USAGE).await;
    let limits = person.body["limits"].as_array().unwrap();
    assert_eq!(limits.last().unwrap()["used"], json!(0), "{person:?}");
    app.finish().await;
}

/// Guards the sums of a root, which go on under a name that says nothing.
#[tokio::test]
async fn the_days_of_an_erased_root_go_on_under_another_name() {
    let app = team().await;
    assert!(app.caller().charge("user:u_9", "messages", 3).await.is_allowed());

    run(&["erase-person", "user:u_9"], env_of(&app)).await.json();

    let named = "SELECT count(*) FROM subject_months WHERE subject = 'user:u_9'";
    let unnamed = "SELECT sum(units)::bigint FROM subject_months WHERE subject LIKE 'erased:%'";
    assert_eq!((count(&app, named).await, count(&app, unnamed).await), (0, 3));
    app.finish().await;
}
