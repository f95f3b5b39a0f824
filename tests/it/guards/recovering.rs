//! The guards that notice a loss and heal it.

use std::time::Duration;

use headroom::quota::Guards;

use super::fixture::SUBJECT;
use super::fixture::Seen;
use super::fixture::consume;
use super::fixture::end;
use super::fixture::fail_over;
use super::fixture::healthy;
use super::fixture::image;
use super::fixture::log_then_lose;
use super::fixture::look;
use super::fixture::start;
use super::fixture::used;
use super::fixture::without;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::poll::eventually;
use crate::support::stores::PostgresClient;

/// A recovery that lost nothing, with that many events in the log.
fn recovered(events: i64) -> Seen {
    Seen { incidents: 1, ..healthy(events) }
}

/// Guards promises 1 and 3 by `seq_check`: a shard behind the cursor has lost events. Without it a node that begins
/// then decides on old counters, and what it accepts takes places that the cursor has passed: over the limit, and in
/// no log.
#[tokio::test]
async fn a_shard_behind_the_cursor_is_recovered() {
    let with = begin_after_a_loss(Guards::default()).await;
    let without = begin_after_a_loss(Guards { seq_check: false, ..Guards::default() }).await;

    assert_eq!(with, (recovered(1), false, recovered(1)));
    let (between, second, after) = without;
    assert!(between.broken.contains(&"I2"), "{between:?}");
    assert!(second, "the second of one message is accepted");
    assert_eq!((after.logged, after.incidents), (1, 0), "and lost without a word");
}

/// What is seen after the loss and a flush, whether a new node then accepts a second message of one, and the end.
async fn begin_after_a_loss(guards: Guards) -> (Seen, bool, Seen) {
    let mut app = start(1, Options { guards, ..Options::default() }).await;
    log_then_lose(&app, 1).await;

    app.flush().await;
    let between = look(&app).await;
    app.add_node().await;
    let second = consume(&app, 1).await;

    app.flush().await;
    (between, second, end(app).await)
}

/// Guards promise 3 by `seen_seq`: a node that saw acknowledged events go begins a recovery, whose incident says how
/// many there were. Without it the loss leaves no trace.
#[tokio::test]
async fn a_node_that_sees_its_own_event_gone_recovers_the_shard() {
    let with = lose_before_the_flush(without(&[])).await;
    let without = lose_before_the_flush(without(&["seen_seq"])).await;

    assert_eq!(with, Seen { lost_at_most: 1, ..recovered(1) });
    assert_eq!(without, healthy(1), "two were acknowledged, one is in the log, nobody says so");
}

async fn lose_before_the_flush(options: Options) -> Seen {
    let app = start(3, options).await;
    assert_eq!(used(&app).await, 0);
    let before = image(&app).await;
    assert!(consume(&app, 0).await);
    fail_over(&app, &before).await;

    assert!(consume(&app, 0).await);

    app.flush().await;
    end(app).await
}

/// Guards promise 3 by `salvage`: units accepted between a failover and its detection are only in the outbox. Without
/// it they are gone with the epoch, and the incident does not tell.
#[tokio::test]
async fn a_recovery_logs_what_was_accepted_after_the_failover() {
    let with = accept_after_a_failover(Guards::default()).await;
    let without = accept_after_a_failover(Guards { salvage: false, ..Guards::default() }).await;

    assert_eq!(with, recovered(3));
    assert_eq!(without, recovered(2));
}

async fn accept_after_a_failover(guards: Guards) -> Seen {
    let app = start(5, Options { guards, nodes: 2, ..Options::default() }).await;
    log_then_lose(&app, 2).await;
    // The second node has seen none of them.
    assert!(consume(&app, 1).await);

    app.flush().await;

    end(app).await
}

/// Guards promise 3 by `seq_check`: after a failover other nodes may have filled the lost places again before a flusher
/// looks, so that the numbers are right and the events are not. What stands at the cursor is then not what was logged.
/// Without the check the event at the cursor's place is never flushed, though Redis lost nothing since it was accepted.
#[tokio::test]
async fn places_that_were_lost_and_filled_again_are_noticed() {
    let with = refill_after_a_failover(Guards::default()).await;
    let without = refill_after_a_failover(Guards { seq_check: false, ..Guards::default() }).await;

    assert_eq!((with.logged, with.counted, with.incidents), (3, 3, 1));
    assert_eq!(with.broken, Vec::<&str>::new());
    assert_eq!((without.logged, without.incidents), (2, 0), "one of three is lost without a word");
}

async fn refill_after_a_failover(guards: Guards) -> Seen {
    let app = start(5, Options { guards, nodes: 2, ..Options::default() }).await;
    log_then_lose(&app, 1).await;
    // The second node has not seen the lost event, and the first, which has, is not asked again.
    assert!(consume(&app, 1).await && consume(&app, 1).await);

    app.flush().await;

    end(app).await
}

/// Guards promise 3 by `fence`: a unit accepted after the outbox was read for the salvage would be thrown away at the
/// opening. With it the request waits and is decided in the new epoch.
#[tokio::test]
async fn nothing_is_accepted_between_salvage_and_opening() {
    let with = Box::pin(accept_during_a_recovery(Options::default())).await;
    let guards = Guards { fence: false, ..Guards::default() };
    let without =
        Box::pin(accept_during_a_recovery(Options { guards, ..without(&["fence"]) })).await;

    assert_eq!(with, recovered(2));
    assert_eq!(without, recovered(1), "the second was acknowledged and is gone");
}

async fn accept_during_a_recovery(options: Options) -> Seen {
    let has_fence = options.guards.fence;
    let app = start(5, Options { nodes: 2, ..options }).await;
    log_then_lose(&app, 1).await;
    // The recovery has salvaged when it comes to write its incident.
    let locker = app.postgres().await;
    locker.batch_execute("BEGIN; LOCK TABLE incidents").await.unwrap();
    let meanwhile = async {
        wait_for_blocked(&app, 1).await;
        if has_fence {
            tokio::join!(accept(&app), async {
                wait_for_blocked(&app, 2).await;
                unlock(&locker).await;
            });
        } else {
            accept(&app).await;
            unlock(&locker).await;
        }
    };

    tokio::join!(app.flush(), meanwhile);

    app.flush().await;
    end(app).await
}

async fn accept(app: &TestApp) {
    let order = orders::one(SUBJECT, "messages");
    assert!(app.quota_of(1).consume(order).await.unwrap().allowed);
}

async fn unlock(locker: &PostgresClient) {
    locker.batch_execute("COMMIT").await.unwrap();
}

/// Waits until so many statements wait for a lock.
async fn wait_for_blocked(app: &TestApp, statements: i64) {
    const BLOCKED: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let postgres = app.postgres().await;
    eventually("a statement that waits for a lock", Duration::from_secs(20), || async {
        postgres.query_one(BLOCKED, &[]).await.unwrap().get::<_, i64>(0) >= statements
    })
    .await;
}
