//! As many counters as a level may have.

use headroom::counters::CountersError;
use headroom::counters::Field;
use headroom::counters::LevelBase;
use headroom::domain::Period;
use headroom::domain::Tally;

use super::acts::SUBJECT;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;

const NOON_S: i64 = 1_804_680_000;
const COUNTERS_MAX: usize = 2_000;

fn month(lanes: &Lanes) -> Field {
    Field::used("messages", Period::Month, false, lanes.line(1, "messages", None).window.start_s)
}

/// A subject with so many counters, of which the last may be another; a minute and a second later.
async fn start(count: usize, last: impl Fn(&Lanes) -> Field) -> Lanes {
    let lanes = Lanes::start().await;
    lanes.stop_at(NOON_S).await;
    let others =
        (2..count).map(|number| Field::used(&format!("m{number}"), Period::Lifetime, false, 0));
    let fields = [month(&lanes)].into_iter().chain(others).chain([last(&lanes)]);
    let counters = fields.map(|field| (field, 1)).collect();
    lanes.load_levels(vec![LevelBase { counters, ..level(SUBJECT) }]).await;
    lanes.pass_stopped(61).await;
    lanes
}

fn lifetime(_: &Lanes) -> Field {
    Field::used("last", Period::Lifetime, false, 0)
}

fn minute(_: &Lanes) -> Field {
    Field::used("messages", Period::Minute, false, NOON_S)
}

fn held(lanes: &Lanes) -> Field {
    Field { tally: Tally::Held { until_s: NOON_S + 60 }, ..month(lanes) }
}

/// The messages that are used then, or nothing when the level takes no more.
async fn consume(lanes: &Lanes) -> Option<Vec<u64>> {
    let order = Lanes::consume(SUBJECT, vec![lanes.line(1, "messages", None)]);
    match lanes.counters.submit(Box::new(order)).await.unwrap().1 {
        Ok(outcome) => Some(decided(&outcome).1),
        Err(CountersError::OutboxFull) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// Guards promise 7: a level has 2,000 counters at most. Lapsed holds are no reason to refuse; a window that is over is, since
/// it may have to be rolled over.
#[tokio::test]
async fn a_level_has_so_many_counters_and_no_more() {
    let full = start(COUNTERS_MAX, lifetime).await;
    let more = start(COUNTERS_MAX + 1, lifetime).await;
    let with_a_window = start(COUNTERS_MAX + 1, minute).await;
    let with_a_hold = start(COUNTERS_MAX + 1, held).await;

    assert_eq!(consume(&full).await, Some(vec![2]));
    assert_eq!(consume(&more).await, None);
    assert_eq!(consume(&with_a_window).await, None);
    assert_eq!(consume(&with_a_hold).await, Some(vec![2]));
    assert_eq!(with_a_hold.state(SUBJECT).await.counters.len(), COUNTERS_MAX);
}
