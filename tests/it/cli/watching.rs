//! `headroom top`, and what commands print on a terminal.

use std::process::Stdio;

use serde_json::Value;
use serde_json::json;
use tokio::process::Command;

use super::on;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::program::Outcome;
use crate::support::program::env_of;
use crate::support::program::outcome;

const SUBJECT: &str = "user:u_1";

/// An app whose subject has used 90 of 100 messages, all of them in Postgres.
async fn near_its_limit() -> TestApp {
    let app = TestApp::start_with(Options { flushers: true, ..Options::default() }).await;
    let charged = app.caller().charge(SUBJECT, "messages", 90).await;
    assert!(charged.is_allowed(), "{charged:?}");
    app.flush().await;
    app
}

/// Runs a command with a terminal as its input and output; util-linux's `script` makes one.
async fn on_a_terminal(app: &TestApp, arguments: &str) -> Outcome {
    let command = format!("{} {arguments}", env!("CARGO_BIN_EXE_headroom"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    script.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").envs(env_of(app));
    outcome(script.stdin(Stdio::null()).kill_on_drop(true)).await
}

/// Guards what an operator watches: two looks are two documents, with rates from the second on, who is near a limit, and
/// what happened.
#[tokio::test]
async fn each_look_of_top_is_a_line_of_json_in_a_pipe() {
    let app = near_its_limit().await;

    let top = on(&app, &["top", "--count", "2", "--every", "1"]).await;

    assert_eq!(top.code, 0, "{top:?}");
    let looks: Vec<Value> =
        top.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(looks.len(), 2, "{top:?}");
    assert_eq!(
        (&looks[0]["accepted_per_s"], &looks[1]["accepted_per_s"]),
        (&Value::Null, &json!(0.0))
    );
    for look in &looks {
        let near = &look["near"][0];
        assert_eq!(
            (&near["subject"], &near["used"], &near["max"]),
            (&json!(SUBJECT), &json!(90), &json!(100))
        );
        assert_eq!(
            (&look["latest"][0]["kind"], &look["latest"][0]["subject"]),
            (&json!("consume"), &json!(SUBJECT))
        );
        let shards = look["shards"].as_array().unwrap();
        let sum = |name: &str| shards.iter().map(|it| it[name].as_u64().unwrap()).sum::<u64>();
        assert_eq!((sum("seq"), sum("waiting")), (1, 0), "{shards:?}");
    }
    app.finish().await;
}

/// Guards `--metric`: a name that makes no sense is refused, and another metric has limits of its own.
#[tokio::test]
async fn top_shows_the_metric_that_is_named() {
    let app = near_its_limit().await;

    let other = on(&app, &["top", "--count", "1", "--metric", "premium_messages"]).await.json();
    let wrong = on(&app, &["top", "--count", "1", "--metric", "No Metric"]).await;

    assert_eq!((&other["metric"], &other["near"]), (&json!("premium_messages"), &json!([])));
    super::assert_refused(&wrong, &["--metric"]);
    app.finish().await;
}

/// Guards that people get tables and screens, and that the screen is given back.
#[tokio::test]
async fn a_terminal_gets_tables_and_a_screen_of_its_own() {
    let app = near_its_limit().await;

    let usage = on_a_terminal(&app, "usage user:u_1").await;
    let top = on_a_terminal(&app, "top --count 1").await;
    let piped = on(&app, &["usage", SUBJECT]).await;

    assert_eq!((usage.code, top.code), (0, 0), "{usage:?} {top:?}");
    assert!(usage.stdout.starts_with("level "), "{usage:?}");
    assert!(usage.stdout.contains("messages-month"), "{usage:?}");
    assert!(top.stdout.contains("\x1b[?1049h"), "{top:?}");
    assert!(top.stdout.trim_end().ends_with("\x1b[?1049l"), "{top:?}");
    assert!(top.stdout.contains("90.0 %"), "{top:?}");
    assert!(piped.json().is_object(), "{piped:?}");
    app.finish().await;
}
