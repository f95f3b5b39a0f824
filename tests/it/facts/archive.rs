//! Months that leave the log.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use headroom::archive;
use headroom::domain::Event;
use headroom::domain::logged::LoggedEvent;
use headroom::ledger::Batch;
use headroom::ledger::FlushGuards;
use uuid::Uuid;

use crate::support::TestApp;
use crate::support::poll::pass_time;
use crate::support::program::Outcome;
use crate::support::program::env_of;
use crate::support::program::program;
use crate::support::program::run;
use crate::traffic::Traffic;

const EVENTS: u64 = 4_000;
/// Midnight of 2026-03-01 (UTC).
const MARCH_S: i64 = 1_772_323_200;
const FILE: &str = "message_logs_2026_03.parquet";

/// A log with events in March, some with all that an event can have, and how they are.
async fn with_march() -> (TestApp, Vec<LoggedEvent>) {
    let app = TestApp::start().await;
    let partition = "CREATE TABLE message_logs_2026_03 (LIKE message_logs INCLUDING ALL);
        ALTER TABLE message_logs ATTACH PARTITION message_logs_2026_03
            FOR VALUES FROM (message_log_bound('2026-03-01Z')) TO (message_log_bound('2026-04-01Z'))";
    app.postgres().await.batch_execute(partition).await.unwrap();
    let traffic = Traffic { seed: 5, events: EVENTS, subjects: 200, start_s: MARCH_S, days: 31 };
    let events = traffic.events().map(|event| {
        let whole = Event {
            metadata: Some(r#"{"chat": "größer", "n": [1, null]}"#.to_owned()),
            request_id: Some("r-1".to_owned()),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
            ..event.clone()
        };
        if event.seq.is_multiple_of(3) { whole } else { event }
    });
    let events: Vec<Event> = events.collect();
    let batch = Batch { epoch: 1, to_seq: EVENTS, events, ..Batch::default() };
    app.ledger().flush(&batch, FlushGuards::default()).await.unwrap();
    let rows = app.ledger().logged_in_month(march(), Uuid::nil(), 10_000).await.unwrap();
    assert_eq!(rows.len() as u64, EVENTS);
    (app, rows)
}

fn march() -> chrono::NaiveDate {
    "2026-03-01".parse().unwrap()
}

async fn archive_into(app: &TestApp, folder: &Path, before: &str) -> Outcome {
    let folder = folder.to_str().unwrap();
    run(&["archive", "--before", before, "--to", folder], env_of(app)).await
}

fn archived(file: &Path) -> Vec<LoggedEvent> {
    let mut rows = Vec::new();
    archive::read(file, |row| rows.push(row.clone())).unwrap();
    rows
}

async fn in_log(app: &TestApp) -> i64 {
    let sql = "SELECT count(*) FROM message_logs WHERE occurred_at < '2026-04-01Z'";
    app.postgres().await.query_one(sql, &[]).await.unwrap().get(0)
}

/// Guards that nothing is lost: what was dropped is in the file, row for row, and the counters still are what was logged.
#[tokio::test]
async fn an_archived_month_is_in_its_file_row_for_row_and_its_sums_stay() {
    let (mut app, rows) = with_march().await;
    let folder = tempfile::tempdir().unwrap();

    let outcome = archive_into(&app, folder.path(), "2026-04").await;

    let report = &outcome.json()[0];
    assert_eq!(
        (report["month"].as_str(), report["events"].as_u64()),
        (Some("2026-03-01"), Some(EVENTS))
    );
    assert_eq!(archived(&folder.path().join(FILE)), rows);
    assert_eq!(in_log(&app).await, 0);
    assert_eq!(app.ledger().log_sums_differ(10).await.unwrap(), []);
    let kept = "SELECT count(*) FROM archives WHERE month = '2026-03-01' AND events = 4000 AND encode(sha256, 'hex') = $1";
    let sha256 = report["sha256"].as_str().unwrap();
    assert_eq!(app.postgres().await.query_one(kept, &[&sha256]).await.unwrap().get::<_, i64>(0), 1);
    let again = archive_into(&app, folder.path(), "2026-04").await;
    assert_eq!(again.json(), serde_json::json!([]));
    app.stop_nodes().await;
}

/// Guards the only copy of a month: its partition is made again while it is the month before this one, and events that come
/// late, or none, do not take the place of those that were archived.
#[tokio::test]
async fn a_second_archive_of_a_month_leaves_the_first_as_it_is() {
    let (mut app, rows) = with_march().await;
    let folder = tempfile::tempdir().unwrap();
    archive_into(&app, folder.path(), "2026-04").await.json();
    let again = "CREATE TABLE message_logs_2026_03 (LIKE message_logs INCLUDING ALL);
        ALTER TABLE message_logs ATTACH PARTITION message_logs_2026_03
            FOR VALUES FROM (message_log_bound('2026-03-01Z')) TO (message_log_bound('2026-04-01Z'))";
    app.postgres().await.batch_execute(again).await.unwrap();

    let nothing = archive_into(&app, folder.path(), "2026-04").await.json();
    let late = Traffic { seed: 6, events: 3, subjects: 1, start_s: MARCH_S, days: 31 };
    let late = late.events().map(|event| Event { seq: EVENTS + event.seq, ..event });
    let late: Vec<Event> = late.collect();
    let (from_seq, to_seq) = (EVENTS, EVENTS + 3);
    let batch = Batch { epoch: 1, from_seq, to_seq, events: late, ..Batch::default() };
    app.ledger().flush(&batch, FlushGuards::default()).await.unwrap();
    let second = archive_into(&app, folder.path(), "2026-04").await.json();

    assert_eq!(nothing, serde_json::json!([]));
    assert_eq!(archived(&folder.path().join(FILE)), rows);
    let location = second[0]["location"].as_str().unwrap();
    assert!(location.ends_with("message_logs_2026_03_2.parquet"), "{location}");
    assert_eq!(archived(Path::new(location)).len(), 3);
    assert_eq!(app.ledger().log_sums_differ(10).await.unwrap(), []);
    app.stop_nodes().await;
}

/// Guards that a kill anywhere leaves the month in the log or whole in its file.
#[tokio::test]
async fn a_kill_in_the_middle_of_an_archive_loses_nothing() {
    let (mut app, rows) = with_march().await;
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let arguments = ["archive", "--before", "2026-04", "--to", folder.path().to_str().unwrap()];
    for round in 1..=12 {
        let mut command = program();
        command.args(arguments).envs(env_of(&app)).env("TMPDIR", scratch.path());
        let quiet = command.stdout(Stdio::null());
        let mut child = quiet.stderr(Stdio::null()).spawn().unwrap();
        pass_time(Duration::from_millis(round * 40)).await;
        child.kill().await.unwrap();
        // Looked at once: what the killed program asked of Postgres may still end.
        let left = in_log(&app).await.unsigned_abs();
        assert!([0, EVENTS].contains(&left), "{left}");
        if left == 0 {
            assert_eq!(archived(&folder.path().join(FILE)), rows);
        }
    }

    archive_into(&app, folder.path(), "2026-04").await.json();

    assert_eq!((in_log(&app).await, archived(&folder.path().join(FILE))), (0, rows));
    assert_eq!(app.ledger().log_sums_differ(10).await.unwrap(), []);
    app.stop_nodes().await;
}

/// Guards that a month is dropped only with exactly the rows that its archive has.
#[tokio::test]
async fn a_month_with_other_rows_than_its_archive_stays() {
    let (mut app, _rows) = with_march().await;

    let dropped = app.ledger().drop_archived_month(march(), EVENTS - 1, "x", &[7; 32]).await;

    assert!(!dropped.unwrap());
    assert_eq!(in_log(&app).await.unsigned_abs(), EVENTS);
    app.stop_nodes().await;
}

/// Guards that nodes drop nothing of the log that is not archived, unless the operator chose that.
#[tokio::test]
async fn old_months_are_dropped_without_an_archive_only_when_that_is_set() {
    let (mut app, _rows) = with_march().await;
    let old = "INSERT INTO denials (denial_id, denied_at, subject, code, amount, plan)
        VALUES (gen_random_uuid(), '2026-03-01Z', 'user:u_1', 'no_plan', 1, ''),
            (gen_random_uuid(), now(), 'user:u_1', 'no_plan', 1, '')";
    app.postgres().await.batch_execute(old).await.unwrap();

    app.quota().drop_old_facts(3, false).await.unwrap();
    let kept = in_log(&app).await.unsigned_abs();
    app.quota().drop_old_facts(3, true).await.unwrap();

    assert_eq!((kept, in_log(&app).await), (EVENTS, 0));
    let denials = "SELECT count(*) FROM denials";
    assert_eq!(app.postgres().await.query_one(denials, &[]).await.unwrap().get::<_, i64>(0), 1);
    assert_eq!(app.ledger().log_sums_differ(10).await.unwrap(), []);
    app.stop_nodes().await;
}

#[tokio::test]
async fn the_present_month_is_not_archived_and_a_month_is_understood_or_refused() {
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    for (before, words) in
        [("2999-01", "present month"), ("2026-13", "must be a month"), ("x", "must be a month")]
    {
        let outcome = archive_into(&app, folder.path(), before).await;
        assert!(outcome.code == 2 && outcome.stderr.contains(words), "{outcome:?}");
    }
    app.finish().await;
}
