//! What is checked before a node serves.

use headroom::app::App;
use headroom::app::Hooks;
use headroom::counters::Durability;

use super::world;
use crate::support::TestApp;

/// Why no node starts on the test's stores, cause after cause.
async fn refusal(app: &TestApp) -> String {
    let Err(error) = App::start(&app.config(), Hooks::default()).await else {
        panic!("the node started");
    };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

async fn set(app: &TestApp, name: &str, value: &str) {
    let mut command = redis::cmd("CONFIG");
    command.arg("SET").arg(name).arg(value).exec_async(&mut app.redis().await).await.unwrap();
}

/// Guards promise 3: a Redis that may evict the outbox is refused, with the setting that is wrong and one that is right.
#[tokio::test]
async fn a_redis_that_may_evict_the_outbox_is_refused() {
    let app = TestApp::start_with(world::options(0, 100)).await;
    set(&app, "maxmemory-policy", "allkeys-lru").await;

    let refusal = refusal(&app).await;

    assert!(refusal.contains("maxmemory-policy is allkeys-lru"), "{refusal}");
    assert!(refusal.contains("set noeviction"), "{refusal}");
}

/// Guards promise 2: two installations cannot share a Redis by mistake.
#[tokio::test]
async fn the_redis_of_another_installation_is_refused() {
    let owner = world::start(1, 100).await;
    let mut other = TestApp::start_with(world::options(0, 100)).await;
    other.set("REDIS_URL", owner.stores.redis.url());

    // The tests' databases are copies of one, down to its identity.
    let identity = "UPDATE settings SET instance = gen_random_uuid()";
    other.postgres().await.execute(identity, &[]).await.unwrap();

    let refusal = refusal(&other).await;

    assert!(refusal.contains("belongs to the database"), "{refusal}");
    assert!(world::incidents(&owner).await.is_empty());
    owner.finish().await;
}

/// Guards promise 3: a Redis that another version filled is refused, and says what to do, before anything is misread.
#[tokio::test]
async fn the_redis_of_another_version_is_refused() {
    let app = world::start(1, 100).await;
    let meta = headroom::counters::keys::meta(0);
    let mut redis = app.redis().await;
    let mut set = async |layout: u64| {
        let mut command = redis::cmd("HSET");
        command.arg(&meta).arg("version").arg(layout).exec_async(&mut redis).await.unwrap();
    };

    set(1).await;
    let refusal = refusal(&app).await;
    set(2).await;

    assert!(refusal.contains("has the layout 1 of another version"), "{refusal}");
    app.finish().await;
}

/// Guards the shards: a node that would look for subjects elsewhere does not start.
#[tokio::test]
async fn another_number_of_shards_is_refused() {
    let mut app = TestApp::start_with(world::options(0, 100)).await;
    app.set("HEADROOM_QUOTA_SHARDS", 3);

    let refusal = refusal(&app).await;

    assert!(refusal.contains("quota.shards is 3, but the database has 2 shards"), "{refusal}");
}

/// Guards the operator's knowledge: how much of what is acknowledged survives a crash is reported as it is.
#[tokio::test]
async fn the_durability_of_redis_is_reported() {
    let app = TestApp::start_with(world::options(0, 100)).await;
    let mut found = Vec::new();
    for (append_only, sync) in [("yes", "everysec"), ("yes", "always"), ("no", "everysec")] {
        set(&app, "appendonly", append_only).await;
        set(&app, "appendfsync", sync).await;
        let core = app.core().await;
        found.push(core.report.durability);
        assert!(core.stop(std::time::Duration::from_secs(5)).await.is_clean());
    }

    assert_eq!(found, [Durability::Fast, Durability::Safe, Durability::None]);
    assert_eq!(Durability::None.to_string(), "none (no append-only file)");
}
