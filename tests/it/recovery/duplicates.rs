//! The same operation twice: once in an epoch that ended, once in the next.

use headroom::ledger::Batch;
use headroom::ledger::FlushGuards;
use headroom::quota::Order;

use super::world;
use super::world::SUBJECT;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::orders::accept;
use crate::support::orders::used;

fn keyed() -> Order {
    orders::keyed(SUBJECT, "messages", "the-key")
}

/// An operation whose first attempt was salvaged in the old epoch, and whose record Redis lost, is accepted again in the
/// new one.
async fn after_a_repetition() -> TestApp {
    let app = world::start(1, 100).await;
    accept(app.quota(), SUBJECT, 4).await;
    let first = app.quota().consume(keyed()).await.unwrap();
    let mut scan = redis::cmd("KEYS");
    let records: Vec<Vec<u8>> =
        scan.arg("hr:*:i:*").query_async(&mut app.redis().await).await.unwrap();
    let mut delete = redis::cmd("DEL");
    delete.arg(records).arg(world::meta()).exec_async(&mut app.redis().await).await.unwrap();
    let second = app.quota().consume(keyed()).await.unwrap();
    assert_eq!(first.event_id, second.event_id);
    assert!(!second.replayed);
    assert_eq!(used(app.quota(), SUBJECT).await, 6, "too high until it is flushed, never too low");
    app
}

async fn forget_list(app: &TestApp) -> Vec<String> {
    app.ledger().cursor(world::shard()).await.unwrap().forget
}

/// Guards promise 2 across a recovery: Postgres drops the repetition, and Redis counts it no longer.
#[tokio::test]
async fn a_repetition_of_a_salvaged_operation_is_counted_once() {
    let app = after_a_repetition().await;

    assert_eq!(app.flush().await, 0, "the only event is in the log already");

    assert_eq!((world::logged(&app).await, used(app.quota(), SUBJECT).await), (5, 5));
    assert!(forget_list(&app).await.is_empty());
    app.finish().await;
}

/// Guards ADR 0006: after a crash between the commit and the forgetting, the list in Postgres is taken up by the next
/// flusher.
#[tokio::test]
async fn what_is_to_be_forgotten_outlives_the_flusher() {
    let app = after_a_repetition().await;
    let cursor = app.ledger().cursor(world::shard()).await.unwrap();
    let read = app.counters().read_outbox(world::shard(), cursor.epoch, cursor.seq, 10).await;
    let page = read.unwrap();
    let batch = Batch {
        shard: world::shard(),
        epoch: cursor.epoch,
        from_seq: cursor.seq,
        to_seq: page.seq,
        events: page.entries.into_iter().flat_map(|entry| entry.events.unwrap()).collect(),
        ..Batch::default()
    };
    app.ledger().flush(&batch, FlushGuards::default()).await.unwrap();
    assert_eq!(forget_list(&app).await, [SUBJECT]);
    assert_eq!(used(app.quota(), SUBJECT).await, 6);

    app.flush().await;

    assert!(forget_list(&app).await.is_empty());
    assert_eq!(used(app.quota(), SUBJECT).await, 5);
    app.finish().await;
}
