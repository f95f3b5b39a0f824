//! `headroom reset`: a subject, or all that lies below one.

use serde_json::Value;
use serde_json::json;

use super::assert_refused;
use super::on;
use crate::support::TestApp;

const ACME: [&str; 3] = ["org:acme/user:u_1", "org:acme/user:u_2", "org:acme/user:u_3/project:p"];
/// Paths that begin alike and are not below `org:acme`.
const OTHERS: [&str; 2] = ["org:acme2/user:u_1", "org:acm/user:u_1"];

/// A node on which each of the subjects has sent 4 messages, which are still in the outbox.
async fn start() -> TestApp {
    let app = TestApp::start().await;
    for subject in ACME.into_iter().chain(OTHERS) {
        let body = json!({ "subject": subject, "model": "gemini-2.0-flash", "amount": 4 });
        assert!(app.caller().post("/v1/consume", &body).await.is_allowed());
    }
    app
}

/// What an answer says was cleared: subjects and units.
fn cleared(answer: &Value) -> Vec<(String, u64)> {
    let counters = answer["cleared"].as_array().unwrap().iter();
    let pair =
        |it: &Value| (it["subject"].as_str().unwrap().to_owned(), it["units"].as_u64().unwrap());
    counters.map(pair).collect()
}

async fn used(app: &TestApp, subject: &str) -> u64 {
    let path = format!("/v1/subjects/{}/usage", subject.replace('/', "%2F"));
    app.caller().get(&path).await.used("messages-month")
}

/// Guards the reset of a part of the tree: all of it and nothing else, also what was not yet in Postgres.
#[tokio::test]
async fn a_pattern_clears_the_subject_and_everything_below_it() {
    let app = start().await;

    let dry = on(&app, &["reset", "org:acme/**", "--dry-run"]).await.json();
    let still_used = used(&app, ACME[0]).await;
    let real = on(&app, &["reset", "org:acme/**", "--reason", "new contract"]).await.json();
    let again = on(&app, &["reset", "org:acme/**"]).await.json();

    let all: Vec<(String, u64)> = ACME.iter().map(|it| ((*it).to_owned(), 4)).collect();
    assert_eq!((cleared(&dry), &dry["dry_run"]), (all.clone(), &json!(true)));
    assert_eq!(still_used, 4, "a dry run clears nothing");
    assert_eq!((cleared(&real), &real["dry_run"]), (all, &json!(false)));
    assert_eq!((&real["next"], &real["cleared"][0]["period"]), (&Value::Null, &json!("month")));
    assert_eq!(cleared(&again), []);
    for subject in ACME {
        assert_eq!(used(&app, subject).await, 0, "{subject}");
    }
    for subject in OTHERS {
        assert_eq!(used(&app, subject).await, 4, "{subject}");
    }
    let logged = "SELECT count(*) FROM message_logs
        WHERE kind = 'reset' AND metadata->>'reason' = 'new contract'";
    let logged: i64 = app.postgres().await.query_one(logged, &[]).await.unwrap().get(0);
    assert_eq!(logged, 3, "in postgres when the command ends");
    app.finish().await;
}

/// Guards that a run can go on where another one ended.
#[tokio::test]
async fn a_run_goes_on_after_a_path() {
    let app = start().await;

    let rest = on(&app, &["reset", "org:acme/**", "--after", ACME[1]]).await.json();

    assert_eq!(cleared(&rest), [(ACME[2].to_owned(), 4)]);
    assert_eq!([used(&app, ACME[1]).await, used(&app, ACME[2]).await], [4, 0]);
    app.finish().await;
}

/// Guards that a plan which was taken away does not keep counters from being cleared, nor ends a run half-way.
#[tokio::test]
async fn subjects_without_a_plan_are_cleared_too() {
    let app = start().await;
    let file = app.stores.folder().join("planless.toml");
    let chat = include_str!("../../../deploy/catalogues/chat.toml");
    std::fs::write(&file, chat.replace("default_plan = \"chat\"", "")).unwrap();
    on(&app, &["apply", file.to_str().unwrap()]).await.json();

    let answer = on(&app, &["reset", "org:acme/**"]).await.json();

    assert_eq!(cleared(&answer).len(), 3, "{answer}");
    let usage = on(&app, &["usage", ACME[0]]).await;
    assert_refused(&usage, &["the subject has no plan"]);
    app.finish().await;
}

/// Guards the patterns: a path and `/**`, and no other stars.
#[tokio::test]
async fn other_patterns_are_refused() {
    let app = start().await;

    for pattern in ["**", "/**", "org:*/**", "org:acme/*", "org:acme**", "org:acme/**/user:u_1"] {
        assert_refused(&on(&app, &["reset", pattern]).await, &["SUBJECT"]);
    }
    assert_refused(&on(&app, &["reset", "org:acme/**", "--after", "no path"]).await, &["--after"]);
    assert_refused(
        &on(&app, &["reset", "org:acme/**", "--metric", "tokens"]).await,
        &["the metric is not in the catalogue"],
    );

    assert_eq!(used(&app, ACME[0]).await, 4);
    app.finish().await;
}
