//! `headroom check-config` and `headroom openapi`, which need no store.

use std::path::Path;

use super::assert_refused;
use crate::support::program::Outcome;
use crate::support::program::run;

const NOTHING: [(&str, &str); 0] = [];

async fn check(env: &[(&str, &str)]) -> Outcome {
    run(&["check-config"], env.iter().copied()).await
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn setting(outcome: &Outcome, section: &str, key: &str) -> String {
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let table: toml::Table = outcome.stdout.parse().unwrap();
    table[section][key].to_string()
}

/// Guards that what is printed is a configuration, and holds no secret.
#[tokio::test]
async fn the_settings_in_force_are_printed_without_their_secrets() {
    let secrets = [
        ("DATABASE_URL", "postgres://headroom:hunter2@db.example/headroom?sslmode=disable"),
        ("HEADROOM_POSTGRES_OWNER_URL", "postgres://owner:hunter2@db.example/headroom"),
        ("REDIS_URL", "redis://:hunter2@redis.example:6379/0"),
        ("HEADROOM_AUTH_ADMIN_KEY", "hunter2-hunter2-hunter2-hunter2"),
        ("HEADROOM_JWT_ALGORITHM", "HS256"),
        ("HEADROOM_JWT_SECRET", "hunter2-hunter2-hunter2-hunter2-hunter2"),
    ];

    let outcome = check(&secrets).await;

    outcome.assert_hides("hunter2");
    assert_eq!(setting(&outcome, "redis", "url"), "\"redis://:***@redis.example:6379/0\"");
    assert_eq!(setting(&outcome, "auth", "admin_key"), "\"***\"");
    assert_eq!(outcome.stderr, "");
}

/// Guards the order of the layers: defaults, file, environment.
#[tokio::test]
async fn the_environment_overrides_the_file_and_the_file_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[server]\nin_flight_max = 10\nbody_bytes_max = 2048\n";
    let file = write(folder.path(), "headroom.toml", text);
    let secret = write(folder.path(), "url", "redis://:hunter2@from-a-file:6379/\n");
    let env = [("HEADROOM_SERVER_IN_FLIGHT_MAX", "20"), ("REDIS_URL_FILE", secret.as_str())];

    let by_option = run(&["check-config", "--config", &file], env).await;
    let by_variable = check(&[env[0], env[1], ("HEADROOM_CONFIG", &file)]).await;

    for outcome in [by_option, by_variable] {
        outcome.assert_hides("hunter2");
        assert_eq!(setting(&outcome, "server", "in_flight_max"), "20");
        assert_eq!(setting(&outcome, "server", "body_bytes_max"), "2048");
        assert_eq!(setting(&outcome, "server", "request_timeout_ms"), "2000");
        assert_eq!(setting(&outcome, "redis", "url"), "\"redis://:***@from-a-file:6379/\"");
    }
}

/// Guards that a mistake stops the start and is named, without the value of a secret.
#[tokio::test]
async fn a_mistake_in_the_configuration_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| write(folder.path(), name, text);
    let files = [
        (file("a.toml", "[server]\nlistne = \"x\"\n"), "unknown key server.listne"),
        (file("b.toml", "[sever]\nlisten = \"x\"\n"), "unknown key sever"),
        (
            file("c.toml", "[server]\nin_flight_max = \"10\"\n"),
            "server.in_flight_max must be an integer",
        ),
        (
            file("d.toml", "[server]\nin_flight_max = 0\n"),
            "server.in_flight_max is 0, must be 1 to 1000000",
        ),
        (file("e.toml", "[redis]\nurl = \"redis://:hunter2@h\n"), "line 2"),
        (
            file("f.toml", "[redis]\nurl = \"http://:hunter2@h\"\n"),
            "redis.url: must begin with redis://",
        ),
        ("/nonexistent.toml".to_owned(), "cannot read /nonexistent.toml, named by --config"),
    ];
    let variables = [
        (("HEADROOM_SERVER_LISTNE", "x"), "HEADROOM_SERVER_LISTNE"),
        (("HEADROOM_QUOTA_SHARDS", "two"), "quota.shards must be an integer"),
        (("HEADROOM_QUOTA_SHARDS", "0"), "quota.shards is 0, must be 1 to 1024"),
        (("HEADROOM_SERVER_LISTEN", "nowhere"), "server.listen"),
        (("HEADROOM_JWT_ALGORITHM", "none"), "jwt.algorithm"),
        (("HEADROOM_QUOTA_CATALOGUE", "/nonexistent.toml"), "/nonexistent.toml cannot be read"),
        (("REDIS_URL_FILE", "/nonexistent"), "cannot read /nonexistent, named by REDIS_URL_FILE"),
        (("HEADROOM_LOG_LEVEL", "headroom=loud"), "log.level"),
    ];

    for (file, words) in files {
        let outcome = run(&["check-config", "--config", &file], NOTHING).await;
        assert_refused(&outcome, &[words]);
        outcome.assert_hides("hunter2");
    }
    for (variable, words) in variables {
        assert_refused(&check(&[variable]).await, &[words]);
    }
    let broken = file(
        "g.toml",
        "metrics = [\"messages\"]\n[plans.p]\nlimits = [{ metric = \"tokens\", period = \"day\" }]\n",
    );
    let outcome = check(&[("HEADROOM_QUOTA_CATALOGUE", &broken)]).await;
    assert_refused(&outcome, &["the catalogue is wrong", "tokens"]);
}

/// Guards the snapshot, and that commands which need nothing ask for nothing.
#[tokio::test]
async fn the_openapi_document_is_the_stored_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

    let outcome = run(&["openapi"], [("HEADROOM_NO_SUCH_KEY", "1")]).await;

    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(outcome.stdout == std::fs::read_to_string(path).unwrap(), "openapi.json is old");
}

/// Guards the help: every command says what it does, and a wrong one names the right ones.
#[tokio::test]
async fn the_commands_explain_themselves() {
    let help = run(&["--help"], NOTHING).await;
    let (bare, wrong) = (run(&[] as &[&str], NOTHING).await, run(&["start"], NOTHING).await);

    assert_eq!(help.code, 0);
    for command in
        ["serve", "dev", "migrate", "check-config", "keys", "usage", "reset", "verify", "openapi"]
    {
        assert!(
            help.stdout.lines().any(|line| line.trim_start().starts_with(command)),
            "{command}"
        );
    }
    assert_eq!((bare.code, wrong.code), (2, 2));
    assert!(bare.stderr.contains("Usage: headroom") && wrong.stderr.contains("'start'"));
}
