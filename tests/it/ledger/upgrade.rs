//! A database that an older version filled.

use headroom::ledger::Ledger;
use refinery::Target;

use super::fixture;
use super::fixture::Database;
use super::fixture::batch;
use super::fixture::flush;
use super::fixture::message;

mod embedded {
    #![allow(missing_docs, reason = "made by the macro")]
    refinery::embed_migrations!("migrations");
}

/// A database as the first release made it: V1 to V6, with what its nodes wrote.
async fn filled_by_the_first_release() -> Database {
    let database = fixture::empty_database().await;
    let old = embedded::migrations::runner().set_target(Target::Version(6));
    database.with(async |client| old.run_async(client).await.unwrap()).await;
    database
        .run(
            "INSERT INTO settings (shards) VALUES (4);
             INSERT INTO outbox_cursors (shard, seq) VALUES (0, 0), (1, 3), (2, 0), (3, 0);
             INSERT INTO message_logs (
                 event_id, occurred_at, epoch, seq, shard, subject, kind, plan, charges, deltas
             )
             SELECT
                 id, '2026-11-22Z', 1, number, 1, 'user:u_1', 'consume', 'pro', '{\"messages\": 1}',
                 '[[1, \"messages\", \"day\", 1795305600, 1795392000, 1],
                   [1, \"messages\", \"hour\", 1795305600, 1795309200, 1]]'
             FROM unnest(ARRAY[
                 message_log_bound('3000-01-01Z'), message_log_bound(now()),
                 message_log_bound(now() + interval '1 month')
             ]) WITH ORDINALITY AS event (id, number);
             INSERT INTO usage_counters (subject, metric, period, window_start, window_end, used)
             VALUES
                 ('user:u_1', 'messages', 'day', '2026-11-22Z', '2026-11-23Z', 3),
                 ('user:u_1', 'messages', 'hour', '2026-11-22Z', '2026-11-22 01:00Z', 3);
             INSERT INTO api_keys (id, secret_sha256, name, permissions, created_at)
             VALUES ('k_1', decode(repeat('07', 32), 'hex'), 'backend', '{admin}', now())",
        )
        .await;
    database
}

/// An upgrade in place: nothing is lost, and the node goes on from where the old one stood.
#[tokio::test]
async fn a_database_of_the_first_release_is_brought_up_to_date_with_its_data() {
    let database = filled_by_the_first_release().await;

    let report = Ledger::migrate(&database.url, 9).await.unwrap();

    assert!(report.applied[0].starts_with("V7__"), "{:?}", report.applied);
    assert_eq!(report.settings.shards, 4);
    let ledger = Ledger::connect(&fixture::options(&database.url)).unwrap();
    fixture::assert_sums_agree(&ledger).await;
    assert_eq!(ledger.keys().await.unwrap().len(), 1);
    flush(&ledger, &batch(3, vec![message(4, "user:u_1")])).await.unwrap();
    assert_eq!(fixture::used(&ledger, "user:u_1", "messages").await, Some(4));
    fixture::assert_sums_agree(&ledger).await;
    ledger.fold_rollups().await.unwrap();
    let usage =
        "SELECT units FROM subject_months WHERE subject = 'user:u_1' AND month = '2026-11-01'";
    assert_eq!(database.number(usage).await, 4);
}

/// The check is replaced in partitions of every making: the default one, those attached, and those made later.
#[tokio::test]
async fn every_partition_takes_the_new_kinds_after_an_upgrade_and_no_others() {
    let database = filled_by_the_first_release().await;
    let ledger = Ledger::connect(&fixture::options(&database.url)).unwrap();
    Ledger::migrate(&database.url, 4).await.unwrap();
    ledger.ensure_partitions(6).await.unwrap();
    let insert = |at: &str, kind: &str| {
        format!(
            "INSERT INTO message_logs (
                 event_id, occurred_at, epoch, seq, shard, subject, kind, plan, charges, deltas
             )
             SELECT
                 (left(message_log_bound({at})::text, 14) || '7000-8000-' || substr(md5('{kind}'), 1, 12))
                     ::uuid,
                 now(), 1, 9, 1, 'user:u_1', '{kind}', 'pro', '{{}}', '[]'"
        )
    };

    let instants =
        ["'3000-01-01Z'", "now()", "now() + interval '1 month'", "now() + interval '5 months'"];
    let kinds = [
        "consume", "refund", "reserve", "commit", "release", "expire", "extend", "set", "reset",
        "grant", "transfer", "rollover",
    ];
    for at in instants {
        for kind in kinds {
            database.run(&insert(at, kind)).await;
        }
        let other = database.try_run(&database.url, &insert(at, "gift")).await;
        assert!(other.is_err(), "{at}");
    }

    let checks = "SELECT count(*) FROM pg_constraint
        WHERE conname = 'message_logs_kind_known' AND (NOT convalidated
        OR pg_get_constraintdef(oid) NOT LIKE '%rollover%')";
    assert_eq!(database.number(checks).await, 0);
    let places = "SELECT count(DISTINCT tableoid) FROM message_logs WHERE kind = 'transfer'";
    assert_eq!(database.number(places).await, 4);
}
