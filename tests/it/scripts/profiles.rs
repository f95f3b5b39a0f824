//! Profiles of levels and their versions.

use headroom::counters::Again;
use headroom::counters::LevelBase;
use headroom::counters::LevelProfile;
use headroom::counters::LoadOutcome;
use headroom::counters::Operation;
use headroom::counters::Outcome;
use headroom::counters::Snapshot;
use headroom::counters::keys;

use crate::support::image::Image;
use crate::support::lanes::IDLE_TTL_S;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;

const LEVELS: [&str; 4] = [
    "org:acme",
    "org:acme/team:red",
    "org:acme/team:red/user:u_1",
    "org:acme/team:red/user:u_1/project:p_9",
];
const USER: &str = "user:u_1";

/// One unit on the last level of a path, by a sheet that was made from these versions.
fn consume(lanes: &Lanes, path: &str, profile_versions: [u64; 4]) -> Operation {
    let depth = u8::try_from(path.split('/').count()).unwrap();
    let order = Lanes::consume(path, vec![lanes.line(depth, "messages", Some(9))]);
    Operation { profile_versions, ..order }
}

fn profile(path: &str, version: u64, profile: &str) -> LevelProfile {
    LevelProfile { path: path.to_owned(), version, profile: profile.to_owned() }
}

/// Guards promise 1: at every depth an older version than the stored one is told apart, with the depth at which it is; the
/// first of several. Nothing is written.
#[tokio::test]
async fn an_older_version_is_stale_at_its_depth() {
    let mut lanes = Lanes::start().await;
    for (version, path) in (11..).zip(LEVELS) {
        lanes.load(&[path], version).await;
    }
    let current = [11, 12, 13, 14];
    let before = Image::take(&mut lanes.connection).await;

    for path in LEVELS {
        let depth = path.split('/').count();
        for stale in 0..depth {
            let mut versions = current;
            versions[stale] -= 1;
            versions[depth - 1] -= 1;
            let outcome = lanes.submit(consume(&lanes, path, versions)).await;
            let expected = Again::Stale(u8::try_from(stale + 1).unwrap());
            assert_eq!(outcome, Outcome::Again(expected), "{path} {versions:?}");
        }
    }

    assert_eq!(Image::take(&mut lanes.connection).await, before);
    for (count, path) in (1..).zip(LEVELS) {
        assert_eq!(decided(&lanes.submit(consume(&lanes, path, current)).await), (true, vec![1]));
        assert_eq!(lanes.state(LEVELS[0]).await.last, count, "every level is touched");
    }
}

/// Guards promise 1: a request that knows of a newer profile than Redis raises the stored version, so that older requests
/// are sent away from then on; one that changes nothing raises nothing.
#[tokio::test]
async fn a_newer_version_in_a_request_raises_the_stored_one() {
    let lanes = Lanes::start().await;
    lanes.load(&LEVELS[..3], 5).await;
    let mut refused = consume(&lanes, LEVELS[2], [8, 8, 8, 0]);
    refused.sheet = Lanes::consume(LEVELS[2], vec![lanes.line(3, "messages", Some(0))]).sheet;
    assert_eq!(decided(&lanes.submit(refused).await), (false, vec![0]));

    let newer = lanes.submit(consume(&lanes, LEVELS[2], [5, 7, 6, 0])).await;
    let mut outcomes = Vec::new();
    for versions in [[5, 6, 6, 0], [5, 7, 5, 0], [5, 7, 6, 0]] {
        outcomes.push(lanes.submit(consume(&lanes, LEVELS[2], versions)).await);
    }

    assert_eq!(decided(&newer), (true, vec![1]));
    let stale = |depth| Outcome::Again(Again::Stale(depth));
    assert_eq!(outcomes[..2], [stale(2), stale(3)]);
    assert_eq!(decided(&outcomes[2]), (true, vec![2]));
    let mut versions = Vec::new();
    for path in &LEVELS[..3] {
        versions.push(lanes.state(path).await.version);
    }
    assert_eq!(versions, [5, 7, 6]);
}

/// Guards promise 1 within a group: what a request knows holds for those behind it.
#[tokio::test]
async fn a_newer_version_holds_for_the_rest_of_the_group() {
    let lanes = Lanes::start().await;
    lanes.load(&[USER], 1).await;
    let orders = [1, 2, 1, 2].map(|version| consume(&lanes, USER, [version, 0, 0, 0]));

    let outcomes = lanes.submit_together(orders.into()).await;

    assert_eq!([0, 1, 3].map(|at| decided(&outcomes[at]).1[0]), [1, 2, 3]);
    assert_eq!(outcomes[2], Outcome::Again(Again::Stale(1)));
}

/// Guards promise 1: an announced profile is there for whoever is sent away, and sends those with an older one away. A
/// level that is not loaded is left alone.
#[tokio::test]
async fn an_announced_profile_replaces_the_one_of_a_loaded_level() {
    let lanes = Lanes::start().await;
    lanes.load(&LEVELS[..2], 0).await;
    lanes.submit(consume(&lanes, LEVELS[1], [0; 4])).await;
    let announced = LEVELS.map(|path| profile(path, 3, r#"{"plan":"pro"}"#));

    let loaded = lanes.counters.announce_profiles(0, &announced[1..]).await.unwrap();

    assert_eq!(loaded, 1);
    assert_eq!(lanes.counters.profile(0, LEVELS[1]).await.unwrap().as_ref(), Some(&announced[1]));
    for path in [LEVELS[0], LEVELS[2], LEVELS[3]] {
        assert_eq!(lanes.counters.profile(0, path).await.unwrap(), None, "{path}");
    }
    let stale = lanes.submit(consume(&lanes, LEVELS[1], [0; 4])).await;
    assert_eq!(stale, Outcome::Again(Again::Stale(2)));
    let current = lanes.submit(consume(&lanes, LEVELS[1], [0, 3, 0, 0])).await;
    assert_eq!(decided(&current), (true, vec![2]), "what was used stays");
    let missing = lanes.submit(consume(&lanes, LEVELS[2], [0, 3, 3, 0])).await;
    assert_eq!(missing, Outcome::Again(Again::Load));
}

/// Guards promise 1: announcements that overtake each other leave the newest; the same again changes nothing.
#[tokio::test]
async fn an_older_announcement_changes_nothing() {
    let mut lanes = Lanes::start().await;
    lanes.load(&[USER], 0).await;
    let new = profile(USER, 8, r#"{"plan":"new"}"#);
    lanes.counters.announce_profiles(0, std::slice::from_ref(&new)).await.unwrap();
    let before = Image::take(&mut lanes.connection).await;

    let older = profile(USER, 7, r#"{"plan":"old"}"#);
    for announced in [vec![older.clone()], vec![new.clone()], vec![new.clone(), older]] {
        let loaded = lanes.counters.announce_profiles(0, &announced).await.unwrap();
        assert_eq!(loaded, announced.len() as u64);
    }

    assert_eq!(Image::take(&mut lanes.connection).await, before);
    assert_eq!(lanes.counters.profile(0, USER).await.unwrap(), Some(new));
}

/// Guards promise 1: a request may know of a profile before it is announced. The announcement then still brings its text.
#[tokio::test]
async fn an_announcement_that_comes_after_a_request_brings_the_profile() {
    let lanes = Lanes::start().await;
    lanes.load(&[USER], 4).await;
    assert!(decided(&lanes.submit(consume(&lanes, USER, [5, 0, 0, 0])).await).0);
    let announced = profile(USER, 5, r#"{"plan":"pro"}"#);

    let loaded = lanes.counters.announce_profiles(0, std::slice::from_ref(&announced)).await;

    assert_eq!(loaded.unwrap(), 1);
    assert_eq!(lanes.counters.profile(0, USER).await.unwrap(), Some(announced));
}

/// Guards I6: a level of an earlier epoch is not loaded.
#[tokio::test]
async fn a_level_of_an_earlier_epoch_does_not_count_as_loaded() {
    let lanes = Lanes::start().await;
    lanes.load(&LEVELS[..2], 0).await;
    lanes.open(&lanes.counters, 2).await;
    lanes.load(&LEVELS[..1], 0).await;

    let announced = LEVELS.map(|path| profile(path, 3, "{}"));
    let loaded = lanes.counters.announce_profiles(0, &announced).await.unwrap();

    assert_eq!((loaded, lanes.state(LEVELS[0]).await.version), (1, 3));
}

/// Guards promise 1: a snapshot that was read before an announced change, of whichever level, must not bring an older
/// profile back. One that has it may be loaded, and so may any later one.
#[tokio::test]
async fn a_load_from_before_an_announcement_is_refused() {
    let lanes = Lanes::start().await;
    let loaded = lanes.counters.announce_profiles(0, &[profile(USER, 6, "{}")]).await.unwrap();
    assert_eq!(loaded, 0);
    let load = async |profile_version, path| {
        let levels = vec![LevelBase { profile_version: 2, ..level(path) }];
        let snapshot = Snapshot { profile_version, levels, ..lanes.snapshot() };
        lanes.counters.load(0, &snapshot).await.unwrap()
    };

    assert_eq!(load(5, USER).await, LoadOutcome::ReadAgain);
    assert_eq!(load(5, LEVELS[0]).await, LoadOutcome::ReadAgain);
    assert_eq!(load(6, USER).await, LoadOutcome::Loaded(1));
    assert_eq!(load(7, LEVELS[0]).await, LoadOutcome::Loaded(1));
}

/// Guards promise 7: a profile is loaded with its level, lives as long without use, and a look keeps it.
#[tokio::test]
async fn a_loaded_profile_lives_as_long_as_an_idle_level() {
    let lanes = Lanes::start().await;
    let stored = profile(USER, 2, r#"{"time_zone":"Europe/Vienna"}"#);
    let base = LevelBase { profile_version: 2, profile: stored.profile.clone(), ..level(USER) };
    let ttl_s = async || {
        let mut command = redis::cmd("TTL");
        command.arg(keys::profile(0, USER));
        command.query_async::<u64>(&mut lanes.connection.clone()).await.unwrap()
    };

    lanes.load_levels(vec![base]).await;
    let loaded_s = ttl_s().await;
    let mut expire = redis::cmd("EXPIRE");
    expire.arg(keys::profile(0, USER)).arg(50);
    expire.exec_async(&mut lanes.connection.clone()).await.unwrap();
    let found = lanes.counters.profile(0, USER).await.unwrap();

    assert_eq!(found, Some(stored));
    assert!(loaded_s > IDLE_TTL_S - 60 && ttl_s().await > IDLE_TTL_S - 60);
}
