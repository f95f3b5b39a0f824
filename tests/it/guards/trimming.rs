//! The guards of the trim.

use headroom::counters::Settlement;
use headroom::quota::FlushState;
use headroom::quota::Guards;

use super::fixture::Seen;
use super::fixture::consume;
use super::fixture::end;
use super::fixture::healthy;
use super::fixture::look;
use super::fixture::shard;
use super::fixture::start;
use super::fixture::without;
use crate::support::Options;

/// Guards promise 3 by `trim_after_commit` of the flusher: what a flusher has read is not yet in Postgres. Without it
/// a flush that fails loses an acknowledged unit.
#[tokio::test]
async fn a_flush_that_fails_trims_nothing() {
    let with = fail_a_flush(Guards::default()).await;
    let without = fail_a_flush(Guards { trim_after_commit: false, ..Guards::default() }).await;

    assert_eq!(with, (healthy(0), healthy(1)));
    let (between, after) = without;
    assert!(between.broken.contains(&"I4"), "{between:?}");
    assert_eq!((after.logged, after.counted, after.incidents), (0, 0, 1));
}

/// What is seen after a flush that Postgres refuses, and after the next one.
async fn fail_a_flush(guards: Guards) -> (Seen, Seen) {
    let app = start(3, Options { guards, ..Options::default() }).await;
    assert!(consume(&app, 0).await);
    let postgres = app.postgres().await;
    postgres.batch_execute("ALTER TABLE usage_counters RENAME TO elsewhere").await.unwrap();

    let failed = app.quota().flush(shard(), &mut FlushState::default()).await;

    assert!(failed.is_err(), "{failed:?}");
    postgres.batch_execute("ALTER TABLE elsewhere RENAME TO usage_counters").await.unwrap();
    let between = look(&app).await;
    app.flush().await;
    (between, end(app).await)
}

/// Guards I4 by `trim_after_commit` of the script: whoever asks for more than is committed is refused. Without it the
/// outbox forgets an acknowledged unit.
#[tokio::test]
async fn the_script_trims_no_further_than_the_cursor() {
    let with = trim_too_far(without(&[])).await;
    let without = trim_too_far(without(&["trim_after_commit"])).await;

    assert_eq!(with, (false, healthy(0), healthy(1)));
    let (is_trimmed, between, after) = without;
    assert!(is_trimmed && between.broken.contains(&"I4"), "{between:?}");
    assert_eq!((after.logged, after.incidents), (0, 1));
}

/// Whether a trim past the cursor was done, and what is seen before and after the next flush.
async fn trim_too_far(options: Options) -> (bool, Seen, Seen) {
    let app = start(3, options).await;
    assert!(consume(&app, 0).await);
    let order = Settlement { shard: shard(), epoch: 1, cursor_seq: 0, trim_seq: 1, forget: &[] };

    let is_trimmed = app.counters().settle(&order).await.is_ok();

    let between = look(&app).await;
    app.flush().await;
    (is_trimmed, between, end(app).await)
}
