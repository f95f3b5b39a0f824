//! A Redis Cluster whose slots move and whose primaries die.

use std::time::Duration;
use std::time::Instant;

use super::SUBJECTS;
use super::WITHIN;
use super::cluster_world::Cluster;
use super::load::Load;
use crate::support::orders::accept;
use crate::support::orders::burst;
use crate::support::orders::consume;
use crate::support::orders::shard_of;
use crate::support::orders::used;
use crate::support::poll::eventually;
use crate::support::program;
use crate::support::program::run;

/// Guards promise 1 on several servers: each shard is decided where its slot is, and no limit is passed through any node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_decides_exactly_over_all_its_servers() {
    let cluster = Cluster::start(0).await;
    let app = cluster.app(super::options(25).patient(), 2).await;
    let nodes = [app.quota_of(0), app.quota_of(1)];
    assert_eq!(SUBJECTS.map(shard_of), [0, 1]);

    for subject in SUBJECTS {
        assert_eq!(burst(&nodes, subject, 60).await, 25, "{subject}");
        assert_eq!(used(nodes[1], subject).await, 25);
    }

    app.flush().await;
    let mut env = program::env_of(&app);
    env.retain(|(name, _)| name != "REDIS_URL");
    env.push(("HEADROOM_REDIS_CLUSTER_URLS".to_owned(), cluster.urls()));
    for (arguments, said) in [
        (vec!["verify"], "2"),
        (vec!["usage", SUBJECTS[0]], "25"),
        (vec!["reset", SUBJECTS[0], "--reason", "a test"], ""),
        (vec!["repair"], ""),
        (vec!["check-config"], "cluster_urls = \"redis://default:***@127.0.0.1:"),
    ] {
        let outcome = run(&arguments, env.clone()).await;
        assert!(outcome.code == 0 && outcome.stdout.contains(said), "{arguments:?}: {outcome:?}");
        outcome.assert_hides("ter@2");
    }
    assert_eq!(accept(nodes[0], SUBJECTS[0], 1).await, 1, "after the reset");
    app.finish().await;
}

/// Guards promises 2 and 4 while slots move: whoever asks the wrong server is sent on, and nothing is lost or done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_are_moved_under_load_lose_and_double_nothing() {
    let cluster = Cluster::start(0).await;
    let app = cluster.app(super::options(1_000_000), 2).await;
    let callers = [app.caller_of(0), app.caller_of(1)];

    let load = Load::during(&callers, async |load| {
        for _ in 0..3 {
            cluster.move_shard(0, 1, 2).await;
            load.progress().await;
            cluster.move_shard(1, 0, 2).await;
            load.progress().await;
            cluster.move_shard(0, 2, 0).await;
            cluster.move_shard(1, 2, 1).await;
            load.progress().await;
            cluster.move_shard(0, 0, 1).await;
            cluster.move_shard(1, 1, 0).await;
            load.progress().await;
        }
    })
    .await;

    assert_eq!(load.assert_exactly_once(&app).await, 0, "lost");
    assert!(app.ledger().incidents(1_000).await.unwrap().is_empty(), "a move is no loss");
    app.finish().await;
}

/// Guards the rule that nodes outlive the servers: a failover by hand and a primary that is killed need no restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn primaries_that_are_replaced_under_load_need_no_restart() {
    let mut cluster = Cluster::start(1).await;
    let app = cluster.app(super::options(1_000_000), 2).await;
    let callers = [app.caller_of(0), app.caller_of(1)];

    let load = Load::during(&callers, async |load| {
        cluster.tell(4, &["CLUSTER", "FAILOVER"]).await;
        eventually("the failover", WITHIN, || cluster.is_primary(4)).await;
        load.progress().await;
        cluster.servers[0].kill().await.unwrap();
        eventually("the replica's promotion", WITHIN, || cluster.is_primary(3)).await;
        load.progress().await;
    })
    .await;

    load.assert_exactly_once(&app).await;
    app.finish().await;
}

/// Guards the table of absences: a cluster that serves nothing is a 503 within the deadline, and says when to come back.
#[tokio::test]
async fn a_cluster_that_is_down_is_a_quick_503() {
    const ANSWER_MAX: Duration = Duration::from_secs(5);
    let cluster = Cluster::start(0).await;
    let options = super::options(100).with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 300);
    let app = cluster.app(options, 1).await;
    for subject in SUBJECTS {
        assert_eq!(accept(app.quota(), subject, 1).await, 1);
    }
    let slot = headroom::counters::keys::slot(1).to_string();

    cluster.tell(0, &["CLUSTER", "DELSLOTS", &slot]).await;
    let started_at = Instant::now();
    let answer = app.caller().consume(SUBJECTS[1], "any").await;
    let elapsed = started_at.elapsed();
    cluster.tell(0, &["CLUSTER", "ADDSLOTS", &slot]).await;

    assert_eq!((answer.status.as_u16(), answer.code()), (503, "store_unavailable"), "{answer:?}");
    assert!(!answer.header("retry-after").is_empty() && elapsed < ANSWER_MAX, "{elapsed:?}");
    eventually("the cluster's return", WITHIN, async || {
        consume(app.quota(), SUBJECTS[1]).await.is_ok_and(|decision| decision.allowed)
    })
    .await;
    app.finish().await;
}
