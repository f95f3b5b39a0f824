//! The guards of a load.

use headroom::counters::Again;
use headroom::counters::LevelBase;
use headroom::counters::LevelProfile;
use headroom::counters::LoadOutcome;
use headroom::counters::Outcome;
use headroom::counters::Snapshot;

use super::fixture::Seen;
use super::fixture::consume;
use super::fixture::end;
use super::fixture::evict;
use super::fixture::healthy;
use super::fixture::read_for_load;
use super::fixture::shard;
use super::fixture::start;
use super::fixture::without;
use crate::support::Options;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;

/// Guards promise 1 and I2 by `tail`: units that wait in the outbox are part of a loaded counter. Without it a limit
/// of one lets two through.
#[tokio::test]
async fn a_load_counts_what_waits_in_the_outbox() {
    let with = evict_before_the_flush(without(&[])).await;
    let without = evict_before_the_flush(without(&["tail"])).await;

    assert_eq!(with, (false, healthy(1)));
    assert_eq!(without, (true, Seen { broken: vec!["I2"], ..healthy(2) }));
}

/// Whether a second message passes a limit of one after an eviction, and the end.
async fn evict_before_the_flush(options: Options) -> (bool, Seen) {
    let app = start(1, options).await;
    assert!(consume(&app, 0).await);
    evict(&app).await;

    let second = consume(&app, 0).await;

    app.flush().await;
    (second, end(app).await)
}

/// Guards promise 1 and I2 by `floor_check`: a snapshot from before a trim misses the trimmed units in both places.
/// Without it a limit of one lets two through.
#[tokio::test]
async fn a_load_refuses_a_snapshot_that_is_older_than_the_trimmed_outbox() {
    let with = trim_under_a_load(without(&[])).await;
    let without = trim_under_a_load(without(&["floor_check"])).await;

    assert_eq!(with, (LoadOutcome::ReadAgain, false, healthy(1)));
    let broken = Seen { broken: vec!["I2"], ..healthy(2) };
    assert_eq!(without, (LoadOutcome::Loaded(1), true, broken));
}

/// What becomes of the late load, whether a second message passes a limit of one, and the end.
async fn trim_under_a_load(options: Options) -> (LoadOutcome, bool, Seen) {
    let app = start(1, options).await;
    assert!(consume(&app, 0).await);
    evict(&app).await;
    let snapshot = read_for_load(&app).await;
    assert_eq!(app.flush().await, 1);

    let loaded = app.counters().load(shard(), &snapshot).await.unwrap();

    let second = consume(&app, 0).await;
    app.flush().await;
    (loaded, second, end(app).await)
}

/// Guards promise 1 by `profile_version`: limits that were changed meanwhile are read again. Without it the limits of
/// an old profile decide, and one more than the limit in force is accepted.
#[tokio::test]
async fn a_request_with_an_older_profile_than_the_stored_one_is_sent_to_read_it_again() {
    let with = consume_with_an_old_profile(&[]).await;
    let without = consume_with_an_old_profile(&["profile_version"]).await;

    assert_eq!((with, without), (None, Some(2)));
}

/// Units used after the second consume, which has the limit of version 1 (two) where version 2 allows one; none when
/// it was not decided.
async fn consume_with_an_old_profile(guards_off: &[&'static str]) -> Option<u64> {
    let lanes = Lanes::start_without(guards_off).await;
    lanes.load(&["user:u_1"], 2).await;
    let mut new = Lanes::consume("user:u_1", vec![lanes.line(1, "messages", Some(1))]);
    new.profile_versions[0] = 2;
    assert_eq!(decided(&lanes.submit(new).await), (true, vec![1]));
    let mut old = Lanes::consume("user:u_1", vec![lanes.line(1, "messages", Some(2))]);
    old.profile_versions[0] = 1;

    let outcome = lanes.submit(old).await;

    match outcome {
        Outcome::Again(Again::Stale(1)) => None,
        outcome => Some(decided(&outcome).1[0]),
    }
}

/// Guards promise 1 by `newest_profile`: a load that read Postgres before a change of profiles must not set the level up
/// with the old one. Without it a node that did not hear of the change goes on by the limit of version 1 (two), where
/// version 2 allows one.
#[tokio::test]
async fn a_load_refuses_a_snapshot_that_is_older_than_an_announced_profile() {
    let with = load_under_an_announcement(&[]).await;
    let without = load_under_an_announcement(&["newest_profile"]).await;

    assert_eq!(with, (LoadOutcome::ReadAgain, None));
    assert_eq!(without, (LoadOutcome::Loaded(1), Some(2)));
}

/// What becomes of the late load, and the units used after two consumes by the old profile; none when they were not
/// decided.
async fn load_under_an_announcement(guards_off: &[&'static str]) -> (LoadOutcome, Option<u64>) {
    let lanes = Lanes::start_without(guards_off).await;
    let levels = vec![LevelBase { profile_version: 1, ..level("user:u_1") }];
    let snapshot = Snapshot { profile_version: 1, levels, ..lanes.snapshot() };
    let new = LevelProfile { path: "user:u_1".to_owned(), version: 2, profile: "{}".to_owned() };
    lanes.counters.announce_profiles(0, &[new]).await.unwrap();

    let loaded = lanes.counters.load(0, &snapshot).await.unwrap();

    let mut used = None;
    for _ in 0..2 {
        let mut old = Lanes::consume("user:u_1", vec![lanes.line(1, "messages", Some(2))]);
        old.profile_versions[0] = 1;
        used = match lanes.submit(old).await {
            Outcome::Again(Again::Load) => None,
            outcome => Some(decided(&outcome).1[0]),
        };
    }
    (loaded, used)
}
