use headroom::ledger::Ledger;

use super::fixture;
use super::fixture::batch;
use super::fixture::flush;
use super::fixture::message;

const MONTH_MS: i64 = 31 * 86_400_000;

/// A node whose clock is ahead, or a month nobody prepared, must not stop the flusher.
#[tokio::test]
async fn an_id_of_a_month_without_a_partition_is_kept_in_the_default_one() {
    let (database, ledger) = fixture::ledger().await;
    let mut odd = message(1, "user:u_1");
    odd.event_id = fixture::id_at(4_000_000_000_000);

    flush(&ledger, &batch(0, vec![odd])).await.unwrap();

    assert_eq!(database.number("SELECT count(*) FROM message_logs_default").await, 1);
    assert_eq!(ledger.totals().await.unwrap().events, 1);
}

/// Making a month must not lose what has waited for it, and an id stays unique across the move.
#[tokio::test]
async fn making_a_month_moves_what_waits_for_it() {
    let (database, ledger) = fixture::ledger().await;
    let now_ms =
        database.number("SELECT (extract(epoch FROM date_trunc('month', now())) * 1000)::bigint");
    let mut early = message(1, "user:u_1");
    early.event_id = fixture::id_at(now_ms.await + 6 * MONTH_MS);
    flush(&ledger, &batch(0, vec![early.clone()])).await.unwrap();

    let made = ledger.ensure_partitions(8).await.unwrap();
    let again = ledger.ensure_partitions(8).await.unwrap();

    assert_eq!((made, again), (5, 0), "3 months were there");
    assert_eq!(database.number("SELECT count(*) FROM message_logs_default").await, 0);
    early.seq = 2;
    let flushed = flush(&ledger, &batch(1, vec![early])).await.unwrap();
    assert_eq!((flushed.inserted, flushed.duplicates), (0, vec![2]));
    fixture::assert_sums_agree(&ledger).await;
}

#[tokio::test]
async fn nodes_that_make_partitions_at_once_make_each_once() {
    let (database, ledger) = fixture::ledger().await;
    let other = Ledger::connect(&fixture::options(&database.url)).unwrap();

    let (a, b) = tokio::join!(ledger.ensure_partitions(9), other.ensure_partitions(9));

    assert_eq!(a.unwrap() + b.unwrap(), 6);
}

/// A flush goes on while partitions are made.
#[tokio::test]
async fn flushes_and_new_partitions_do_not_wait_for_each_other_for_ever() {
    let (_database, ledger) = fixture::ledger().await;
    let flushes = async {
        for seq in 0..20 {
            flush(&ledger, &batch(seq, vec![message(seq + 1, "user:u_1")])).await.unwrap();
        }
    };

    let (made, ()) = tokio::join!(ledger.ensure_partitions(24), flushes);

    assert_eq!(made.unwrap(), 21);
    assert_eq!(ledger.totals().await.unwrap().events, 20);
}
