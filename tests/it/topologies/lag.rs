//! A replica that lags when it is promoted, whoever promotes it.

use headroom::counters::keys;
use headroom::embedded::RedisServer;

use super::WITHIN;
use super::ask;
use crate::support::TestApp;
use crate::support::orders::accept;
use crate::support::orders::burst;
use crate::support::orders::consume;
use crate::support::orders::shard_of;
use crate::support::poll::eventually;
use crate::support::stores::connect_redis;

/// Accepts 30 that are flushed and 10 that are not, which the replica has, and 7 that it has not. The limit is 100.
pub async fn begin(app: &TestApp, subject: &str, replica: &RedisServer) {
    let quota = app.quota();
    accept(quota, subject, 30).await;
    app.flush().await;
    accept(quota, subject, 10).await;
    cut_off_at(replica, shard_of(subject), 40).await;
    accept(quota, subject, 7).await;
}

/// Waits until the replica has the place, then takes its primary's word from it.
async fn cut_off_at(replica: &RedisServer, shard: u16, seq: u64) {
    let replica = connect_redis(replica).await;
    // A replica of a cluster answers reads to those alone who say that they may be old; elsewhere that is an error.
    let _ = ask::<()>(&replica, &["READONLY"]).await;
    let meta = keys::meta(shard);
    eventually("the replica's copy", WITHIN, async || {
        ask::<Option<u64>>(&replica, &["HGET", &meta, "seq"]).await.unwrap() == Some(seq)
    })
    .await;
    ask::<()>(&replica, &["CONFIG", "SET", "masterauth", "wrong"]).await.unwrap();
    ask::<u64>(&replica, &["CLIENT", "KILL", "TYPE", "master"]).await.unwrap();
}

/// Waits until the replica decides, and finds that it was noticed before it did.
pub async fn assert_noticed(app: &TestApp, subject: &str) {
    let quota = app.quota();
    let is_back = async || consume(quota, subject).await.is_ok();
    eventually("the failover", WITHIN, is_back).await;
    let accepted = burst(&[quota], subject, 100).await;

    assert_eq!(accepted, 59, "forty of a hundred survive, and one was consumed");
    let incidents = app.ledger().incidents(1_000).await.unwrap();
    let incident = incidents.iter().find(|it| it.shard == shard_of(subject)).unwrap();
    assert_eq!((incident.reason.as_str(), incident.salvaged), ("rollback", 10));
    assert_eq!((incident.expected_seq, incident.found_seq), (47, Some(40)));
    assert!(incident.lost_at_most >= 7, "{incident:?}");
}
