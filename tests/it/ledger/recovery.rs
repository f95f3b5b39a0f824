use headroom::ledger::DeadLetter;
use headroom::ledger::Incident;
use headroom::ledger::LedgerError;
use serde_json::json;
use uuid::Uuid;

use super::fixture;
use super::fixture::batch;
use super::fixture::flush;
use super::fixture::message;
use super::fixture::used;

fn incident(redis_epoch: Option<u64>) -> Incident {
    Incident {
        reason: "seq went back",
        redis_epoch,
        found_seq: Some(3),
        expected_seq: 5,
        lost_at_most: 2,
        detail: json!({"noticed_by": "a reply"}),
    }
}

/// Guards promises 2 and 3: what the outbox still holds is logged once, and what may be lost is written down.
#[tokio::test]
async fn a_recovery_salvages_what_is_missing_and_begins_a_higher_epoch() {
    let (_database, ledger) = fixture::ledger().await;
    let events: Vec<_> = (1..=3).map(|seq| message(seq, "user:u_1")).collect();
    let mut first = batch(0, events[..2].to_vec());
    first.forget = vec!["user:u_7".to_owned()];
    flush(&ledger, &first).await.unwrap();
    let fence = Uuid::from_u128(7);

    let mut recovery = ledger.begin_recovery(1).await.unwrap();
    assert_eq!((recovery.cursor().epoch, recovery.cursor().seq), (1, 2));
    let salvaged = recovery.salvage(&events).await.unwrap();
    let again = recovery.salvage(&events).await.unwrap();
    let epoch = recovery.finish(incident(Some(9)), fence).await.unwrap();

    assert_eq!((salvaged, again, epoch), (1, 0, 10));
    let cursor = ledger.cursor(1).await.unwrap();
    assert_eq!((cursor.epoch, cursor.seq, cursor.fence), (10, 0, Some(fence)));
    assert_eq!(cursor.forget, Vec::<String>::new());
    assert_eq!(used(&ledger, "user:u_1", "messages").await, Some(3));
    let rows = ledger.incidents(10).await.unwrap();
    let row = &rows[0];
    assert_eq!((row.old_epoch, row.new_epoch, row.redis_epoch), (1, 10, Some(9)));
    assert_eq!((row.expected_seq, row.found_seq), (5, Some(3)));
    assert_eq!((row.salvaged, row.lost_at_most, rows.len()), (1, 2, 1));
    assert_eq!((&*row.reason, &row.detail["noticed_by"]), ("seq went back", &json!("a reply")));
    fixture::assert_sums_agree(&ledger).await;
}

/// An epoch must also grow past Postgres' own when Redis has lost everything.
#[tokio::test]
async fn a_recovery_of_an_empty_redis_raises_the_epoch_of_postgres() {
    let (_database, ledger) = fixture::ledger().await;
    let finish = async |fence| {
        let recovery = ledger.begin_recovery(2).await.unwrap();
        recovery.finish(incident(None), Uuid::from_u128(fence)).await.unwrap()
    };

    assert_eq!((finish(1).await, finish(2).await), (2, 3));
    let stale = flush(&ledger, &headroom::ledger::Batch { shard: 2, ..batch(0, vec![]) }).await;
    assert!(matches!(stale, Err(LedgerError::CursorMoved)), "{stale:?}");
}

#[tokio::test]
async fn a_recovery_that_is_dropped_or_abandoned_leaves_everything_as_it_was() {
    let (_database, ledger) = fixture::ledger().await;
    let mut dropped = ledger.begin_recovery(1).await.unwrap();
    dropped.salvage(&[message(1, "user:u_1")]).await.unwrap();
    drop(dropped);

    let mut abandoned = ledger.begin_recovery(1).await.unwrap();
    abandoned.salvage(&[message(1, "user:u_1")]).await.unwrap();
    abandoned.abandon().await;

    assert_eq!(ledger.totals().await.unwrap(), headroom::ledger::Totals::default());
    assert_eq!(ledger.cursor(1).await.unwrap().epoch, 1);
}

/// A poison event must not stop a recovery: the page that holds it is undone, and halves of it can be tried.
#[tokio::test]
async fn a_recovery_goes_on_after_a_poison_event() {
    let (database, ledger) = fixture::ledger().await;
    let poison = message(2, "user:\0");
    let letter = DeadLetter { seq_first: 2, seq_last: 2, raw: vec![1], reason: "nul".to_owned() };

    let mut recovery = ledger.begin_recovery(1).await.unwrap();
    recovery.found_epoch(4);
    let refused = recovery.salvage(&[message(1, "user:u_1"), poison]).await;
    let salvaged = recovery.salvage(&[message(1, "user:u_1")]).await.unwrap();
    recovery.salvage_dead(&[letter]).await.unwrap();
    let epoch = recovery.finish(incident(Some(4)), Uuid::from_u128(1)).await.unwrap();

    assert!(matches!(refused, Err(LedgerError::BadData(_))), "{refused:?}");
    assert_eq!((salvaged, epoch), (1, 5));
    assert_eq!(database.number("SELECT epoch FROM message_logs").await, 4);
    assert_eq!(database.number("SELECT epoch FROM dead_letters").await, 4);
}

/// Nobody may flush while a recovery holds the shard; it answers with a conflict that is worth another try.
#[tokio::test]
async fn a_flush_does_not_pass_a_recovery() {
    let (_database, ledger) = fixture::ledger().await;
    let recovery = ledger.begin_recovery(1).await.unwrap();
    let flushing = flush(&ledger, &batch(0, vec![])).await;
    recovery.finish(incident(None), Uuid::from_u128(1)).await.unwrap();

    assert!(matches!(flushing, Err(LedgerError::Conflict(_))), "{flushing:?}");
}
