//! What a load brings back, and what it leaves out.

use headroom::counters::Field;
use headroom::counters::LevelBase;
use headroom::counters::LoadOutcome;
use headroom::counters::Snapshot;
use headroom::counters::keys;
use headroom::domain::Period;
use headroom::domain::Subject;
use headroom::quota::ResetScope;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::orders::accept;
use crate::support::orders::actor;
use crate::support::orders::shard_of;
use crate::support::orders::used;
use crate::support::state::State;

const SUBJECT: &str = "user:u_1";
const MONTH_MS: i64 = 32 * 86_400 * 1_000;

async fn start(options: Options) -> TestApp {
    let catalogue = Some(orders::messages_a_month(100));
    TestApp::start_with(Options { catalogue, ..options }.patient()).await
}

async fn evict(app: &TestApp, subject: &str) {
    let key = keys::subject(shard_of(subject), subject);
    let mut command = redis::cmd("DEL");
    let deleted: u8 = command.arg(key).query_async(&mut app.redis().await).await.unwrap();
    assert_eq!(deleted, 1, "{subject}");
}

async fn state(app: &TestApp, subject: &str) -> Option<State> {
    State::read(&app.redis().await, &keys::subject(shard_of(subject), subject)).await
}

/// Guards I2 on a path: each path has counters of its own, from Postgres and from the outbox.
#[tokio::test]
async fn the_levels_of_a_path_are_loaded_as_they_were() {
    let app = start(Options::default()).await;
    let paths = ["org:a", "org:a/user:b", "org:a/user:b/project:c"];
    for (count, path) in (1..).zip(paths) {
        accept(app.quota(), path, count).await;
    }
    app.flush().await;
    for (count, path) in (1..).zip(paths) {
        accept(app.quota(), path, 10 * count).await;
        evict(&app, path).await;
    }

    for (count, path) in (1..).zip(paths) {
        assert_eq!(accept(app.quota(), path, 1).await, 11 * count + 1, "{path}");
    }
    app.finish().await;
}

/// Guards I9: a window that ended is not brought back, neither from Postgres nor from the outbox.
#[tokio::test]
async fn the_window_that_ended_is_not_loaded() {
    let app = start(Options::default()).await;
    accept(app.quota(), SUBJECT, 5).await;
    app.flush().await;
    accept(app.quota(), SUBJECT, 3).await;
    evict(&app, SUBJECT).await;

    app.clock.advance(MONTH_MS);
    assert_eq!(accept(app.quota(), SUBJECT, 1).await, 1);

    let state = state(&app, SUBJECT).await.unwrap();
    assert_eq!(state.counters.len(), 1, "{state:?}");
    app.finish().await;
}

/// Guards the reset across loads: when it was, and that it took back what came before, whether it is in Postgres yet or not.
#[tokio::test]
async fn a_reset_survives_a_load_before_and_after_its_flush() {
    let app = start(Options::default()).await;
    let subject = Subject::parse(SUBJECT).unwrap();
    accept(app.quota(), SUBJECT, 9).await;
    let actor = actor();
    let reset = app.quota().reset(&subject, ResetScope::default(), &actor);
    let at = reset.await.unwrap().usage.last_reset_at;
    accept(app.quota(), SUBJECT, 2).await;

    evict(&app, SUBJECT).await;
    let pending = app.quota().usage(&subject).await.unwrap();
    app.flush().await;
    evict(&app, SUBJECT).await;
    let flushed = app.quota().usage(&subject).await.unwrap();

    assert!(at.is_some());
    assert_eq!((pending.last_reset_at, flushed.last_reset_at), (at, at));
    assert_eq!((pending.limits[0].used.get(), flushed.limits[0].used.get()), (2, 2));
    app.finish().await;
}

/// Guards the floor check: a snapshot from before a flush that was trimmed already would lack the trimmed events.
#[tokio::test]
async fn a_snapshot_that_the_flusher_has_trimmed_past_is_taken_again() {
    let app = start(Options::default().with("HEADROOM_FLUSHER_TRIM_LAG_S", 0)).await;
    accept(app.quota(), SUBJECT, 4).await;
    app.flush().await;
    let shard = shard_of(SUBJECT);
    let before = app.ledger().base(shard, &[SUBJECT], app.clock.now()).await.unwrap();
    accept(app.quota(), SUBJECT, 5).await;
    app.flush().await;
    evict(&app, SUBJECT).await;

    let level = LevelBase {
        path: SUBJECT.to_owned(),
        profile_version: 0,
        profile: String::new(),
        reset_at_ms: 0,
        counters: vec![(Field::used("messages", Period::Month, false, 0), before.counters[0].used)],
    };
    let (epoch, cursor_seq) = (before.epoch, before.seq);
    let snapshot = Snapshot {
        epoch,
        cursor_seq,
        ended_after_ms: 0,
        profile_version: before.profile_version,
        levels: vec![level],
    };
    let outcome = app.counters().load(shard, &snapshot).await.unwrap();

    assert_eq!(outcome, LoadOutcome::ReadAgain);
    assert_eq!(state(&app, SUBJECT).await, None);
    assert_eq!(used(app.quota(), SUBJECT).await, 9);
    app.finish().await;
}
