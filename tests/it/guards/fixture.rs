//! One subject with one limit, and what can be seen of it afterwards.

use headroom::counters::Counters;
use headroom::counters::Field;
use headroom::counters::LevelBase;
use headroom::counters::Snapshot;
use headroom::counters::keys;
use headroom::domain::Period;
use headroom::ledger::Batch;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::image::Image;
use crate::support::orders;
use crate::support::stores::SHARDS;

pub const SUBJECT: &str = "user:u_1";

/// Nodes on one subject, `max` messages a month, and an outbox that is trimmed as soon as it may be.
pub async fn start(max: u64, options: Options) -> TestApp {
    let catalogue = Some(orders::messages_a_month(max));
    TestApp::start_with(Options { catalogue, ..options }.with("HEADROOM_FLUSHER_TRIM_LAG_S", 0))
        .await
}

/// The guards of the scripts that are off, and nothing else.
pub fn without(guards: &[&'static str]) -> Options {
    Options { scripts_off: guards.to_vec(), ..Options::default() }
}

pub fn shard() -> u16 {
    orders::subject(SUBJECT).shard(SHARDS)
}

/// One message through a node: whether it was accepted.
pub async fn consume(app: &TestApp, node: usize) -> bool {
    app.quota_of(node).consume(orders::one(SUBJECT, "messages")).await.unwrap().allowed
}

/// What the counter shows. Loads it when it is missing.
pub async fn used(app: &TestApp) -> u64 {
    app.quota().usage(&orders::subject(SUBJECT)).await.unwrap().limits[0].used.get()
}

/// Redis drops the subject, as its idle time-out would.
pub async fn evict(app: &TestApp) {
    let mut redis = app.redis().await;
    let mut command = redis::cmd("DEL");
    let gone: u64 =
        command.arg(keys::subject(shard(), SUBJECT)).query_async(&mut redis).await.unwrap();
    assert_eq!(gone, 1);
}

/// What Redis holds now.
pub async fn image(app: &TestApp) -> Image {
    Image::take(&mut app.redis().await).await
}

/// A replica that heard of nothing after the image takes over.
pub async fn fail_over(app: &TestApp, image: &Image) {
    image.put_back(&mut app.redis().await).await;
}

/// Loads the counter, takes the image, lets the first node accept `units` and Postgres have them, and fails over to the
/// image: what Postgres knows, Redis does not.
pub async fn log_then_lose(app: &TestApp, units: usize) {
    assert_eq!(used(app).await, 0);
    let image = image(app).await;
    for _ in 0..units {
        assert!(consume(app, 0).await);
    }
    assert_eq!(app.flush().await, units as u64);
    fail_over(app, &image).await;
}

/// What one reads for a load, from Postgres.
pub async fn read_for_load(app: &TestApp) -> Snapshot {
    let ended_after = app.clock.now();
    let base = app.ledger().base(shard(), &[SUBJECT], ended_after).await.unwrap();
    let counters = base.counters.iter().map(|it| {
        let period = Period::named(&it.period).unwrap();
        (Field::used(&it.metric, period, false, it.window_start_s), it.used)
    });
    let level = LevelBase {
        path: SUBJECT.to_owned(),
        profile_version: 0,
        profile: String::new(),
        reset_at_ms: 0,
        counters: counters.collect(),
    };
    Snapshot {
        epoch: base.epoch,
        cursor_seq: base.seq,
        ended_after_ms: ended_after.timestamp_millis(),
        profile_version: base.profile_version,
        levels: vec![level],
    }
}

/// What a flusher reads after the cursor.
pub async fn read_batch(app: &TestApp, counters: &Counters) -> Batch {
    let cursor = app.ledger().cursor(shard()).await.unwrap();
    let page = counters.read_outbox(shard(), cursor.epoch, cursor.seq, 100).await.unwrap();
    let to_seq = page.entries.last().unwrap().last_seq;
    let events = page.entries.into_iter().flat_map(|entry| entry.events.unwrap()).collect();
    Batch {
        shard: shard(),
        epoch: cursor.epoch,
        from_seq: cursor.seq,
        to_seq,
        events,
        ..Batch::default()
    }
}

/// What the checker and the tables tell.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// The invariants that are broken.
    pub broken: Vec<&'static str>,
    /// Events in the log.
    pub logged: i64,
    /// Units in the counters' table, over all windows.
    pub counted: i64,
    /// Recoveries.
    pub incidents: u64,
    /// What they say may be lost.
    pub lost_at_most: u64,
}

/// A healthy end with that many events of one unit.
pub const fn healthy(events: i64) -> Seen {
    Seen { broken: Vec::new(), logged: events, counted: events, incidents: 0, lost_at_most: 0 }
}

/// Looks, and stops the nodes.
pub async fn end(mut app: TestApp) -> Seen {
    let seen = look(&app).await;
    app.stop_nodes().await;
    seen
}

/// Looks without touching.
pub async fn look(app: &TestApp) -> Seen {
    let report = app.verify().await;
    let row = app
        .postgres()
        .await
        .query_one(
            "SELECT (SELECT count(*) FROM message_logs) AS logged,
                (SELECT coalesce(sum(used), 0)::bigint FROM usage_counters) AS counted",
            &[],
        )
        .await
        .unwrap();
    let broken = report.checks.iter().filter(|check| check.broken > 0).map(|check| check.name);
    Seen {
        broken: broken.collect(),
        logged: row.get("logged"),
        counted: row.get("counted"),
        incidents: report.incidents,
        lost_at_most: report.lost_at_most,
    }
}
