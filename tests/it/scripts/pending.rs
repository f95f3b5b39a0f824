//! The events of a level in the outbox: how far back they are followed, and what is said when one is missing.

use headroom::counters::CountersError;
use headroom::counters::Fault;
use headroom::counters::Field;
use headroom::counters::LevelBase;
use headroom::counters::LoadOutcome;
use headroom::counters::Operation;
use headroom::counters::ShardFault;
use headroom::counters::Snapshot;
use headroom::counters::keys;
use headroom::domain::Line;
use headroom::domain::Period;
use uuid::Uuid;

use super::acts::SUBJECT;
use super::acts::pass;
use super::acts::start;
use super::acts::units;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;
use crate::support::state::State;

const TEAM: &str = "team:t_1";
const MEMBER: &str = "team:t_1/user:u_1";

/// A request of its own number.
fn order(lanes: &Lanes, number: u64) -> Operation {
    let order = Lanes::consume(SUBJECT, vec![lanes.line(1, "messages", None)]);
    Operation { event_id: Uuid::from_u128(number.into()), ..order }
}

/// Attempts the request of that number again; it may have been made after the event.
async fn again(lanes: &Lanes, number: u64, since_seq: u64) -> Result<(bool, Vec<u64>), bool> {
    let order = Operation { since_seq: Some(since_seq), ..order(lanes, number) };
    match lanes.counters.submit(Box::new(order)).await.unwrap().1 {
        Ok(outcome) => Ok(decided(&outcome)),
        Err(CountersError::Unavailable { ambiguous, .. }) => Err(ambiguous),
        Err(error) => panic!("{error:?}"),
    }
}

async fn load(lanes: &Lanes, paths: &[&str]) -> LoadOutcome {
    let levels = paths.iter().map(|path| level(path)).collect();
    lanes.counters.load(0, &Snapshot { levels, ..lanes.snapshot() }).await.unwrap()
}

async fn is_there(lanes: &Lanes, path: &str) -> bool {
    State::read(&lanes.connection, &keys::subject(0, path)).await.is_some()
}

/// Guards promises 4 and 7: 4,096 events of a level are looked through for an attempt or a load, and none beyond; then nothing is
/// said of the attempt, and the load waits for the flusher.
#[tokio::test]
async fn so_many_events_of_a_level_are_followed_and_no_more() {
    const FOLLOWED: u64 = 4_096;
    const TOGETHER: u64 = 64;
    let lanes = start().await;
    for group in 0..FOLLOWED / TOGETHER {
        let numbers = group * TOGETHER + 1..=(group + 1) * TOGETHER;
        lanes.submit_together(numbers.map(|number| order(&lanes, number)).collect()).await;
    }

    assert_eq!(again(&lanes, 1, 0).await, Ok((true, vec![FOLLOWED])));
    lanes.evict(SUBJECT).await;
    assert_eq!(load(&lanes, &[SUBJECT]).await, LoadOutcome::Loaded(1));
    let next = lanes.submit(order(&lanes, FOLLOWED + 1)).await;
    assert_eq!(decided(&next), (true, vec![FOLLOWED + 1]));

    assert_eq!(again(&lanes, 1, 0).await, Err(true));
    assert_eq!(again(&lanes, 2, 0).await, Ok((true, vec![FOLLOWED + 1])));
    lanes.evict(SUBJECT).await;
    assert_eq!(load(&lanes, &[SUBJECT]).await, LoadOutcome::LoadedBut(0, vec![0]));
    assert!(!is_there(&lanes, SUBJECT).await);
}

/// Guards promises 3 and 4: where an event is missing from the outbox, a load sets none of its subjects and says that the shard
/// has forgotten something, and nothing is said of an attempt that may have been there.
#[tokio::test]
async fn a_hole_in_the_outbox_is_not_read_over() {
    for gone in 2..=4_u64 {
        let lanes = start().await;
        lanes.load(&[TEAM], 0).await;
        let of_team = Lanes::consume(TEAM, vec![lanes.line(1, "messages", None)]);
        lanes.submit(of_team).await;
        for number in 2..=4 {
            lanes.submit(order(&lanes, number)).await;
        }
        let mut command = redis::cmd("XDEL");
        command.arg(keys::outbox(0)).arg(format!("1-{gone}"));
        command.exec_async(&mut lanes.connection.clone()).await.unwrap();

        assert_eq!(again(&lanes, 9, 1).await, Err(true), "{gone}");
        lanes.evict(TEAM).await;
        lanes.evict(SUBJECT).await;
        let fault = Fault { kind: ShardFault::Rollback, epoch: 1, seq: 0 };
        assert_eq!(load(&lanes, &[TEAM, SUBJECT]).await, LoadOutcome::Fault(fault), "{gone}");
        assert!(!is_there(&lanes, TEAM).await && !is_there(&lanes, SUBJECT).await, "{gone}");
    }
}

/// Guards I9: the events of one entry are those of their levels, whatever stands between them.
#[tokio::test]
async fn levels_find_their_events_among_those_of_others() {
    let lanes = Lanes::start().await;
    lanes.load(&[TEAM, MEMBER, SUBJECT], 0).await;
    lanes.move_past_the_hour();
    let order = |path: &str, amount| {
        let depth = if path == MEMBER { 2 } else { 1 };
        let limits = (1..=depth).map(|depth| lanes.line(depth, "messages", None)).collect();
        Operation { amount: units(amount), ..Lanes::consume(path, limits) }
    };
    let paths = [MEMBER, SUBJECT, TEAM, MEMBER, TEAM, SUBJECT, MEMBER];
    let mut expected = Vec::new();

    for round in 0..2 {
        let amounts = (0..7).map(|place| 1 << (7 * round + place));
        let orders = paths.iter().zip(amounts).map(|(path, amount)| order(path, amount)).collect();
        lanes.submit_together(orders).await;
        expected.clear();
        for path in [TEAM, MEMBER, SUBJECT] {
            expected.push(lanes.state(path).await.counters);
            lanes.evict(path).await;
        }
        assert_eq!(load(&lanes, &[TEAM, MEMBER, SUBJECT]).await, LoadOutcome::Loaded(3));
    }

    for (path, counters) in [TEAM, MEMBER, SUBJECT].iter().zip(expected) {
        assert_eq!(lanes.state(path).await.counters, counters, "{path}");
    }
}

/// An hour, then a month.
fn hour_and_month(lanes: &Lanes) -> [Line; 2] {
    [Period::Hour, Period::Month].map(|period| lanes.line_of(1, period, "messages", None))
}

fn name(line: &Line) -> String {
    let period = line.limit.period;
    Field::used("messages", period, false, line.window.start_s).to_string()
}

/// Guards docs/adr/0011: a repair gives a month what Postgres and the outbox say of it, and leaves an hour as the state has it:
/// whatever it has, nothing when it has nothing, and not when it is over.
#[tokio::test]
async fn a_repair_leaves_hours_as_they_are() {
    let cases =
        [(Some(50), 0, Some(50)), (Some(1), 0, Some(1)), (None, 0, None), (Some(50), 3_600, None)];
    for (hour, seconds, expected) in cases {
        let lanes = start().await;
        let of = hour_and_month(&lanes);
        for _ in 0..2 {
            lanes.submit(Lanes::consume(SUBJECT, of.to_vec())).await;
        }
        let mut state = lanes.state(SUBJECT).await;
        let of_hour = hour.map(|used| (name(&of[0]), used));
        state.counters = of_hour.into_iter().chain([(name(&of[1]), 100)]).collect();
        state.write(&lanes.connection, &keys::subject(0, SUBJECT)).await;
        pass(&lanes, seconds);
        let counters = vec![(Field::used("messages", Period::Lifetime, false, 0), 7)];
        let levels = vec![LevelBase { counters, ..level(SUBJECT) }];

        let snapshot = Snapshot { levels, ..lanes.snapshot() };
        let outcome = lanes.counters.repair(0, &snapshot).await.unwrap();

        assert_eq!(outcome, LoadOutcome::Loaded(1));
        let state = lanes.state(SUBJECT).await;
        let seen = [name(&of[0]), name(&of[1]), "messages:l:0".to_owned()];
        assert_eq!(seen.map(|name| state.used(&name)), [expected, Some(2), Some(7)], "{hour:?}");
    }
}
