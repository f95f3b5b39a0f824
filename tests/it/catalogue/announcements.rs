//! How nodes hear of a profile: from Redis, from Postgres, and late when a store was away.

use std::time::Duration;

use headroom::counters::keys;
use headroom::quota::CatalogueChange;
use headroom::quota::Expected;
use headroom::quota::QuotaError;
use headroom::quota::Store;

use super::LARGE;
use super::SMALL;
use super::SUBJECT;
use super::max;
use super::options;
use super::put_plan;
use super::start;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::poll;
use crate::support::proxy::Network;

const WITHIN: Duration = Duration::from_secs(30);

async fn forget_profile(app: &TestApp) {
    let key = keys::profile(orders::shard_of(SUBJECT), SUBJECT);
    let gone: u64 = redis::cmd("DEL").arg(key).query_async(&mut app.redis().await).await.unwrap();
    assert_eq!(gone, 1, "redis had the profile");
}

/// Guards promise 5: what decides upon a loaded subject is in Redis, its profile too.
#[tokio::test]
async fn a_node_that_knows_no_profiles_reads_them_from_redis_while_postgres_is_away() {
    let mut app = TestApp::start_with(Options { own_postgres: true, ..options(1) }).await;
    put_plan(app.quota(), "small").await.unwrap();
    orders::accept(app.quota(), SUBJECT, 1).await;
    put_plan(app.quota(), "large").await.unwrap();
    app.add_node().await;
    app.add_node().await;
    app.stores.postgres.as_mut().unwrap().stop().await.unwrap();

    assert_eq!(max(app.quota_of(1)).await.unwrap(), LARGE);
    assert_eq!(orders::accept(app.quota_of(1), SUBJECT, 2).await, 3);

    forget_profile(&app).await;
    let nowhere = max(app.quota_of(2)).await;
    let is_away = matches!(nowhere, Err(QuotaError::Unavailable { store: Store::Postgres, .. }));
    assert!(is_away, "{nowhere:?}");
    assert_eq!(max(app.quota_of(1)).await.unwrap(), LARGE, "whoever knows it goes on");
    app.stores.postgres.as_mut().unwrap().restart().await.unwrap();
    app.finish().await;
}

/// A profile that Redis has dropped is read from Postgres.
#[tokio::test]
async fn a_node_reads_a_profile_that_redis_dropped_from_postgres() {
    let mut app = start(1).await;
    put_plan(app.quota(), "large").await.unwrap();
    orders::accept(app.quota(), SUBJECT, 1).await;
    put_plan(app.quota(), "small").await.unwrap();
    app.add_node().await;
    forget_profile(&app).await;

    assert_eq!(max(app.quota_of(1)).await.unwrap(), SMALL);
    assert_eq!(orders::accept(app.quota_of(1), SUBJECT, 1).await, 2);
    app.finish().await;
}

/// Guards promise 1: a profile in Redis that is older than the one that counts is passed over, and Postgres is asked.
#[tokio::test]
async fn a_node_passes_over_an_older_profile_that_redis_still_has() {
    let app = start(2).await;
    put_plan(app.quota_of(0), "large").await.unwrap();
    orders::accept(app.quota_of(1), SUBJECT, SMALL).await;
    let (key, mut redis) = (keys::profile(orders::shard_of(SUBJECT), SUBJECT), app.redis().await);
    let older: Vec<u8> = redis::cmd("GET").arg(&key).query_async(&mut redis).await.unwrap();
    put_plan(app.quota_of(0), "small").await.unwrap();
    redis::cmd("SET").arg(&key).arg(older).exec_async(&mut redis).await.unwrap();

    assert_eq!(max(app.quota_of(1)).await.unwrap(), SMALL);
    assert!(!orders::consume(app.quota_of(1), SUBJECT).await.unwrap().allowed);
    app.finish().await;
}

/// Guards promise 1: a change that Postgres has and Redis was not told of comes into force by itself.
#[tokio::test]
async fn a_change_that_could_not_be_announced_comes_into_force_when_redis_is_back() {
    let options = Options { catalogue: options(2).catalogue, nodes: 2, ..Options::default() }
        .with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 2_000);
    let (app, proxy) = TestApp::start_behind_proxy(options).await;
    put_plan(app.quota(), "large").await.unwrap();
    orders::accept(app.quota(), SUBJECT, SMALL + 1).await;
    proxy.set(Network::Refusing);

    let put = put_plan(app.quota(), "small").await;

    let is_away = matches!(put, Err(QuotaError::Unavailable { store: Store::Redis, .. }));
    assert!(is_away, "{put:?}");
    let stored = app.quota().subject(&orders::subject(SUBJECT)).await.unwrap();
    assert_eq!(stored.profile.plan.as_deref(), Some("small"));
    proxy.set(Network::Up);
    for node in [0, 1] {
        let is_in_force = || async { max(app.quota_of(node)).await.is_ok_and(|max| max == SMALL) };
        poll::eventually("the change", WITHIN, is_in_force).await;
    }
    app.finish().await;
}

/// Guards the first steps with a catalogue of one's own: a plan that another node has just put may be named at once.
#[tokio::test]
async fn a_plan_that_another_node_has_just_put_may_be_named() {
    let app = start(2).await;
    let actor = orders::actor();
    let plans = app.quota_of(0).catalogue().catalogue.plans;

    for number in 0..20 {
        let name = format!("new_{number}");
        let change = CatalogueChange::Plan(name.clone(), plans["large"].clone());
        app.quota_of(0).change_catalogue(change, Expected::Any, &actor).await.unwrap();
        put_plan(app.quota_of(1), &name).await.unwrap();
    }

    assert_eq!(max(app.quota_of(1)).await.unwrap(), LARGE);
    app.finish().await;
}
