use super::fixture;
use super::fixture::batch;
use super::fixture::flush;
use super::fixture::message;

/// Guards I1's checker: a counter that was changed, one without events and one that is missing are all found.
#[tokio::test]
async fn a_tampered_counter_is_found() {
    let (database, ledger) = fixture::ledger().await;
    let events = ["user:a", "user:b", "user:c"];
    let events = events.iter().zip(1..).map(|(subject, seq)| message(seq, subject)).collect();
    flush(&ledger, &batch(0, events)).await.unwrap();
    fixture::assert_sums_agree(&ledger).await;

    let tamper = "UPDATE usage_counters SET used = 7 WHERE subject = 'user:a';
         DELETE FROM usage_counters WHERE subject = 'user:b';
         INSERT INTO usage_counters (subject, metric, period, window_start, window_end, used)
         VALUES ('user:x', 'messages', 'day', '2026-11-22Z', '2026-11-23Z', 0)";
    database.run(tamper).await;

    let found = ledger.log_sums_differ(10).await.unwrap();
    let found: Vec<_> = found.iter().map(|d| (&*d.subject, d.counted, d.logged)).collect();
    let a = ("user:a", Some(7), Some(1));
    assert_eq!(found, [a, ("user:b", None, Some(1)), ("user:x", Some(0), None)]);
    assert_eq!(ledger.log_sums_differ(1).await.unwrap().len(), 1);
}
