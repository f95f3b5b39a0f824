//! A subject with a limit, and the ways in which Redis loses what it knew.

use std::path::Path;

use headroom::counters::keys;
use headroom::ledger::IncidentRow;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;

pub const SUBJECT: &str = "user:u_1";

/// Nodes on a limit of `max` messages, without flushers.
pub async fn start(nodes: usize, max: u64) -> TestApp {
    TestApp::start_with(options(nodes, max)).await
}

pub fn options(nodes: usize, max: u64) -> Options {
    Options { nodes, catalogue: Some(orders::messages_a_month(max)), ..Options::default() }
        .patient()
}

pub fn shard() -> u16 {
    orders::shard_of(SUBJECT)
}

/// The incidents of the subject's shard, oldest first.
pub async fn incidents(app: &TestApp) -> Vec<IncidentRow> {
    let mut all = app.ledger().incidents(1_000).await.unwrap();
    all.retain(|incident| incident.shard == shard());
    all.reverse();
    all
}

/// The only incident of the subject's shard.
pub async fn incident(app: &TestApp) -> IncidentRow {
    let mut all = incidents(app).await;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Rows of the message log.
pub async fn logged(app: &TestApp) -> i64 {
    let postgres = app.postgres().await;
    postgres.query_one("SELECT count(*) FROM message_logs", &[]).await.unwrap().get(0)
}

/// Deletes keys in Redis behind the service's back.
pub async fn delete(app: &TestApp, keys: &[String]) {
    let mut command = redis::cmd("DEL");
    command.arg(keys);
    let deleted: usize = command.query_async(&mut app.redis().await).await.unwrap();
    assert_eq!(deleted, keys.len(), "{keys:?}");
}

/// Redis forgets everything.
pub async fn forget_everything(app: &TestApp) {
    let mut command = redis::cmd("FLUSHALL");
    command.arg("SYNC");
    command.query_async::<()>(&mut app.redis().await).await.unwrap();
}

pub fn meta() -> String {
    keys::meta(shard())
}

pub fn outbox() -> String {
    keys::outbox(shard())
}

pub fn subject() -> String {
    keys::subject(shard(), SUBJECT)
}

/// Redis' files of an instant.
pub struct Snapshot(tempfile::TempDir);

/// Takes Redis' files aside. Redis is down for a moment.
pub async fn snapshot(app: &mut TestApp) -> Snapshot {
    let kept = tempfile::tempdir().unwrap();
    app.stores.redis.stop().await.unwrap();
    copy(&app.stores.folder().join("redis"), kept.path());
    app.stores.redis.restart().await.unwrap();
    Snapshot(kept)
}

/// Puts Redis' files of an earlier instant back, and starts it on them.
pub async fn restore(app: &mut TestApp, snapshot: &Snapshot) {
    let folder = app.stores.folder().join("redis");
    app.stores.redis.stop().await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    copy(snapshot.0.path(), &folder);
    app.stores.redis.restart().await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
