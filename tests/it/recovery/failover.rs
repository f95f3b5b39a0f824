//! Promotion of a replica that lags.

use std::time::Duration;

use headroom::embedded::RedisOptions;
use headroom::embedded::RedisServer;
use redis::aio::MultiplexedConnection;

use super::world;
use super::world::SUBJECT;
use crate::support::TestApp;
use crate::support::forward::Forward;
use crate::support::orders::accept;
use crate::support::orders::burst;
use crate::support::orders::used;
use crate::support::poll::eventually;
use crate::support::stores::connect_redis;
use crate::support::stores::open_folder;

/// Nodes behind an address that can be moved from a Redis to its replica.
struct Pair {
    app: TestApp,
    replica: RedisServer,
    forward: Forward,
    _folder: tempfile::TempDir,
}

async fn pair(nodes: usize) -> Pair {
    let mut app = TestApp::start_with(world::options(0, 100)).await;
    let folder = open_folder();
    let replica = RedisServer::start(RedisOptions {
        dir: folder.path().to_owned(),
        append_only: true,
        replica_of: Some(app.stores.redis.port()),
        ..RedisOptions::default()
    });
    let replica = replica.await.unwrap();
    let forward = Forward::to(app.stores.redis.port()).await;
    app.set("REDIS_URL", forward.redis_url());
    for _ in 0..nodes {
        app.add_node().await;
    }
    Pair { app, replica, forward, _folder: folder }
}

async fn seq_of(connection: &mut MultiplexedConnection) -> Option<u64> {
    let mut command = redis::cmd("HGET");
    command.arg(world::meta()).arg("seq").query_async(connection).await.unwrap()
}

impl Pair {
    /// Waits until the replica has the place, then cuts it off: from now on it lags.
    async fn cut_off_at(&mut self, seq: u64) {
        let connection = connect_redis(&self.replica).await;
        let has_it = || {
            let mut connection = connection.clone();
            async move { seq_of(&mut connection).await == Some(seq) }
        };
        eventually("the replica's copy", Duration::from_secs(30), has_it).await;
        let mut connection = connection.clone();
        redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut connection).await.unwrap();
    }

    /// The primary dies and the replica takes its address.
    async fn fail_over(&mut self) {
        self.app.stores.redis.kill().await.unwrap();
        self.forward.switch(self.replica.port());
    }
}

/// Guards promises 1 and 3: a promoted replica that lacks acknowledged events is noticed before anything is decided on it.
#[tokio::test]
async fn a_replica_that_lags_is_noticed_when_it_is_promoted() {
    let mut pair = pair(1).await;
    accept(pair.app.quota(), SUBJECT, 30).await;
    pair.app.flush().await;
    accept(pair.app.quota(), SUBJECT, 10).await;
    pair.cut_off_at(40).await;
    accept(pair.app.quota(), SUBJECT, 7).await;

    pair.fail_over().await;
    let accepted = burst(&[pair.app.quota()], SUBJECT, 100).await;

    assert_eq!(accepted, 60, "forty of a hundred survive");
    let incident = world::incident(&pair.app).await;
    assert_eq!((incident.reason.as_str(), incident.salvaged), ("rollback", 10));
    assert_eq!((incident.expected_seq, incident.found_seq), (47, Some(40)));
    assert!(incident.lost_at_most >= 7, "{incident:?}");
    pair.app.finish().await;
}

/// Guards promise 3: what was flushed from the old primary is counted, although the replica never had it.
#[tokio::test]
async fn what_was_flushed_before_a_failover_stays_counted() {
    let mut pair = pair(2).await;
    accept(pair.app.quota(), SUBJECT, 10).await;
    pair.cut_off_at(10).await;
    accept(pair.app.quota(), SUBJECT, 7).await;
    pair.app.flush().await;

    pair.fail_over().await;
    let nodes = [pair.app.quota_of(0), pair.app.quota_of(1)];
    pair.app.flush().await;
    let accepted = burst(&nodes, SUBJECT, 100).await;

    assert_eq!(accepted, 83);
    assert_eq!(world::incident(&pair.app).await.lost_at_most, 0);
    pair.app.finish().await;
}

/// Guards the way back: a primary that was made a replica refuses writes over connections that stay open; the nodes look
/// for its successor.
#[tokio::test]
async fn a_demoted_primary_is_left_for_its_successor() {
    let mut pair = pair(1).await;
    accept(pair.app.quota(), SUBJECT, 10).await;
    pair.cut_off_at(10).await;
    let mut old = connect_redis(&pair.app.stores.redis).await;
    let port = pair.replica.port();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).exec_async(&mut old).await.unwrap();

    pair.forward.move_new_ones(port);
    assert_eq!(accept(pair.app.quota(), SUBJECT, 1).await, 11);

    assert_eq!(used(pair.app.quota(), SUBJECT).await, 11);
    assert!(world::incidents(&pair.app).await.is_empty());
    pair.app.stop_nodes().await;
}
