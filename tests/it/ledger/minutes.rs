use headroom::domain::Calendar;
use headroom::domain::Period;
use headroom::domain::event::Delta;

use super::fixture;
use super::fixture::DAY;
use super::fixture::batch;
use super::fixture::consume;
use super::fixture::delta;
use super::fixture::deltas;
use super::fixture::flush;
use super::fixture::used;

fn short(period: Period) -> Delta {
    let window = period.window_at(DAY.start_at(), &Calendar::UTC);
    Delta { period, window, ..delta(1, "messages", 1) }
}

/// Guards docs/adr/0011: a busy minute must not cost Postgres a row a minute and subject. The log has all of it.
#[tokio::test]
async fn counters_of_minutes_and_hours_are_not_in_postgres() {
    let (database, ledger) = fixture::ledger().await;
    let lines = vec![short(Period::Minute), short(Period::Hour), delta(1, "messages", 1)];
    let only_short = deltas(vec![short(Period::Minute)]);
    let events = vec![consume(1, "user:u_1", &deltas(lines)), consume(2, "user:u_2", &only_short)];

    let flushed = flush(&ledger, &batch(0, events)).await.unwrap();

    assert_eq!(flushed.inserted, 2);
    assert_eq!(used(&ledger, "user:u_1", "messages").await, Some(1));
    assert_eq!(database.number("SELECT count(*) FROM usage_counters").await, 1);
    let logged =
        "SELECT count(*) FROM message_logs WHERE deltas @> '[[1, \"messages\", \"minute\"]]'";
    assert_eq!(database.number(logged).await, 2);
}

/// The checker looks at what is kept: what is left out is no difference, nor is what an older version wrote.
#[tokio::test]
async fn the_checker_leaves_minutes_and_hours_out() {
    let (database, ledger) = fixture::ledger().await;
    let lines = deltas(vec![short(Period::Minute), short(Period::Hour), delta(1, "messages", 1)]);
    flush(&ledger, &batch(0, vec![consume(1, "user:u_1", &lines)])).await.unwrap();
    let old_row =
        "INSERT INTO usage_counters (subject, metric, period, window_start, window_end, used)
         VALUES ('user:u_1', 'messages', 'hour', '2026-11-22Z', '2026-11-22 01:00Z', 7)";
    database.run(old_row).await;

    fixture::assert_sums_agree(&ledger).await;

    database.run("UPDATE usage_counters SET used = 5 WHERE period = 'day'").await;
    assert_eq!(ledger.log_sums_differ(10).await.unwrap().len(), 1);
}
