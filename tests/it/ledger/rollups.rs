//! What analysts sum up must be what plain SQL finds in the log.

use chrono::DateTime;
use chrono::NaiveDate;
use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::ledger::Batch;
use headroom::ledger::Ledger;

use super::fixture;
use super::fixture::Database;
use super::fixture::batch;
use super::fixture::consume;
use super::fixture::delta;
use super::fixture::deltas;
use super::fixture::flush;
use super::fixture::message;
use crate::traffic::Traffic;

/// Each rollup beside the same by plain SQL over the log.
const ROLLUPS: [(&str, &str); 4] = [
    (
        "SELECT hour, shard, metric, model, events, units FROM usage_hours",
        "SELECT date_trunc('hour', occurred_at, 'UTC'), shard, key, coalesce(model, ''), count(*), sum(value::bigint)
         FROM message_logs, jsonb_each_text(charges) WHERE kind = 'consume' GROUP BY 1, 2, 3, 4",
    ),
    (
        "SELECT day, subject, metric, model, events, units FROM usage_days",
        "SELECT (occurred_at AT TIME ZONE 'UTC')::date, split_part(subject, '/', 1), key, coalesce(model, ''),
            count(*), sum(value::bigint)
         FROM message_logs, jsonb_each_text(charges) WHERE kind = 'consume' GROUP BY 1, 2, 3, 4",
    ),
    (
        "SELECT month, subject, metric, events, units, bit_count(days::bit(64)) FROM subject_months",
        "SELECT date_trunc('month', occurred_at AT TIME ZONE 'UTC')::date, split_part(subject, '/', 1), key,
            count(*), sum(value::bigint), count(DISTINCT (occurred_at AT TIME ZONE 'UTC')::date)
         FROM message_logs, jsonb_each_text(charges) WHERE kind = 'consume' GROUP BY 1, 2, 3",
    ),
    (
        "SELECT day, metric, away, subjects FROM active_days WHERE subjects <> 0",
        "SELECT day, metric, least(coalesce(day - before, 93), 93), count(*) FROM (
            SELECT day, metric, lag(day) OVER (PARTITION BY metric, subject ORDER BY day) AS before FROM (
                SELECT DISTINCT (occurred_at AT TIME ZONE 'UTC')::date AS day, key AS metric, split_part(subject, '/', 1) AS subject
                FROM message_logs, jsonb_each_text(charges) WHERE kind = 'consume'
            ) AS active
         ) AS active GROUP BY 1, 2, 3",
    ),
];

/// Folds what waits, and compares.
async fn assert_rollups_agree(database: &Database, ledger: &Ledger) {
    while ledger.fold_rollups().await.unwrap() > 0 {}
    for (rollup, plain) in ROLLUPS {
        for (one, other) in [(rollup, plain), (plain, rollup)] {
            let difference =
                format!("SELECT count(*) FROM (({one}) EXCEPT ALL ({other})) AS difference");
            assert_eq!(database.number(&difference).await, 0, "{one}");
        }
    }
}

/// Guards that analysts' answers are exact: the rollups change with the log, by its new rows alone.
#[tokio::test]
async fn rollups_are_the_sums_of_the_log_also_when_events_come_again() {
    let (database, ledger) = fixture::ledger().await;
    let start_s = fixture::DAY.start_s - 40 * 86_400;
    let traffic = Traffic { seed: 7, events: 4_000, subjects: 300, start_s, days: 40 };
    let events: Vec<Event> = traffic.events().collect();
    let (mut seq, mut last) = (0, Vec::new());
    for part in events.chunks(450) {
        // Some of the batch before come again, under new seqs.
        let again: Vec<Event> = std::mem::take(&mut last);
        let all = again.into_iter().chain(part.iter().cloned());
        let all: Vec<Event> =
            (seq + 1..).zip(all).map(|(seq, event)| Event { seq, ..event }).collect();
        flush(&ledger, &batch(seq, all.clone())).await.unwrap();
        seq += all.len() as u64;
        last = all[..40].to_vec();
        if seq % 3 == 0 {
            ledger.fold_rollups().await.unwrap();
        }
    }
    let other_shard = Batch { shard: 2, ..batch(0, vec![message(1, "user:elsewhere")]) };
    flush(&ledger, &other_shard).await.unwrap();

    assert_rollups_agree(&database, &ledger).await;
    assert_eq!(
        database
            .number("SELECT sum(events)::bigint FROM usage_hours WHERE metric = 'messages'")
            .await,
        4_001
    );
    fixture::assert_sums_agree(&ledger).await;
}

/// How long a subject was away changes when a day comes late, and with it how many were active in any days.
#[tokio::test]
async fn rollups_are_the_sums_of_the_log_also_when_the_latest_days_come_first() {
    let (database, ledger) = fixture::ledger().await;
    let start_s = fixture::DAY.start_s - 120 * 86_400;
    let traffic = Traffic { seed: 11, events: 2_000, subjects: 400, start_s, days: 120 };
    let mut events: Vec<Event> = traffic.events().collect();
    events.reverse();
    let mut seq = 0;
    for part in events.chunks(150) {
        let part = (seq + 1..).zip(part.iter().cloned());
        let part: Vec<Event> = part.map(|(seq, event)| Event { seq, ..event }).collect();
        let count = part.len() as u64;
        flush(&ledger, &batch(seq, part)).await.unwrap();
        seq += count;
        assert_rollups_agree(&database, &ledger).await;
    }
    for days in [1, 30, 92] {
        let to = fixture::DAY.start_s - 10 * 86_400;
        let (from, to) = (day(to - (days - 1) * 86_400), day(to));
        let active = ledger.active_subjects(from, to, "messages").await.unwrap();
        let plain = format!(
            "SELECT count(DISTINCT split_part(subject, '/', 1)) FROM message_logs
             WHERE charges ? 'messages' AND occurred_at >= '{from}' AND occurred_at < date '{to}' + 1"
        );
        assert_eq!(active, database.number(&plain).await, "{days} days");
        assert_ne!(active, 0);
    }
}

fn day(at_s: i64) -> NaiveDate {
    DateTime::from_timestamp(at_s, 0).unwrap().date_naive()
}

/// What admins set and clear is no usage.
#[tokio::test]
async fn a_reset_leaves_the_rollups_as_they_are() {
    let (database, ledger) = fixture::ledger().await;
    let off = deltas(vec![delta(1, "messages", -1)]);
    let reset = Event { kind: EventKind::Reset, model: None, ..consume(2, "org:acme", &off) };

    flush(&ledger, &batch(0, vec![message(1, "org:acme/user:u_1"), reset])).await.unwrap();

    assert_rollups_agree(&database, &ledger).await;
    let units = "SELECT units FROM usage_days WHERE subject = 'org:acme' AND model = 'claude-4'";
    assert_eq!(database.number(units).await, 1);
}

/// A flush that fails half-way leaves nothing behind in the rollups either.
#[tokio::test]
async fn a_batch_that_is_not_written_does_not_count() {
    let (database, ledger) = fixture::ledger().await;
    let batch = batch(0, vec![message(1, "user:u_1")]);
    flush(&ledger, &batch).await.unwrap();

    flush(&ledger, &batch).await.unwrap_err();
    ledger.can_take(&[message(2, "user:u_1")]).await.unwrap();

    assert_rollups_agree(&database, &ledger).await;
    assert_eq!(database.number("SELECT units FROM subject_months").await, 1);
}

/// Any number of nodes fold; no sum is folded twice.
#[tokio::test]
async fn folds_at_once_count_each_flush_once() {
    let (database, ledger) = fixture::ledger().await;
    for seq in 0..60 {
        let subject = format!("user:u_{}", seq % 3);
        flush(&ledger, &batch(seq, vec![message(seq + 1, &subject)])).await.unwrap();
    }

    let folds = tokio::join!(ledger.fold_rollups(), ledger.fold_rollups(), ledger.fold_rollups());

    let folded = folds.0.unwrap() + folds.1.unwrap() + folds.2.unwrap();
    assert_eq!(
        folded + database.number("SELECT count(*) FROM rollup_queue").await.unsigned_abs(),
        60
    );
    assert_rollups_agree(&database, &ledger).await;
}

/// Many sums wait for others of the same rows, but not for long.
#[tokio::test]
async fn a_fold_is_due_when_little_or_very_much_waits_or_since_long() {
    let (database, ledger) = fixture::ledger().await;
    assert!(!ledger.are_rollups_due().await.unwrap(), "nothing waits");
    flush(&ledger, &batch(0, vec![message(1, "user:u_1")])).await.unwrap();
    assert_eq!(database.number("SELECT lines FROM rollup_queue").await, 1);
    assert!(ledger.are_rollups_due().await.unwrap());

    for (lines, age_s, is_due) in [
        (19_999, 0, true),
        (20_000, 0, false),
        (300_000, 50, false),
        (300_001, 0, true),
        (20_000, 61, true),
    ] {
        let waits = format!(
            "UPDATE rollup_queue SET lines = {lines}, queued_at = now() - interval '{age_s} s'"
        );
        database.run(&waits).await;
        assert_eq!(ledger.are_rollups_due().await.unwrap(), is_due, "{lines} of {age_s} s");
    }
}
