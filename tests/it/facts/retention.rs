//! Records that go with age.

use serde_json::json;

use crate::support::TestApp;

/// Of each table one row from before what is kept, one from now, and what is old and still in force: an open reservation, and the
/// crossing of a window that goes on.
const RECORDS: &str = "
    INSERT INTO reservations (id, shard, subject, amount, plan, until, lines, state, ended_at)
    SELECT message_log_bound(reserved_at), 0, name, 1, '', reserved_at, '[]', state, ended_at
    FROM (VALUES
        ('old', now() - interval '6 months', 'released', now() - interval '6 months'),
        ('old but open', now() - interval '5 months', 'open', NULL),
        ('new', now(), 'released', now())
    ) AS of (name, reserved_at, state, ended_at);
    INSERT INTO crossings (subject, metric, period, window_start, level, window_end, used, max, crossed_at)
    SELECT name, 'messages', 'day', at, 'limit', until, 1, 1, at
    FROM (VALUES
        ('old', now() - interval '6 months', now() - interval '5 months'),
        ('old but going on', now() - interval '6 months', now() + interval '100 years'),
        ('new', now(), now() + interval '1 day')
    ) AS of (name, at, until);
    INSERT INTO alerts (alert_id, rule, kind, subject, value, threshold, fired_at)
    SELECT gen_random_uuid(), 'r', 'spike', name, 5, 5, at
    FROM (VALUES ('old', now() - interval '6 months'), ('new', now())) AS of (name, at);
    INSERT INTO usage_counters (subject, metric, period, window_start, window_end, used)
    VALUES ('old', 'messages', 'day', now() - interval '6 months', now() - interval '5 months', 1)";

async fn subjects_of(app: &TestApp, table: &str) -> Vec<String> {
    let sql = format!("SELECT subject FROM {table} ORDER BY 1");
    let rows = app.postgres().await.query(&sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Guards the policy: what is older than the months that are kept goes, but for counters and for what is still in force.
#[tokio::test]
async fn records_that_are_older_than_is_kept_go_and_counters_stay() {
    let mut app = TestApp::start().await;
    app.postgres().await.batch_execute(RECORDS).await.unwrap();

    app.quota().drop_old_facts(3, false).await.unwrap();

    assert_eq!(subjects_of(&app, "reservations").await, ["new", "old but open"]);
    assert_eq!(subjects_of(&app, "crossings").await, ["new", "old but going on"]);
    assert_eq!(subjects_of(&app, "alerts").await, ["new"]);
    assert_eq!(subjects_of(&app, "usage_counters").await, ["old"]);
    app.stop_nodes().await;
}

/// Guards that months of a quiet service are enough: nothing goes that is younger, however little there is.
#[tokio::test]
async fn records_that_are_younger_than_is_kept_stay() {
    let mut app = TestApp::start().await;
    app.postgres().await.batch_execute(RECORDS).await.unwrap();

    app.quota().drop_old_facts(1_200, false).await.unwrap();

    assert_eq!(subjects_of(&app, "reservations").await, ["new", "old", "old but open"]);
    assert_eq!(subjects_of(&app, "crossings").await, ["new", "old", "old but going on"]);
    assert_eq!(subjects_of(&app, "alerts").await, ["new", "old"]);
    app.stop_nodes().await;
}

/// Guards I8 after months: a reservation that went with age is not missed, one that went otherwise is.
#[tokio::test]
async fn a_reservation_that_went_with_age_is_not_missed() {
    let app = TestApp::start().await;
    let order = json!({ "subject": "user:u_1", "metric": "messages", "amount": 1, "ttl_s": 60 });
    let held = app.caller().post("/v1/reservations", &order).await;
    let path = format!("/v1/reservations/{}:commit", held.body["reservation_id"].as_str().unwrap());
    assert_eq!(app.caller().post(&path, &json!({ "amount": 1 })).await.status.as_u16(), 200);
    app.flush().await;
    let postgres = app.postgres().await;
    postgres.batch_execute("DELETE FROM reservations").await.unwrap();
    assert!(!app.verify().await.is_clean());

    let later = "UPDATE retention_state SET reservations_from = now() + interval '1 day'";
    postgres.batch_execute(later).await.unwrap();

    app.finish().await;
}
