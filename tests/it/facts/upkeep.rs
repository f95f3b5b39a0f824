//! What keeps the stores in order: partitions ahead, rows that go with age, verification, and what time it is.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use chrono::Datelike;
use chrono::Months;

use crate::support::TestApp;
use crate::support::stores::PostgresClient;

async fn number(postgres: &PostgresClient, sql: &str) -> i64 {
    postgres.query_one(sql, &[]).await.unwrap().get(0)
}

/// Guards that months have their partitions before they begin, not only those that the first migration made.
#[tokio::test]
async fn months_ahead_get_their_partitions() {
    let app = TestApp::start().await;
    let postgres = app.postgres().await;
    let names: Vec<String> = (1..=3)
        .map(|ahead| app.clock.now() + Months::new(ahead))
        .map(|at| format!("message_logs_{}_{:02}", at.year(), at.month()))
        .collect();
    let there = format!(
        "SELECT count(*) FROM pg_class WHERE relname IN ('{}') AND relispartition",
        names.join("', '")
    );
    for name in &names {
        let gone = format!("DROP TABLE IF EXISTS {name}");
        postgres.batch_execute(&gone).await.unwrap();
    }
    assert_eq!(number(&postgres, &there).await, 0);

    app.quota().ensure_partitions().await.unwrap();

    assert_eq!(number(&postgres, &there).await, 3);
    app.finish().await;
}

/// Guards the table of those who write refusals: it keeps who may still repeat a batch, and no others.
#[tokio::test]
async fn writers_of_refusals_that_ended_long_ago_are_forgotten() {
    let app = TestApp::start().await;
    let postgres = app.postgres().await;
    let add = "INSERT INTO denial_writers (writer_id, batch, written_at)
        SELECT gen_random_uuid(), 1, now() - make_interval(days => age) FROM unnest(ARRAY[1, 8, 9]) AS age";
    postgres.batch_execute(add).await.unwrap();

    app.quota().drop_old_denial_writers().await.unwrap();

    assert_eq!(number(&postgres, "SELECT count(*) FROM denial_writers").await, 1);
    app.finish().await;
}

/// Guards the table of deliveries: what ended long ago is taken away, and what has not ended stays.
#[tokio::test]
async fn deliveries_that_ended_long_ago_are_taken_away() {
    let app = TestApp::start().await;
    let postgres = app.postgres().await;
    let hook = serde_json::json!({ "url": "https://app.example/hook", "enabled": false });
    let made = app.caller().post("/v1/webhooks", &hook).await;
    assert!(made.status.is_success(), "{made:?}");
    let add = "INSERT INTO webhook_deliveries (webhook_id, event_id, type, body, state, ended_at)
        SELECT webhook_id, gen_random_uuid(), 'x', '{}', 'delivered', now() - make_interval(days => age)
        FROM webhooks, unnest(ARRAY[6, 8, 9]) AS age";
    postgres.batch_execute(add).await.unwrap();

    app.quota().drop_old_deliveries().await.unwrap();

    assert_eq!(number(&postgres, "SELECT count(*) FROM webhook_deliveries").await, 1);
    app.finish().await;
}

/// Guards that a node brings into the rollups by itself what was flushed.
#[tokio::test]
async fn what_is_due_is_folded() {
    let app = TestApp::start().await;
    let postgres = app.postgres().await;
    assert!(app.caller().charge("user:u_1", "messages", 1).await.is_allowed());
    app.flush().await;
    assert_eq!(number(&postgres, "SELECT count(*) FROM rollup_queue").await, 1);

    app.quota().fold_due_rollups().await.unwrap();

    assert_eq!(number(&postgres, "SELECT count(*) FROM rollup_queue").await, 0);
    assert_eq!(number(&postgres, "SELECT count(*) FROM usage_days").await, 1);
    app.finish().await;
}

/// Guards the bar that a terminal shows while both stores are verified: it ends when the work does.
#[tokio::test]
async fn a_verification_takes_as_many_steps_as_it_says() {
    let app = TestApp::start().await;
    let steps = AtomicU64::new(0);
    let step = || {
        steps.fetch_add(1, Ordering::Relaxed);
    };

    app.quota().verify_with(&step).await.unwrap();

    assert_eq!(steps.into_inner(), app.quota().verify_steps());
    app.finish().await;
}

/// Guards that a node goes by the time of Redis, which decides, and not by its own clock, which may be wrong.
#[tokio::test]
async fn a_node_whose_clock_stands_still_goes_by_redis() {
    let app = TestApp::start().await;
    let before = app.quota().day_to_recompute();
    app.clock.stop_at((app.clock.now() - Months::new(1)).timestamp_millis());

    assert!(app.caller().charge("user:u_1", "messages", 1).await.is_allowed());

    let days = (app.quota().day_to_recompute() - before).num_days();
    assert!((0..=1).contains(&days), "{days} days from what it was");
    app.finish().await;
}
