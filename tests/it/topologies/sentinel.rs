//! A primary that sentinels name, which dies.

use super::SUBJECTS;
use super::lag;
use super::load::Load;
use super::sentinel_world::Watched;

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
