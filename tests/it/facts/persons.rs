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
limits = [{ metric = "messages", period = "month", max = 8 }]
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

/// Guards promise 2 after an erasure: the flusher and a recovery meet erased events in the outbox, also at the cursor, and take
/// them neither for a loss nor for events that are not logged yet.
#[tokio::test]
async fn what_was_erased_does_not_come_back_from_the_outbox() {
    let app = team().await;
    assert!(app.caller().charge(PERSON, "messages", 1).await.is_allowed());
    let shard = orders::shard_of(PERSON);
    let incidents = async || {
        let all = app.ledger().incidents(1_000).await.unwrap();
        all.into_iter().filter(|it| it.shard == shard).count()
    };

    run(&["erase-person", PERSON], env_of(&app)).await.json();
    app.flush().await;

    let named = "SELECT count(*) FROM message_logs WHERE subject LIKE '%u\\_1'";
    assert_eq!((count(&app, named).await, incidents().await), (0, 0));
    let meta = keys::meta(shard);
    redis::cmd("DEL").arg(meta).exec_async(&mut app.redis().await).await.unwrap();
    assert!(app.caller().charge("org:a/user:u_2", "messages", 1).await.is_allowed());
    app.flush().await;
    assert_eq!((count(&app, named).await, incidents().await), (0, 1));
    let team = app.caller().get("/v1/subjects/org:a/usage").await;
    assert_eq!(team.used("messages-month"), 8);
    app.finish().await;
}

/// A person with a grant that has a note and is used, another of the team that they used, a gift each way, and a reservation with
/// data of their own.
async fn with_a_life(app: &TestApp) {
    let caller = app.caller();
    let grant = |amount| json!({ "metric": "messages", "amount": amount, "source": "purchase", "note": "for p@x.example" });
    for subject in [PERSON, "org:a/user:u_2", "org:a"] {
        let path = format!("/v1/subjects/{}/grants", subject.replace('/', "%2F"));
        assert!(caller.post(&path, &grant(20)).await.status.is_success());
    }
    let gift = |from, to| json!({ "from": from, "to": to, "metric": "messages", "amount": 3, "note": "dear p" });
    for (from, to) in [(PERSON, "org:a/user:u_2"), ("org:a/user:u_2", PERSON)] {
        let made = caller.post("/v1/transfers", &gift(from, to)).await;
        assert!(made.status.is_success(), "{made:?}");
    }
    assert!(caller.charge(PERSON, "messages", 4).await.is_allowed());
    let held = json!({
        "subject": PERSON, "metric": "messages", "amount": 2, "ttl_s": 600, "metadata": { "mail": "p@x.example" },
    });
    assert!(caller.post("/v1/reservations", &held).await.is_allowed());
}

/// Guards that nothing private stays of what a person had and held, that others keep what they were given, and that the log
/// still agrees with it.
#[tokio::test]
async fn what_an_erased_person_had_ends_and_names_nobody() {
    let app = team().await;
    with_a_life(&app).await;
    let exported = run(&["export-person", PERSON], env_of(&app)).await.stdout;
    for name in ["grant", "reservation", "transfer"] {
        assert!(exported.contains(&format!("{{\"{name}\"")), "{name}: {exported}");
    }

    run(&["erase-person", PERSON], env_of(&app)).await.json();

    let left = "SELECT (SELECT count(*) FROM reservations) + (SELECT count(*) FROM reservation_holds)
        + (SELECT count(*) FROM grants WHERE subject LIKE '%u\\_1' OR subject LIKE 'erased:%' AND note IS NOT NULL)
        + (SELECT count(*) FROM transfers WHERE from_subject LIKE '%u\\_1' OR to_subject LIKE '%u\\_1' OR note IS NOT NULL)";
    assert_eq!(count(&app, left).await, 0);
    let person = app.caller().get(PERSON_USAGE).await;
    let limit = person.body["limits"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&limit["used"], &limit["reserved"]), (&json!(0), &json!(0)), "{person:?}");
    assert_eq!(limit["granted_remaining"], json!(0), "{person:?}");
    let team = app.caller().get("/v1/subjects/org:a/usage").await;
    assert_eq!(team.limit("messages-month")["reserved"], json!(0), "{team:?}");
    let friend = app.caller().get("/v1/subjects/org:a%2Fuser:u_2/usage").await;
    let limit = friend.body["limits"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(limit["granted_remaining"], json!(20), "{friend:?}");
    app.finish().await;
}

/// Guards that grants and gifts agree with the log when their months have left it, and that the event at the cursor may have
/// left it, too.
#[tokio::test]
async fn grants_and_gifts_agree_with_a_log_whose_months_are_archived() {
    let app = team().await;
    with_a_life(&app).await;
    app.flush().await;
    let month: chrono::NaiveDate = app.clock.now().format("%Y-%m-01").to_string().parse().unwrap();
    let rows = count(&app, "SELECT count(*) FROM message_logs").await.unsigned_abs();

    let dropped = app.ledger().drop_archived_month(month, rows, "elsewhere", &[7; 32]).await;

    assert!(dropped.unwrap());
    app.flush().await;
    assert_eq!(count(&app, "SELECT count(*) FROM message_logs").await, 0);
    assert_eq!(app.ledger().grants_differ(10).await.unwrap(), []);
    assert_eq!(app.ledger().transfers_differ(10).await.unwrap(), []);
    assert_eq!(count(&app, "SELECT sum(used)::bigint FROM archived_grants").await, 11);
}
