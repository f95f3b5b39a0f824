//! What a settlement of the outbox leaves.

use headroom::counters::Settlement;
use headroom::counters::keys;

use super::acts::SUBJECT;
use super::acts::start;
use crate::support::lanes::Lanes;
use crate::support::state::State;

async fn consume(lanes: &Lanes, subject: &str) {
    lanes.submit(Lanes::consume(subject, vec![lanes.line(1, "messages", None)])).await;
}

/// Guards I2: of the subjects that Postgres counts differently those go that were loaded from a cursor up to the committed one.
/// A subject that was loaded later has what Postgres has now, and one that is not there is no mistake.
#[tokio::test]
async fn subjects_are_forgotten_that_were_loaded_up_to_the_cursor() {
    const SUBJECTS: [&str; 4] = ["user:u_0", "user:u_1", "user:u_2", "user:u_3"];
    let lanes = start().await;
    for _ in 0..3 {
        consume(&lanes, SUBJECT).await;
    }
    lanes.evict(SUBJECT).await;
    for (seq, subject) in (1..).zip(&SUBJECTS[..3]) {
        lanes.load_at(seq, vec![crate::support::lanes::level(subject)]).await;
    }

    let forget = &SUBJECTS.map(str::to_owned);
    let order = Settlement { shard: 0, epoch: 1, cursor_seq: 2, trim_seq: 1, forget };
    assert_eq!(lanes.counters.settle(&order).await.unwrap(), None);

    let mut left = Vec::new();
    for subject in SUBJECTS {
        let state = State::read(&lanes.connection, &keys::subject(0, subject)).await;
        left.push(state.is_some());
    }
    assert_eq!(left, [false, false, true, false]);
}

/// Guards promise 7: with each event that is trimmed two levels are looked at of which nothing is pending, so that at most half
/// of them are such; also when that is more than Lua gives a command at once.
#[tokio::test]
async fn levels_of_which_nothing_is_pending_go_by_the_thousand() {
    const LEVELS: u64 = 1_010;
    const TRIMMED: u64 = 600;
    let lanes = start().await;
    let mut connection = lanes.connection.clone();
    let mut pending = redis::cmd("HSET");
    pending.arg(keys::pending(0)).arg("waiting").arg(TRIMMED + 1);
    for level in 0..LEVELS {
        pending.arg(format!("level-{level}")).arg(TRIMMED - level % 2);
    }
    pending.exec_async(&mut connection).await.unwrap();
    let mut seq = redis::cmd("HSET");
    seq.arg(keys::meta(0)).arg("seq").arg(TRIMMED + 1);
    seq.exec_async(&mut connection).await.unwrap();

    lanes.trim(TRIMMED).await;

    let left: Vec<String> =
        redis::cmd("HKEYS").arg(keys::pending(0)).query_async(&mut connection).await.unwrap();
    assert_eq!(left, ["waiting"]);
}
