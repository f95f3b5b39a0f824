//! What a node does after a lost connection: it asks whether the last event that was acknowledged to it is still there.

use headroom::counters::Again;
use headroom::counters::Fault;
use headroom::counters::Outcome;
use headroom::counters::ShardFault;
use headroom::counters::keys;

use super::acts::SUBJECT;
use super::acts::start;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;

async fn tell(lanes: &Lanes, words: &[&str]) {
    redis::cmd(words[0]).arg(&words[1..]).exec_async(&mut lanes.connection.clone()).await.unwrap();
}

async fn consume(lanes: &Lanes) -> Outcome {
    lanes.submit(Lanes::consume(SUBJECT, vec![lanes.line(1, "messages", None)])).await
}

/// The shard's lane loses its connection to Redis.
async fn cut_off(lanes: &Lanes) {
    let connection = &mut lanes.connection.clone();
    let own: u64 = redis::cmd("CLIENT").arg("ID").query_async(connection).await.unwrap();
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(connection).await.unwrap();
    for line in list.lines().filter(|line| !line.contains("cmd=monitor")) {
        let id = line.split(['=', ' ']).nth(1).unwrap();
        if id != own.to_string() {
            tell(lanes, &["CLIENT", "KILL", "ID", id]).await;
        }
    }
}

/// A shard in which this node has three events.
async fn three_events() -> Lanes {
    let lanes = start().await;
    for _ in 0..3 {
        consume(&lanes).await;
    }
    lanes
}

const fn rolled_back() -> Outcome {
    Outcome::Again(Again::Recover(Fault { kind: ShardFault::Rollback, epoch: 1, seq: 3 }))
}

/// Guards promise 3: a node goes on when its event is in the outbox, or was trimmed after its commit, and also when another event
/// came after it.
#[tokio::test]
async fn a_node_goes_on_when_its_last_event_is_there() {
    for trimmed in [0, 2, 3] {
        let lanes = three_events().await;
        if trimmed > 0 {
            lanes.trim(trimmed).await;
        }

        cut_off(&lanes).await;

        assert_eq!(decided(&consume(&lanes).await), (true, vec![4]), "{trimmed}");
    }
}

/// Guards promise 3: a node recovers the shard when its event is gone, or another one is in its place.
#[tokio::test]
async fn a_node_recovers_the_shard_when_its_last_event_is_gone() {
    let lanes = three_events().await;
    tell(&lanes, &["XDEL", &keys::outbox(0), "1-3"]).await;
    cut_off(&lanes).await;
    assert_eq!(consume(&lanes).await, rolled_back());

    let lanes = three_events().await;
    tell(&lanes, &["XTRIM", &keys::outbox(0), "MAXLEN", "0"]).await;
    tell(&lanes, &["HSET", &keys::meta(0), "seq", "2"]).await;
    cut_off(&lanes).await;
    assert_eq!(consume(&lanes).await, rolled_back());
}

/// Guards promise 3: a node that another's recovery or an emptied Redis awaits learns of that by what it asks next.
#[tokio::test]
async fn a_node_of_an_emptied_redis_learns_of_it() {
    let lanes = three_events().await;
    tell(&lanes, &["FLUSHALL"]).await;
    cut_off(&lanes).await;

    let fault = Fault { kind: ShardFault::Uninitialised, epoch: 1, seq: 3 };
    assert_eq!(consume(&lanes).await, Outcome::Again(Again::Recover(fault)));
}

/// Guards promise 3: an event of another node in the place of the own one is not the own one.
#[tokio::test]
async fn an_event_of_another_in_the_same_place_is_not_the_own() {
    let lanes = three_events().await;
    let other = three_events().await;
    let dump: Vec<u8> = redis::cmd("DUMP")
        .arg(keys::outbox(0))
        .query_async(&mut other.connection.clone())
        .await
        .unwrap();
    let mut command = redis::cmd("RESTORE");
    command.arg(keys::outbox(0)).arg(0).arg(dump).arg("REPLACE");
    command.exec_async(&mut lanes.connection.clone()).await.unwrap();

    cut_off(&lanes).await;

    assert_eq!(consume(&lanes).await, rolled_back());
}
