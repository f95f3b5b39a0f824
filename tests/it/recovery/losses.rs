//! What Redis can lose, and what is left of it: an incident with a bound, the right counters, and a service that answers.

use std::sync::Arc;

use headroom::quota::Quota;
use headroom::quota::ResetScope;

use super::world;
use super::world::SUBJECT;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::flush_all;
use crate::support::orders;
use crate::support::orders::accept;
use crate::support::orders::burst;
use crate::support::orders::used;

/// Guards promises 1 and 3: what Postgres has stays counted when Redis forgets everything, and the rest is bounded by the
/// incident.
#[tokio::test]
async fn what_was_flushed_stays_counted_when_redis_forgets_everything() {
    let app = world::start(1, 100).await;
    accept(app.quota(), SUBJECT, 30).await;
    app.flush().await;
    accept(app.quota(), SUBJECT, 12).await;

    world::forget_everything(&app).await;
    let accepted = burst(&[app.quota()], SUBJECT, 100).await;

    assert_eq!(accepted, 70, "thirty of a hundred were in postgres");
    let incident = world::incident(&app).await;
    assert_eq!(incident.reason, "uninitialised");
    assert_eq!((incident.expected_seq, incident.found_seq), (42, None));
    assert_eq!((incident.salvaged, incident.lost_at_most), (0, 12));
    app.finish().await;
}

/// Guards promise 1 under load: however a flush of Redis falls between requests of two nodes, no more is accepted than the
/// limit and what the incidents say was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushall_under_load_over_admits_no_more_than_the_incidents_say() {
    let options = Options { flushers: true, ..world::options(2, 400) };
    let app = TestApp::start_with(options).await;
    let nodes = [app.quota_of(0), app.quota_of(1)];

    let load = async {
        let mut accepted = 0;
        for _ in 0..10 {
            accepted += burst(&nodes, SUBJECT, 50).await as u64;
        }
        accepted
    };
    let (accepted, ()) = futures_util::join!(load, lose_after(nodes[0], 150, &app));
    let accepted = accepted + burst(&nodes, SUBJECT, 400).await as u64;

    // Each node's flusher tells what the node had seen, if that was more than the one that recovered knew.
    for node in nodes {
        flush_all(node).await;
    }
    // The loss may have hit the other shard too, which served nobody.
    let incident = world::incident(&app).await;
    assert!(accepted >= 400, "{accepted} accepted");
    assert!(accepted <= 400 + incident.lost_at_most, "{accepted} accepted, {incident:?}");
    assert_eq!(used(nodes[0], SUBJECT).await, 400);
    app.finish().await;
}

async fn lose_after(node: &Arc<Quota>, used_units: u64, app: &TestApp) {
    while used(node, SUBJECT).await < used_units {
        tokio::task::yield_now().await;
    }
    world::forget_everything(app).await;
}

/// Guards promises 1 and 3: the outbox alone is lost; what it held is missing from Postgres, and the incident counts it.
#[tokio::test]
async fn a_lost_outbox_is_found_by_the_flusher_and_counted() {
    let app = world::start(1, 100).await;
    accept(app.quota(), SUBJECT, 30).await;
    app.flush().await;
    accept(app.quota(), SUBJECT, 12).await;

    world::delete(&app, &[world::outbox()]).await;
    accept(app.quota(), SUBJECT, 3).await;
    app.flush().await;

    let incident = world::incident(&app).await;
    assert_eq!((incident.reason.as_str(), incident.expected_seq), ("gap", 45));
    assert_eq!((incident.salvaged, incident.lost_at_most), (3, 12));
    assert_eq!(accept(app.quota(), SUBJECT, 1).await, 34);
    app.finish().await;
}

/// Guards promise 3 where an entry is missing between two others: what is before it is flushed, and the gap is found.
#[tokio::test]
async fn an_entry_that_is_missing_between_others_is_found_and_counted() {
    let app = world::start(1, 100).await;
    accept(app.quota(), SUBJECT, 5).await;
    let mut delete = redis::cmd("XDEL");
    delete.arg(world::outbox()).arg("1-3");
    assert_eq!(delete.query_async::<u8>(&mut app.redis().await).await.unwrap(), 1);

    app.flush().await;

    let incident = world::incident(&app).await;
    assert_eq!((incident.reason.as_str(), incident.expected_seq), ("gap", 5));
    assert_eq!((incident.salvaged, incident.lost_at_most), (2, 1));
    assert_eq!((world::logged(&app).await, used(app.quota(), SUBJECT).await), (4, 4));
    app.finish().await;
}

/// Guards promises 1 and 3: a reset takes off what Redis then loses before Postgres has it. What is used is below zero by as
/// much, and reads as none; requests of the subject, and those decided together with it, are answered. Found by
/// `headroom-torture`.
#[tokio::test]
async fn a_reset_of_what_is_lost_afterwards_leaves_a_subject_that_can_be_used() {
    let app = world::start(1, 100).await;
    accept(app.quota(), SUBJECT, 30).await;
    app.flush().await;
    accept(app.quota(), SUBJECT, 12).await;
    world::delete(&app, &[world::outbox()]).await;
    let subject = orders::subject(SUBJECT);
    app.quota().reset(&subject, ResetScope::default(), &orders::actor()).await.unwrap();

    app.flush().await;

    assert_eq!(world::incident(&app).await.lost_at_most, 12);
    assert_eq!(used(app.quota(), SUBJECT).await, 0);
    let report = app.verify().await;
    assert!(report.is_clean(), "what is below zero is explained by the loss: {report:?}");
    assert_eq!(burst(&[app.quota()], SUBJECT, 150).await, 112);
    assert_eq!(used(app.quota(), SUBJECT).await, 100);
    app.finish().await;
}

/// Guards promise 3: without the shard's state the outbox is still whole, so nothing is lost.
#[tokio::test]
async fn nothing_is_lost_when_the_shard_s_state_is() {
    let app = world::start(2, 100).await;
    accept(app.quota(), SUBJECT, 30).await;
    app.flush().await;
    accept(app.quota(), SUBJECT, 12).await;

    world::delete(&app, &[world::meta()]).await;
    let other = app.quota_of(1);
    assert_eq!(accept(other, SUBJECT, 1).await, 43);
    assert_eq!(accept(app.quota(), SUBJECT, 1).await, 44);

    let incident = world::incident(&app).await;
    assert_eq!((incident.reason.as_str(), incident.found_seq), ("uninitialised", None));
    assert_eq!((incident.salvaged, incident.expected_seq, incident.lost_at_most), (12, 42, 0));
    assert_eq!((incident.old_epoch, incident.new_epoch), (1, 2));
    app.finish().await;
}

/// Guards promises 1 and 3 where Postgres is new and Redis is not: an outbox that is left without a state is no new shard.
#[tokio::test]
async fn an_outbox_that_is_left_beside_a_new_postgres_is_salvaged() {
    let app = world::start(2, 100).await;
    accept(app.quota(), SUBJECT, 12).await;
    let as_new = "UPDATE outbox_cursors SET epoch = 1, seq = 0, fence = NULL";
    assert!(app.postgres().await.execute(as_new, &[]).await.unwrap() > 0);

    world::delete(&app, &[world::meta()]).await;
    assert_eq!(accept(app.quota_of(1), SUBJECT, 1).await, 13);

    let incident = world::incident(&app).await;
    assert_eq!((incident.salvaged, incident.lost_at_most), (12, 0));
    assert_eq!((incident.old_epoch, incident.new_epoch), (1, 2));
    app.finish().await;
}

/// Guards promises 1 and 3: after a restart on older files nothing that reached Postgres or is left in the outbox is given
/// back.
#[tokio::test]
async fn a_restart_on_an_older_snapshot_gives_back_only_what_it_lost() {
    let mut app = world::start(1, 100).await;
    accept(app.quota(), SUBJECT, 10).await;
    app.flush().await;
    accept(app.quota(), SUBJECT, 5).await;
    let snapshot = world::snapshot(&mut app).await;
    accept(app.quota(), SUBJECT, 20).await;

    world::restore(&mut app, &snapshot).await;
    let accepted = burst(&[app.quota()], SUBJECT, 120).await;

    assert_eq!(accepted, 85, "ten in postgres and five in the outbox are still counted");
    let incident = world::incident(&app).await;
    assert_eq!((incident.reason.as_str(), incident.salvaged), ("rollback", 5));
    assert_eq!((incident.expected_seq, incident.found_seq), (35, Some(15)));
    assert!((20..=25).contains(&incident.lost_at_most), "{incident:?}");
    app.finish().await;
}

/// Guards I6: a snapshot from before a recovery is of an older epoch, and everything in it is stale.
#[tokio::test]
async fn a_snapshot_of_an_older_epoch_brings_no_counter_back() {
    let mut app = world::start(1, 100).await;
    accept(app.quota(), SUBJECT, 10).await;
    let snapshot = world::snapshot(&mut app).await;
    world::delete(&app, &[world::meta()]).await;
    accept(app.quota(), SUBJECT, 20).await;
    app.flush().await;

    world::restore(&mut app, &snapshot).await;
    assert_eq!(accept(app.quota(), SUBJECT, 1).await, 31);

    let incidents = world::incidents(&app).await;
    let reasons: Vec<&str> = incidents.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons, ["uninitialised", "older_epoch"]);
    assert_eq!((incidents[1].new_epoch, incidents[1].lost_at_most), (3, 0));
    app.finish().await;
}

/// Guards promise 3: whoever recovers may have seen less than the others; they raise the bound when they come back.
#[tokio::test]
async fn a_node_that_had_seen_more_raises_the_bound_of_the_loss() {
    let app = world::start(2, 100).await;
    accept(app.quota_of(1), SUBJECT, 3).await;
    accept(app.quota(), SUBJECT, 20).await;

    world::forget_everything(&app).await;
    accept(app.quota_of(1), SUBJECT, 1).await;
    let before = world::incident(&app).await;
    accept(app.quota(), SUBJECT, 1).await;
    app.flush().await;

    assert_eq!((before.expected_seq, before.lost_at_most), (3, 3));
    let after = world::incident(&app).await;
    assert_eq!((after.expected_seq, after.lost_at_most), (23, 23));
    assert_eq!(orders::used(app.quota(), SUBJECT).await, 2);
    app.finish().await;
}
