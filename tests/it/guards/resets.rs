//! Why a reset is an event.

use headroom::counters::keys;
use headroom::quota::ResetScope;

use super::fixture::SUBJECT;
use super::fixture::Seen;
use super::fixture::consume;
use super::fixture::end;
use super::fixture::shard;
use super::fixture::start;
use super::fixture::used;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;

/// Guards I1 by the reset as an event: a reset past the outbox is undone by the events that wait in it. An event in
/// the same outbox is not, wherever the flusher is.
#[tokio::test]
async fn a_reset_is_not_undone_by_events_that_wait_in_the_outbox() {
    let event = start(3, Options::default()).await;
    let deletion = start(3, Options::default()).await;
    for app in [&event, &deletion] {
        // One unit is in Postgres and two are on their way.
        assert!(consume(app, 0).await);
        app.flush().await;
        assert!(consume(app, 0).await && consume(app, 0).await);
    }

    let scope = ResetScope::default();
    event.quota().reset(&orders::subject(SUBJECT), scope, &orders::actor()).await.unwrap();
    delete(&deletion).await;

    assert_eq!(flushed(event).await, (0, Seen { broken: vec![], ..seen(4, 0) }));
    assert_eq!(flushed(deletion).await, (2, Seen { broken: vec!["I1"], ..seen(3, 2) }));
}

/// The reset that must not be: Postgres is set to zero, and the key is deleted.
async fn delete(app: &TestApp) {
    app.postgres().await.batch_execute("UPDATE usage_counters SET used = 0").await.unwrap();
    let mut redis = app.redis().await;
    let mut command = redis::cmd("DEL");
    command.arg(keys::subject(shard(), SUBJECT));
    let _: u64 = command.query_async(&mut redis).await.unwrap();
}

/// What is used after a flush, and the end.
async fn flushed(app: TestApp) -> (u64, Seen) {
    app.flush().await;
    (used(&app).await, end(app).await)
}

const fn seen(logged: i64, counted: i64) -> Seen {
    Seen { broken: Vec::new(), logged, counted, incidents: 0, lost_at_most: 0 }
}
