//! A primary that sentinels name, which dies.

use super::SUBJECTS;
use super::WITHIN;
use super::lag;
use super::load::Load;
use super::sentinel_world::Watched;
use crate::support::orders::accept;
use crate::support::orders::shard_of;
use crate::support::poll::eventually;

/// Guards the rule that nodes outlive the servers: a failover by hand and a primary that is killed need no restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_replaced_under_load_needs_no_restart() {
    let mut watched = Watched::start().await;
    let app = watched.app(super::flushing(), 2).await;
    let callers = [app.caller_of(0), app.caller_of(1)];

    let load = Load::during(&callers, async |load| {
        watched.fail_over().await;
        watched.await_primary(1).await;
        load.progress().await;
        watched.await_copy().await;
        watched.servers[1].kill().await.unwrap();
        watched.await_primary(0).await;
        load.progress().await;
    })
    .await;

    load.assert_exactly_once(&app, 0).await;
    app.finish().await;
}

/// Guards promises 1 and 3: a replica that lacks acknowledged events is noticed when it is promoted, and the incident says
/// how many.
#[tokio::test]
async fn a_replica_that_lags_is_noticed_when_it_is_promoted() {
    let mut watched = Watched::start().await;
    let app = watched.app(super::options(100).patient(), 1).await;
    lag::begin(&app, SUBJECTS[0], &watched.servers[1]).await;

    watched.servers[0].kill().await.unwrap();

    lag::assert_noticed(&app, SUBJECTS[0]).await;
    app.finish().await;
}

/// Guards promise 3 where the former primary goes on, cut off from the sentinels: a node that reaches both asks, and leaves it.
#[tokio::test]
async fn a_primary_that_does_not_know_of_its_successor_is_left() {
    let watched = Watched::start().await;
    let app = watched.app(super::options(100).patient(), 1).await;
    let (quota, shard) = (app.quota(), shard_of(SUBJECTS[0]));
    accept(quota, SUBJECTS[0], 3).await;
    let is_copied = async || watched.seq(1, shard).await == Some(3);
    eventually("the copy of what was accepted", WITHIN, is_copied).await;
    watched.name_the_copy().await;

    quota.follow_primary().await.unwrap();
    assert_eq!(accept(quota, SUBJECTS[0], 1).await, 4);

    assert_eq!((watched.seq(0, shard).await, watched.seq(1, shard).await), (Some(3), Some(4)));
    app.finish().await;
}
