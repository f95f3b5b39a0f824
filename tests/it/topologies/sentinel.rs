//! A primary that sentinels name, which dies.

use super::SUBJECTS;
use super::WITHIN;
use super::ask;
use super::load::Load;
use super::sentinel_world::Watched;
use crate::support::orders::accept;
use crate::support::orders::burst;
use crate::support::orders::consume;
use crate::support::orders::shard_of;
use crate::support::poll::eventually;
use crate::support::stores::connect_redis;

/// Guards the rule that nodes outlive the servers: a failover by hand and a primary that is killed need no restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_replaced_under_load_needs_no_restart() {
    let mut watched = Watched::start().await;
    let app = watched.app(super::options(1_000_000), 2).await;
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

    load.assert_exactly_once(&app).await;
    app.finish().await;
}

/// Guards promises 1 and 3: a replica that lacks acknowledged events is noticed when it is promoted, and the incident says
/// how many.
#[tokio::test]
async fn a_replica_that_lags_is_noticed_when_it_is_promoted() {
    let mut watched = Watched::start().await;
    let app = watched.app(super::options(100).patient(), 1).await;
    let (subject, quota) = (SUBJECTS[0], app.quota());
    accept(quota, subject, 30).await;
    app.flush().await;
    accept(quota, subject, 10).await;
    watched.cut_off_at(shard_of(subject), 40).await;
    accept(quota, subject, 7).await;

    watched.servers[0].kill().await.unwrap();
    let is_back = async || consume(quota, subject).await.is_ok();
    eventually("the failover", WITHIN, is_back).await;
    let accepted = burst(&[quota], subject, 100).await;

    assert_eq!(accepted, 59, "forty of a hundred survive, and one was consumed");
    let incidents = app.ledger().incidents(1_000).await.unwrap();
    let incident = incidents.iter().find(|it| it.shard == shard_of(subject)).unwrap();
    assert_eq!((incident.reason.as_str(), incident.salvaged), ("rollback", 10));
    assert_eq!((incident.expected_seq, incident.found_seq), (47, Some(40)));
    assert!(incident.lost_at_most >= 7, "{incident:?}");
    app.finish().await;
}

impl Watched {
    /// Waits until the replica has the place, then takes its primary's word from it: from now on it lags.
    async fn cut_off_at(&self, shard: u16, seq: u64) {
        let replica = connect_redis(&self.servers[1]).await;
        let meta = headroom::counters::keys::meta(shard);
        eventually("the replica's copy", WITHIN, async || {
            ask::<Option<u64>>(&replica, &["HGET", &meta, "seq"]).await.unwrap() == Some(seq)
        })
        .await;
        ask::<()>(&replica, &["CONFIG", "SET", "masterauth", "wrong"]).await.unwrap();
        ask::<u64>(&replica, &["CLIENT", "KILL", "TYPE", "master"]).await.unwrap();
    }
}
