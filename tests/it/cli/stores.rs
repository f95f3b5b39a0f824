//! `headroom migrate` and `serve`, and what every command says about stores that cannot be used.

use super::assert_refused;
use super::on;
use crate::support::TestApp;
use crate::support::program::env_of;
use crate::support::program::run;

const NOWHERE: [(&str, &str); 2] = [
    ("DATABASE_URL", "postgres://headroom:hunter2@127.0.0.1:1/headroom"),
    ("REDIS_URL", "redis://:hunter2@127.0.0.1:1/"),
];

/// The variables of a test with a database of its own that is still empty.
async fn with_empty_database(app: &TestApp) -> Vec<(String, String)> {
    let url = &app.stores.postgres_url;
    let (server, name) = url.rsplit_once('/').unwrap();
    let name = format!("{}_empty", name.split('?').next().unwrap());
    app.postgres().await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let mut env = env_of(app);
    env[0].1 = format!("{server}/{name}");
    env
}

/// Guards migrations: needed, said so, done once, and harmless again.
#[tokio::test]
async fn an_empty_database_is_migrated_once() {
    let app = TestApp::start().await;
    let env = with_empty_database(&app).await;

    let too_early = run(&["usage", "user:u_1"], env.clone()).await;
    let first = run(&["migrate"], env.clone()).await;
    let second = run(&["migrate"], env.clone()).await;
    let usable = run(&["keys", "list"], env).await;

    assert_refused(&too_early, &["`headroom migrate`"]);
    assert!(first.json()["applied"].as_array().unwrap().len() >= 6, "{first:?}");
    assert_eq!(second.json(), serde_json::json!({ "applied": [], "shards": 2 }));
    assert_eq!(usable.json(), serde_json::json!([]));
    app.finish().await;
}

/// Guards that a Redis is not mixed up with another installation's.
#[tokio::test]
async fn stores_that_do_not_belong_together_are_refused() {
    let app = TestApp::start().await;
    let env = with_empty_database(&app).await;
    assert_eq!(run(&["migrate"], env.clone()).await.code, 0);

    for command in [&["serve"][..], &["usage", "user:u_1"], &["verify"]] {
        assert_refused(&run(command, env.clone()).await, &["belongs to the database"]);
    }

    app.finish().await;
}

/// Guards the start: each reason not to serve is named, with the setting to change.
#[tokio::test]
async fn a_node_that_should_not_start_says_why() {
    let app = TestApp::start().await;
    let serve = async |name: &str, value: &str| {
        let mut env = env_of(&app);
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), value.to_owned()));
        run(&["serve"], env).await
    };
    let taken = app.address().to_string();

    let shards = serve("HEADROOM_QUOTA_SHARDS", "4").await;
    let weak = serve("HEADROOM_AUTH_ADMIN_KEY", "hunter2").await;
    let listen = serve("HEADROOM_SERVER_LISTEN", &taken).await;
    let mut redis = app.redis().await;
    let mut command = redis::cmd("CONFIG");
    command.arg("SET").arg("maxmemory-policy").arg("allkeys-lru");
    command.query_async::<()>(&mut redis).await.unwrap();
    let evicting = on(&app, &["serve"]).await;

    assert_refused(&shards, &["quota.shards is 4", "2 shards"]);
    assert_refused(&weak, &["admin key must be at least 24"]);
    weak.assert_hides("hunter2");
    assert_refused(&listen, &["cannot listen on", &taken, "in use"]);
    assert_refused(&evicting, &["maxmemory-policy is allkeys-lru", "noeviction"]);
    app.finish().await;
}

/// Guards that a store which cannot be reached is named by every command, once, and without its password.
#[tokio::test]
async fn a_store_that_cannot_be_reached_is_named_without_its_password() {
    let app = TestApp::start().await;
    let wrong_redis = env_of(&app).into_iter().map(|(name, value)| match name.as_str() {
        "REDIS_URL" => (name, NOWHERE[1].1.to_owned()),
        _ => (name, value),
    });
    let wrong_redis: Vec<(String, String)> = wrong_redis.collect();

    for command in [
        &["serve"][..],
        &["migrate"],
        &["keys", "list"],
        &["keys", "create", "--name", "n", "--permissions", "read"],
        &["keys", "revoke", "x"],
        &["usage", "user:u_1"],
        &["reset", "user:u_1"],
        &["reset", "org:acme/**"],
        &["set", "user:u_1", "messages", "1"],
        &["subject", "get", "user:u_1"],
        &["export"],
        &["audit"],
        &["repair"],
        &["verify"],
    ] {
        let outcome = run(command, NOWHERE).await;
        outcome.assert_hides("hunter2");
        assert_refused(&outcome, &["postgres is unavailable", "refused"]);
        let count = outcome.stderr.matches("postgres is unavailable").count();
        assert_eq!(count, 1, "a reason is said once: {outcome:?}");
    }
    for command in [&["serve"][..], &["usage", "user:u_1"], &["reset", "user:u_1"], &["verify"]] {
        let outcome = run(command, wrong_redis.clone()).await;
        outcome.assert_hides("hunter2");
        assert_refused(&outcome, &["redis is away", "refused"]);
    }
    app.finish().await;
}
