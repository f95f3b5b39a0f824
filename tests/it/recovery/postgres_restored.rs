//! Postgres restored to an earlier point, while Redis went on.

use super::world;
use super::world::SUBJECT;
use crate::support::TestApp;
use crate::support::orders::accept;
use crate::support::orders::used;

/// Keeps what Postgres holds now.
async fn back_up(app: &TestApp) {
    let backup = "CREATE TABLE kept_logs AS TABLE message_logs;
        CREATE TABLE kept_counters AS TABLE usage_counters;
        CREATE TABLE kept_cursors AS TABLE outbox_cursors;";
    app.postgres().await.batch_execute(backup).await.unwrap();
}

/// Makes Postgres hold what it held then.
async fn restore(app: &TestApp) {
    let restore = "BEGIN;
        DELETE FROM message_logs; INSERT INTO message_logs TABLE kept_logs;
        DELETE FROM usage_counters; INSERT INTO usage_counters TABLE kept_counters;
        DELETE FROM outbox_cursors; INSERT INTO outbox_cursors TABLE kept_cursors;
        COMMIT;";
    app.postgres().await.batch_execute(restore).await.unwrap();
}

/// Guards the trim's lag: flushed events stay in the outbox for a while, so a Postgres that forgot them reads them again.
#[tokio::test]
async fn a_postgres_restored_to_a_recent_point_reads_again_what_it_forgot() {
    let app = world::start(1, 100).await;
    accept(app.quota(), SUBJECT, 10).await;
    app.flush().await;
    back_up(&app).await;
    accept(app.quota(), SUBJECT, 7).await;
    app.flush().await;

    restore(&app).await;
    accept(app.quota(), SUBJECT, 2).await;

    assert_eq!(app.flush().await, 9);
    assert!(world::incidents(&app).await.is_empty());
    assert_eq!((world::logged(&app).await, used(app.quota(), SUBJECT).await), (19, 19));
    app.finish().await;
}

/// Guards loads meanwhile: a subject that is loaded before the flusher has caught up is counted right.
#[tokio::test]
async fn a_subject_loads_right_from_a_postgres_that_lags() {
    let app = world::start(1, 100).await;
    accept(app.quota(), SUBJECT, 10).await;
    app.flush().await;
    back_up(&app).await;
    accept(app.quota(), SUBJECT, 7).await;
    app.flush().await;

    restore(&app).await;
    world::delete(&app, &[world::subject()]).await;

    assert_eq!(accept(app.quota(), SUBJECT, 1).await, 18);
    app.finish().await;
}

/// Guards promise 3: what was trimmed already is lost with the restored Postgres, and an incident says so.
#[tokio::test]
async fn a_postgres_restored_to_before_the_trim_is_an_incident() {
    let options = world::options(1, 100).with("HEADROOM_FLUSHER_TRIM_LAG_S", 0);
    let app = TestApp::start_with(options).await;
    accept(app.quota(), SUBJECT, 10).await;
    app.flush().await;
    back_up(&app).await;
    accept(app.quota(), SUBJECT, 7).await;
    app.flush().await;
    accept(app.quota(), SUBJECT, 3).await;

    restore(&app).await;
    app.flush().await;

    let incident = world::incident(&app).await;
    assert_eq!((incident.reason.as_str(), incident.salvaged), ("gap", 3));
    assert_eq!((incident.expected_seq, incident.lost_at_most), (20, 7));
    assert_eq!((world::logged(&app).await, used(app.quota(), SUBJECT).await), (13, 13));
    app.finish().await;
}

/// Guards I6: a Postgres restored to before an epoch began goes on above Redis' epoch.
#[tokio::test]
async fn a_postgres_restored_to_an_older_epoch_goes_on_above_the_one_of_redis() {
    let app = world::start(1, 100).await;
    accept(app.quota(), SUBJECT, 10).await;
    app.flush().await;
    back_up(&app).await;
    world::delete(&app, &[world::meta()]).await;
    accept(app.quota(), SUBJECT, 4).await;
    app.flush().await;

    restore(&app).await;
    app.flush().await;

    let last = world::incidents(&app).await.pop().unwrap();
    let of_epoch_2 = "SELECT count(*) FROM message_logs WHERE epoch = 2";
    let of_epoch_2 = app.postgres().await.query_one(of_epoch_2, &[]).await.unwrap();
    assert_eq!((last.old_epoch, last.redis_epoch, last.new_epoch), (1, Some(2), 3));
    assert_eq!(of_epoch_2.get::<_, i64>(0), 4, "what is salvaged is of the epoch it was found in");
    assert_eq!((world::logged(&app).await, used(app.quota(), SUBJECT).await), (14, 14));
    app.finish().await;
}
