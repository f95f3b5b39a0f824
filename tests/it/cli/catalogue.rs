//! `headroom apply` and `headroom export`.

use serde_json::Value;
use serde_json::json;

use super::assert_refused;
use super::on;
use crate::support::TestApp;

/// The chat's catalogue with another monthly limit.
fn chat_with(messages: u64) -> String {
    let chat = include_str!("../../../deploy/catalogues/chat.toml");
    chat.replace("max = 100", &format!("max = {messages}"))
}

fn write(app: &TestApp, name: &str, text: &str) -> String {
    let file = app.stores.folder().join(name);
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// Guards the way of a change: shown, made, in force on a running node, and in the audit log with its reason.
#[tokio::test]
async fn a_file_is_shown_then_applied_and_remembered() {
    let app = TestApp::start().await;
    let file = write(&app, "new.toml", &chat_with(200));

    let dry = on(&app, &["apply", &file, "--dry-run"]).await.json();
    let untouched = on(&app, &["export"]).await.stdout;
    let real = on(&app, &["apply", &file, "--reason", "spring sale"]).await.json();
    let again = on(&app, &["apply", &file]).await.json();
    let audit = on(&app, &["audit", "--target", "catalogue", "--limit", "5"]).await.json();

    let changes = json!(["~ plan \"chat\" limit messages-month: max 100 -> 200"]);
    assert_eq!(dry, json!({ "version": 1, "applied": false, "changes": changes }));
    assert!(untouched.contains("version 1.") && untouched.contains("max = 100"), "{untouched}");
    assert_eq!(real, json!({ "version": 2, "applied": true, "changes": changes }));
    assert_eq!(again, json!({ "version": 2, "applied": false, "changes": [] }));
    assert_eq!(audit.as_array().unwrap().len(), 1, "{audit}");
    let act = &audit[0];
    assert_eq!(
        [&act["actor"], &act["action"], &act["reason"]],
        ["cli", "catalogue.replace", "spring sale"]
    );
    assert_eq!([&act["before"]["version"], &act["after"]["version"]], [&json!(1), &json!(2)]);
    app.quota().follow_catalogue().await.unwrap();
    let usage = app.caller().get("/v1/subjects/user:u_1/usage").await;
    assert_eq!(usage.limit("messages-month")["limit"], 200);
    app.finish().await;
}

/// Guards compare-and-set: a change that is based on another version changes nothing.
#[tokio::test]
async fn a_change_that_is_based_on_another_version_is_refused() {
    let app = TestApp::start().await;
    let file = write(&app, "new.toml", &chat_with(200));

    let early = on(&app, &["apply", &file, "--expect", "2"]).await;
    let right = on(&app, &["apply", &file, "--expect", "1"]).await.json();
    let late = on(&app, &["apply", &file, "--expect", "1", "--dry-run"]).await;

    assert_refused(&early, &["version 1 is in force"]);
    assert_eq!(right["version"], 2);
    assert_refused(&late, &["version 2 is in force"]);
    app.finish().await;
}

/// Guards that a file which is no catalogue is named with the place of the mistake, before any store is asked.
#[tokio::test]
async fn a_file_that_is_no_catalogue_says_what_is_wrong_with_it() {
    let app = TestApp::start().await;
    let apply = async |name: &str, text: &str| {
        let file = write(&app, name, text);
        on(&app, &["apply", &file]).await
    };

    let no_toml = apply("a.toml", "metrics = [").await;
    let unknown = apply("b.toml", &chat_with(1).replace("max = 1 }", "maxx = 1 }")).await;
    let misfit = apply("c.toml", "metrics = []\ndefault_plan = 'gold'\n[plans]").await;
    let endless = apply("d.toml", &"# long\n".repeat(160_000)).await;
    let absent = on(&app, &["apply", "/nowhere/catalogue.toml"]).await;
    let chatty =
        on(&app, &["apply", &write(&app, "e.toml", &chat_with(2)), "--reason", &"x".repeat(501)])
            .await;

    assert_refused(&no_toml, &["a.toml: not a catalogue"]);
    assert_refused(&unknown, &["b.toml", "unknown field `maxx`"]);
    assert_refused(&misfit, &["c.toml: default_plan names the plan \"gold\""]);
    assert_refused(&endless, &["d.toml must be at most 1048576 bytes"]);
    assert_refused(&absent, &["/nowhere/catalogue.toml cannot be read"]);
    assert_refused(&chatty, &["--reason must be at most 500 bytes"]);
    let audit = on(&app, &["audit"]).await.json();
    assert!(!audit.as_array().unwrap().iter().any(|act: &Value| act["actor"] == "cli"), "{audit}");
    app.finish().await;
}
