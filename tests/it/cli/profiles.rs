//! `headroom subject`, and what of it `headroom usage` and `headroom set` show.

use std::process::Stdio;

use serde_json::json;

use super::assert_refused;
use super::on;
use crate::support::TestApp;
use crate::support::program::Outcome;
use crate::support::program::env_of;
use crate::support::program::outcome;
use crate::support::program::program;

/// Puts a profile that is typed into the standard input.
async fn put(app: &TestApp, profile: &str, arguments: &[&str]) -> Outcome {
    let file = app.stores.folder().join("typed.json");
    std::fs::write(&file, profile).unwrap();
    let input = Stdio::from(std::fs::File::open(&file).unwrap());
    let put = ["subject", "put", "org:acme/user:u_1"];
    outcome(program().args(put).args(arguments).envs(env_of(app)).stdin(input)).await
}

/// Guards the life of a profile on the command line, with versions that keep two editors apart.
#[tokio::test]
async fn a_profile_is_put_read_and_deleted() {
    let app = TestApp::start().await;
    let five = r#"{"limits":[{"metric":"messages","period":"day","max":5}],"anchor_day":15}"#;

    let nothing = on(&app, &["subject", "get", "org:acme/user:u_1"]).await.json();
    let first = put(&app, five, &["--expect", "0", "--reason", "a trial"]).await.json();
    let stale = put(&app, "{}", &["--expect", "0"]).await;
    let got = on(&app, &["subject", "get", "org:acme/user:u_1"]).await.json();
    let version = first["version"].to_string();
    let usage = app.caller().get("/v1/subjects/org:acme%2Fuser:u_1/usage").await;
    let delete = ["subject", "delete", "org:acme/user:u_1", "--expect", version.as_str()];
    let deleted = on(&app, &delete).await;
    let gone = on(&app, &["subject", "delete", "org:acme/user:u_1"]).await;
    let audit = on(&app, &["audit", "--target", "org:acme/user:u_1"]).await.json();

    assert_eq!((&nothing["version"], &nothing["profile"]), (&json!(0), &json!({})));
    assert_eq!(first["profile"], serde_json::from_str::<serde_json::Value>(five).unwrap());
    assert_refused(&stale, &[&format!("version {version} is in force")]);
    assert_eq!(got, first);
    assert_eq!(usage.limit("messages-day")["limit"], 5, "in force when the command ends");
    assert_eq!((deleted.code, deleted.stdout.as_str()), (0, "deleted\n"));
    assert_refused(&gone, &["nothing is configured"]);
    let actions: Vec<&str> =
        audit.as_array().unwrap().iter().map(|act| act["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["subject.delete", "subject.put"]);
    assert_eq!(audit[1]["reason"], "a trial");
    app.finish().await;
}

/// Guards that a profile which does not fit is refused with its field, and nothing is stored.
#[tokio::test]
async fn a_profile_that_does_not_fit_is_refused_with_its_field() {
    let app = TestApp::start().await;
    let long = format!("{{\"plan\":\"{}\"}}", "p".repeat(10_000));

    for (profile, word) in [
        ("", "not a profile"),
        (r#"{"color":1}"#, "unknown field `color`"),
        (r#"{"plan":"gold"}"#, "plan names the plan \"gold\""),
        (r#"{"time_zone":"Mars/Olympus"}"#, "time_zone"),
        (long.as_str(), "at most 8192 bytes"),
    ] {
        assert_refused(&put(&app, profile, &[]).await, &[word]);
    }

    let get = on(&app, &["subject", "get", "org:acme/user:u_1"]).await.json();
    assert_eq!(get["version"], 0);
    let no_file = on(&app, &["subject", "put", "user:u_1", "--file", "/nowhere.json"]).await;
    assert_refused(&no_file, &["--file /nowhere.json cannot be read"]);
    app.finish().await;
}

/// Guards the operator's view of a path: every level's limits, and the value that a total is set to.
#[tokio::test]
async fn usage_shows_levels_and_a_set_is_there_when_the_command_ends() {
    let app = TestApp::start().await;
    let pool = r#"{"limits":[{"metric":"messages","period":"lifetime","max":50}]}"#;
    let file = app.stores.folder().join("pool.json");
    std::fs::write(&file, pool).unwrap();
    let file = file.display().to_string();
    on(&app, &["subject", "put", "org:acme", "--file", &file]).await.json();

    let set = ["set", "org:acme", "messages", "40", "--period", "lifetime", "--reason", "moved in"];
    let set = on(&app, &set).await.json();
    let usage = on(&app, &["usage", "org:acme/user:u_1"]).await.json();

    let of = |usage: &serde_json::Value, name: &str| {
        let limits = usage["limits"].as_array().unwrap();
        let found = limits.iter().find(|limit| limit["name"] == name).unwrap();
        (found["subject"].clone(), found["used"].clone(), found["remaining"].clone())
    };
    assert_eq!(of(&set, "messages-lifetime"), (json!("org:acme"), json!(40), json!(10)));
    assert_eq!(of(&usage, "messages-lifetime"), of(&set, "messages-lifetime"));
    let member = (json!("org:acme/user:u_1"), json!(0), json!(100));
    assert_eq!(of(&usage, "messages-month"), member);
    assert_eq!((&usage["features"], &usage["blocked"]), (&json!({}), &json!(false)));
    let stored =
        "SELECT used FROM usage_counters WHERE subject = 'org:acme' AND period = 'lifetime'";
    let used: i64 = app.postgres().await.query_one(stored, &[]).await.unwrap().get(0);
    assert_eq!(used, 40, "in postgres when the command ends");
    for (arguments, words) in [
        (&["set", "org:acme", "tokens", "1"][..], &["the metric is not in the catalogue"][..]),
        (&["set", "org:acme", "messages", "9007199254740992"], &["VALUE", "9007199254740991"]),
        (&["set", "acme", "messages", "1"], &["SUBJECT", "scope:id"]),
    ] {
        assert_refused(&on(&app, arguments).await, words);
    }
    app.finish().await;
}
