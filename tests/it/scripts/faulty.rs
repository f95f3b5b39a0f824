//! Shards that cannot serve, and recoveries that meet each other: what each script says of them.

use headroom::counters::Again;
use headroom::counters::Fault;
use headroom::counters::LoadOutcome;
use headroom::counters::Outcome;
use headroom::counters::Settlement;
use headroom::counters::ShardFault;
use headroom::counters::ShardFault::Fenced;
use headroom::counters::ShardFault::Gap;
use headroom::counters::ShardFault::OlderEpoch;
use headroom::counters::ShardFault::Rollback;
use headroom::counters::ShardFault::Uninitialised;
use headroom::counters::Snapshot;
use uuid::Uuid;

use super::acts::SUBJECT;
use super::acts::start;
use crate::support::lanes::Lanes;
use crate::support::lanes::level;

const fn fault(kind: ShardFault, epoch: u64, seq: u64) -> Fault {
    Fault { kind, epoch, seq }
}

async fn fence(lanes: &Lanes, fault: Fault) -> Uuid {
    lanes.counters.fence(0, Uuid::now_v7(), fault).await.unwrap().unwrap().token
}

async fn open(lanes: &Lanes, token: Uuid, epoch: u64) -> bool {
    lanes.counters.open(0, token, epoch, Uuid::nil()).await.unwrap()
}

async fn consume(lanes: &Lanes) -> Outcome {
    let order = Lanes::consume(SUBJECT, vec![lanes.line(1, "messages", Some(9))]);
    lanes.submit(order).await
}

async fn load(lanes: &Lanes, epoch: u64, cursor_seq: u64) -> LoadOutcome {
    let levels = vec![level(SUBJECT)];
    let snapshot = Snapshot { epoch, cursor_seq, levels, ..lanes.snapshot() };
    lanes.counters.load(0, &snapshot).await.unwrap()
}

/// A trim of everything up to there, and a subject to forget.
async fn settle(lanes: &Lanes, epoch: u64, seq: u64) -> Option<ShardFault> {
    let forget = &[SUBJECT.to_owned()];
    let order = Settlement { shard: 0, epoch, cursor_seq: seq, trim_seq: seq, forget };
    lanes.counters.settle(&order).await.unwrap()
}

async fn delete(lanes: &Lanes, keys: &[String]) {
    let mut command = redis::cmd("DEL");
    command.arg(keys).exec_async(&mut lanes.connection.clone()).await.unwrap();
}

const fn refused(kind: ShardFault, seq: u64) -> LoadOutcome {
    LoadOutcome::Fault(fault(kind, 1, seq))
}

/// Guards promise 3: under a fence nothing is decided, loaded, trimmed or forgotten, whatever else is wrong with the shard or
/// with what is asked.
#[tokio::test]
async fn a_fenced_shard_says_so_whatever_else_is_wrong() {
    let lanes = start().await;
    for _ in 0..3 {
        consume(&lanes).await;
    }
    lanes.trim(2).await;
    fence(&lanes, fault(Gap, 1, 3)).await;
    let is_fenced = Outcome::Again(Again::Recover(fault(Fenced, 1, 3)));

    assert_eq!(consume(&lanes).await, is_fenced);
    assert_eq!(settle(&lanes, 1, 3).await, Some(Fenced));
    for cursor in [1, 3, 9] {
        assert_eq!(load(&lanes, 1, cursor).await, refused(Fenced, cursor), "{cursor}");
    }
    assert_eq!((lanes.outbox_entries().await, lanes.state(SUBJECT).await.last), (1, 3));

    delete(&lanes, &[headroom::counters::keys::meta(0)]).await;
    fence(&lanes, fault(Gap, 1, 3)).await;
    assert_eq!(consume(&lanes).await, is_fenced);
    assert_eq!(load(&lanes, 1, 0).await, refused(Fenced, 0));
}

/// Guards promise 3: a Redis that was emptied is not served from, and is not filled by what was asked before.
#[tokio::test]
async fn an_emptied_shard_is_told_as_such() {
    let lanes = start().await;
    consume(&lanes).await;
    redis::cmd("FLUSHALL").exec_async(&mut lanes.connection.clone()).await.unwrap();

    let outcome = consume(&lanes).await;
    assert_eq!(outcome, Outcome::Again(Again::Recover(fault(Uninitialised, 1, 1))));
    assert_eq!(load(&lanes, 1, 0).await, refused(Uninitialised, 0));
    assert_eq!(settle(&lanes, 1, 0).await, Some(Uninitialised));

    let left: u64 = redis::cmd("DBSIZE").query_async(&mut lanes.connection.clone()).await.unwrap();
    assert_eq!(left, 0);
}

/// Guards I5: what is asked in another epoch, or of events that Redis never gave out, changes nothing.
#[tokio::test]
async fn a_cursor_of_another_time_changes_nothing() {
    let lanes = start().await;
    consume(&lanes).await;

    assert_eq!(load(&lanes, 1, 9).await, refused(Rollback, 9));
    assert_eq!(settle(&lanes, 1, 9).await, Some(Rollback));
    let token = fence(&lanes, fault(Gap, 1, 1)).await;
    assert!(open(&lanes, token, 2).await);
    assert_eq!(settle(&lanes, 1, 1).await, Some(OlderEpoch));
    assert_eq!(load(&lanes, 1, 1).await, LoadOutcome::ReadAgain);
    assert_eq!(load(&lanes, 3, 0).await, LoadOutcome::Fault(fault(OlderEpoch, 3, 0)));

    let page = lanes.counters.read_outbox(0, 2, 0, 10).await.unwrap();
    assert_eq!((page.epoch, page.seq, page.floor), (Some(2), 0, 0));
    assert_eq!(lanes.state(SUBJECT).await.last, 1);
}

/// Guards promise 3: who joins a fence learns what is known of the fault: a rollback says most, and a fence nothing; of two
/// others the first stands. Of two places the later one in the later epoch.
#[tokio::test]
async fn a_fence_that_is_joined_keeps_what_says_most_of_the_loss() {
    let kinds = [
        (Fenced, Gap, Gap),
        (Gap, Fenced, Gap),
        (Fenced, Fenced, Fenced),
        (Gap, OlderEpoch, Gap),
        (Gap, Rollback, Rollback),
        (Fenced, Rollback, Rollback),
        (Rollback, Gap, Rollback),
        (Rollback, Fenced, Rollback),
    ];
    let places = [
        ((7, 4), (7, 6), (7, 6)),
        ((7, 6), (7, 4), (7, 6)),
        ((7, 6), (8, 2), (8, 2)),
        ((8, 2), (7, 6), (8, 2)),
    ];
    let lanes = start().await;
    let mut epoch = 1;
    for (first, second, expected) in kinds {
        for (of_first, of_second, of_both) in places {
            let token = fence(&lanes, fault(first, of_first.0, of_first.1)).await;

            let joined = fault(second, of_second.0, of_second.1);
            let joined = lanes.counters.fence(0, Uuid::now_v7(), joined).await.unwrap().unwrap();

            let known = fault(expected, of_both.0, of_both.1);
            assert_eq!((joined.token, joined.fault), (token, known), "{first:?} {second:?}");
            epoch = 3 - epoch;
            assert!(open(&lanes, token, epoch).await);
        }
    }
}

/// Guards promise 3: only who fenced the shard last opens it, once; who opens it again under the same epoch is told that it
/// is open.
#[tokio::test]
async fn a_shard_is_opened_by_the_fence_that_stands() {
    let lanes = start().await;
    assert!(!open(&lanes, Uuid::now_v7(), 2).await, "nobody has fenced it");
    let token = fence(&lanes, fault(Gap, 1, 0)).await;

    assert!(!open(&lanes, Uuid::now_v7(), 2).await);
    assert!(open(&lanes, token, 2).await);
    assert!(open(&lanes, token, 2).await);
    let next = fence(&lanes, fault(Gap, 2, 0)).await;
    assert!(!open(&lanes, token, 2).await);
    assert!(!open(&lanes, token, 3).await);
    assert!(open(&lanes, next, 3).await);
}

/// Guards promise 1: a snapshot is taken again when a profile was announced after it, or when Redis' clock is behind what it
/// leaves out; the clock counts only when the snapshot is new enough.
#[tokio::test]
async fn a_snapshot_that_may_lack_something_is_taken_again() {
    const NOON_S: i64 = 1_804_680_000;
    const DELTA_MS: i64 = 5;
    let lanes = Lanes::start().await;
    lanes.stop_at(NOON_S).await;
    let snapshot = |ended_after_ms| Snapshot {
        ended_after_ms,
        levels: vec![level(SUBJECT)],
        ..lanes.snapshot()
    };
    let load = async |ended_after_ms| {
        lanes.counters.set_clock_delta_ms(DELTA_MS);
        let outcome = lanes.counters.load(0, &snapshot(ended_after_ms)).await.unwrap();
        (outcome, lanes.counters.clock_delta_ms() == DELTA_MS)
    };

    assert_eq!(load(NOON_S * 1_000 + 1).await, (LoadOutcome::ReadAgain, false));
    assert_eq!(load(NOON_S * 1_000).await, (LoadOutcome::Loaded(1), true));
    let mut command = redis::cmd("HSET");
    command.arg(headroom::counters::keys::meta(0)).arg("profiles").arg(4);
    command.exec_async(&mut lanes.connection.clone()).await.unwrap();
    assert_eq!(load(NOON_S * 1_000 + 1).await, (LoadOutcome::ReadAgain, true));
}
