//! Groups in which one level is charged through several paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::PackedSheet;
use headroom::domain::Amount;
use headroom::domain::Line;
use headroom::domain::Sheet;
use headroom::domain::Subject;
use headroom::domain::Units;

use crate::random::Dice;
use crate::support::lanes;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;
use crate::support::lanes::units;
use crate::support::orders;

const PATHS: [&str; 7] = [
    "org:acme",
    "org:acme/user:u_1",
    "org:acme/user:u_2",
    "org:acme/team:red",
    "org:acme/team:red/user:u_1",
    "org:acme/team:red/user:u_1/project:p_9",
    "user:u_1",
];
/// By depth. The root's is reached first, since every path but one goes through it.
const MAXES: [u64; 4] = [400, 150, 90, 60];

/// What a plain map of levels has of each; the one metric of the tests.
type Used = BTreeMap<String, u64>;

/// Limits on every level of a path: a unit of the amount weighs as much as its level is deep.
fn lines(lanes: &Lanes, depth: u8) -> Vec<Line> {
    let line = |depth: u8| {
        let max = Some(MAXES[usize::from(depth) - 1]);
        Line { weight: Amount::new(depth.into()).unwrap(), ..lanes.line(depth, "messages", max) }
    };
    (1..=depth).map(line).collect()
}

/// One sheet a depth, shared by all requests of paths of that depth.
fn sheets(lanes: &Lanes) -> Vec<Arc<PackedSheet>> {
    let sheet = |depth| Sheet {
        plan: "test".to_owned(),
        depth,
        lines: lines(lanes, depth),
        ..Sheet::default()
    };
    (1..=4).map(|depth| Arc::new(PackedSheet::charge(sheet(depth)))).collect()
}

/// What the plain map answers, and how it is then.
fn expect(used: &mut Used, subject: &Subject, amount: u64) -> (bool, Vec<u64>) {
    let weighted = (1..).map(|depth| depth * amount);
    let after: Vec<(&str, u64, u64)> = subject
        .levels()
        .zip(weighted)
        .map(|(level, units)| (level, used.get(level).copied().unwrap_or(0), units))
        .collect();
    let fits = after.iter().zip(MAXES).all(|((_, before, units), max)| before + units <= max);
    let charged = after.into_iter().map(|(level, before, units)| {
        let now = if fits { before + units } else { before };
        used.insert(level.to_owned(), now);
        now
    });
    (fits, charged.collect())
}

async fn counters(lanes: &Lanes) -> Used {
    let mut all = Used::new();
    for path in PATHS {
        let used = lanes.state(path).await.counters.iter().map(|(_, used)| *used).sum::<i64>();
        all.insert(path.to_owned(), u64::try_from(used).unwrap());
    }
    all
}

/// Guards promise 1: in groups of requests of paths, sheets, depths and amounts in any order, a level has one counter,
/// whichever way it is reached. The outbox says of each event what it did to each level, and a load that follows its
/// links, which are of mixed depths in one entry, finds the same.
#[tokio::test]
async fn a_level_has_one_counter_whichever_path_leads_to_it() {
    let lanes = Lanes::start().await;
    lanes.load(&PATHS, 0).await;
    let (sheets, mut dice) = (sheets(&lanes), Dice::new(7));
    let (mut used, mut charged, mut refusals) = (Used::new(), Vec::new(), 0);

    for group in 1..=4 {
        let orders: Vec<(&str, u64)> =
            (0..64).map(|_| (dice.choose(&PATHS), 1 + dice.below(3))).collect();
        let operations = orders.iter().map(|(path, amount)| {
            let sheet = sheets[path.split('/').count() - 1].clone();
            let order = lanes::operation(OperationKind::Consume, path, sheet);
            Operation { amount: Units::new(*amount).unwrap(), ..order }
        });
        let outcomes = lanes.submit_together(operations.collect()).await;
        for ((path, amount), outcome) in orders.iter().zip(&outcomes) {
            let expected = expect(&mut used, &orders::subject(path), *amount);
            assert_eq!(decided(outcome), expected, "group {group}: {amount} of {path}");
            refusals += usize::from(!expected.0);
            charged.extend(expected.0.then(|| ((*path).to_owned(), *amount)));
        }
        assert_eq!(lanes.outbox_entries().await, group, "a group is one entry");
    }

    assert!(refusals > 20 && charged.len() > 100, "{refusals} refused, {} not", charged.len());
    assert_eq!(counters(&lanes).await, used);
    let events = lanes.events().await;
    assert_eq!(events.len(), charged.len());
    for (event, (path, amount)) in events.iter().zip(&charged) {
        let depth = i64::try_from(path.split('/').count()).unwrap();
        let expected: Vec<i64> = (1..=depth).map(|it| it * amount.cast_signed()).collect();
        assert_eq!((&event.subject, units(event)), (path, expected));
    }
    for path in PATHS {
        lanes.evict(path).await;
    }
    lanes.load_levels(PATHS.map(level).to_vec()).await;
    assert_eq!(counters(&lanes).await, used);
}

/// Guards promise 4 in such a group: an attempt of unknown fate is found through the links of its own last level, with
/// neighbours of other depths in the same entry, and behind others that the group itself has charged.
#[tokio::test]
async fn an_earlier_attempt_is_found_among_events_of_other_depths() {
    let lanes = Lanes::start().await;
    lanes.load(&PATHS, 0).await;
    let order = |path: &str| {
        let depth = orders::subject(path).depth();
        Lanes::consume(path, lines(&lanes, depth))
    };
    let repeated = order(PATHS[1]);
    let (event_id, sheet) = (repeated.event_id, repeated.sheet.clone());
    let group = vec![order(PATHS[5]), order(PATHS[1]), repeated, order(PATHS[0]), order(PATHS[1])];
    lanes.submit_together(group).await;
    lanes.submit_together(vec![order(PATHS[4]), order(PATHS[1])]).await;
    assert_eq!(lanes.events().await.len(), 7);

    let again = lanes::operation(OperationKind::Consume, PATHS[1], sheet);
    let again = Operation { event_id, since_seq: Some(0), ..again };
    let outcomes = lanes.submit_together(vec![order(PATHS[2]), order(PATHS[1]), again]).await;

    assert_eq!(decided(&outcomes[1]), (true, vec![9, 10]));
    assert_eq!(decided(&outcomes[2]), (true, vec![9, 10]));
    assert_eq!(lanes.events().await.len(), 9);
}
