//! The guards of a flush.

use headroom::ledger::Batch;
use headroom::ledger::FlushGuards;
use headroom::ledger::LedgerError;
use headroom::quota::Guards;

use super::fixture::SUBJECT;
use super::fixture::Seen;
use super::fixture::consume;
use super::fixture::end;
use super::fixture::evict;
use super::fixture::healthy;
use super::fixture::look;
use super::fixture::read_batch;
use super::fixture::shard;
use super::fixture::start;
use super::fixture::used;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;

const NO_COMPARE: FlushGuards = FlushGuards { dedupe: true, compare_and_set: false };

/// Guards I2 by `compare_and_set`: the slower of two flushers must not move the cursor back. Without it an event after
/// the cursor is in the log already, and the next load counts it a second time.
#[tokio::test]
async fn the_slower_of_two_flushers_does_not_move_the_cursor_back() {
    let with = flush_late(FlushGuards::default()).await;
    let without = flush_late(NO_COMPARE).await;

    assert_eq!(with, (healthy(2), 2));
    assert_eq!(without, (Seen { broken: vec!["I2"], ..healthy(2) }, 3));
}

/// The end after the slower flusher, and what a load then makes of two units.
async fn flush_late(guards: FlushGuards) -> (Seen, u64) {
    let app = start(3, Options::default()).await;
    let (slow, fast) = (consume_and_read(&app).await, consume_and_read(&app).await);

    app.ledger().flush(&fast, guards).await.unwrap();
    let late = app.ledger().flush(&slow, guards).await;

    let is_refused = matches!(late, Err(LedgerError::CursorMoved));
    assert_eq!(is_refused, guards.compare_and_set);
    let seen = look(&app).await;
    evict(&app).await;
    let loaded = used(&app).await;
    end(app).await;
    (seen, loaded)
}

async fn consume_and_read(app: &TestApp) -> Batch {
    assert!(consume(app, 0).await);
    read_batch(app, &app.counters()).await
}

/// Guards I1 by `dedupe`, as the second line behind the cursor: with both away two flushers count twice what the log
/// has once. The cursor alone is enough, and so is dedupe.
#[tokio::test]
async fn two_flushers_of_one_batch_count_it_once() {
    let neither = FlushGuards { dedupe: false, compare_and_set: false };
    let no_dedupe = FlushGuards { dedupe: false, compare_and_set: true };

    assert_eq!(flush_twice(FlushGuards::default()).await, healthy(1));
    assert_eq!(flush_twice(NO_COMPARE).await, healthy(1));
    assert_eq!(flush_twice(no_dedupe).await, healthy(1));
    let seen = flush_twice(neither).await;
    assert_eq!((seen.logged, seen.counted), (1, 2));
    assert!(seen.broken.contains(&"I1"), "{seen:?}");
}

async fn flush_twice(guards: FlushGuards) -> Seen {
    let app = start(3, Options::default()).await;
    let counters = app.counters();
    assert!(consume(&app, 0).await);
    let batches = [read_batch(&app, &counters).await, read_batch(&app, &counters).await];

    for batch in &batches {
        // The second is refused while the cursor is compared.
        let _ = app.ledger().flush(batch, guards).await;
    }

    end(app).await
}

/// Guards promise 2 by `dedupe` alone: an operation that is repeated after Redis lost its record is in the outbox
/// twice, and counts once. Without it Postgres counts what its log does not have.
#[tokio::test]
async fn an_operation_that_is_in_the_outbox_twice_counts_once() {
    let with = repeat_without_record(FlushGuards::default()).await;
    let without = repeat_without_record(FlushGuards { dedupe: false, compare_and_set: true }).await;

    assert_eq!(with, healthy(1));
    assert_eq!((without.logged, without.counted), (1, 2));
    assert!(without.broken.contains(&"I1"), "{without:?}");
}

async fn repeat_without_record(flush: FlushGuards) -> Seen {
    let guards = Guards { flush, ..Guards::default() };
    let app = start(3, Options { guards, ..Options::default() }).await;
    let order = || orders::keyed(SUBJECT, "messages", "a-key");
    assert!(app.quota().consume(order()).await.unwrap().allowed);
    let mut redis = app.redis().await;
    let pattern = format!("hr:{{{}}}:i:*", shard());
    let records: Vec<Vec<u8>> =
        redis::cmd("KEYS").arg(pattern).query_async(&mut redis).await.unwrap();
    let _: u64 = redis::cmd("DEL").arg(&records).query_async(&mut redis).await.unwrap();

    let again = app.quota().consume(order()).await.unwrap();

    assert!(again.allowed && !again.replayed);
    app.flush().await;
    end(app).await
}
