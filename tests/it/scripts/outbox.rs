//! What the outbox says of the events in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::PackedSheet;
use headroom::counters::keys;
use headroom::domain::Amount;
use headroom::domain::Event;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Sheet;
use headroom::domain::Units;

use crate::support::lanes;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::units;

const USER: &str = "user:u_1";
const LEVELS: [&str; 4] = [
    "org:acme",
    "org:acme/team:red",
    "org:acme/team:red/user:u_1",
    "org:acme/team:red/user:u_1/project:p_9",
];

fn weighing(line: Line, weight: u64) -> Line {
    Line { weight: Amount::new(weight).unwrap(), ..line }
}

/// A sheet of one level whose lines weigh 0, 1 and 7.
fn sheet(lanes: &Lanes, plan: &str) -> Arc<PackedSheet> {
    let line = |metric| lanes.line(1, metric, Some(1_000_000_000_000));
    let weights = [("images", 0), ("messages", 1), ("tokens", 7)];
    let weighed = weights.map(|(metric, weight)| weighing(line(metric), weight));
    let plan = plan.to_owned();
    Arc::new(PackedSheet::charge(Sheet {
        plan,
        depth: 1,
        lines: weighed.to_vec(),
        ..Sheet::default()
    }))
}

fn consume(sheet: &Arc<PackedSheet>, amount: u64) -> Operation {
    let order = lanes::operation(OperationKind::Consume, USER, sheet.clone());
    Operation { amount: Units::new(amount).unwrap(), ..order }
}

/// How often each sheet's plan stands in the outbox.
async fn plans(lanes: &Lanes, names: [&str; 2]) -> [usize; 2] {
    let mut command = redis::cmd("XRANGE");
    command.arg(keys::outbox(0)).arg("-").arg("+");
    let entries: Vec<(String, BTreeMap<String, Vec<u8>>)> =
        command.query_async(&mut lanes.connection.clone()).await.unwrap();
    let text: String = entries.iter().map(|(_, it)| String::from_utf8_lossy(&it["s"])).collect();
    names.map(|name| text.matches(name).count())
}

/// Guards promise 2: a sheet stands in an entry once, however many requests share it and whatever each asks for; an event
/// has its own amount times each weight, up to the largest amount that one call takes.
#[tokio::test]
async fn events_of_one_sheet_have_amounts_of_their_own() {
    let lanes = Lanes::start().await;
    lanes.load(&[USER], 0).await;
    let sheets = [sheet(&lanes, "plan-one"), sheet(&lanes, "plan-two")];
    let amounts = [1, 3, 1, 1 << 31, 200, 3];
    let orders = amounts.iter().zip([0, 0, 1, 0, 1, 0]);
    let orders = orders.map(|(amount, place)| consume(&sheets[place], *amount));

    let outcomes = lanes.submit_together(orders.collect()).await;

    assert!(outcomes.iter().all(|outcome| decided(outcome).0));
    let events = lanes.events().await;
    let expected = amounts.map(|amount| vec![0, amount.cast_signed(), 7 * amount.cast_signed()]);
    assert_eq!(events.iter().map(units).collect::<Vec<_>>(), expected);
    let of_plan = events.iter().map(|event| event.deltas.plan.as_str()).collect::<Vec<_>>();
    assert_eq!(of_plan, ["plan-one", "plan-one", "plan-two", "plan-one", "plan-two", "plan-one"]);
    assert!(Arc::ptr_eq(&events[1].deltas, &events[5].deltas), "the same deltas are made once");
    assert_eq!(plans(&lanes, ["plan-one", "plan-two"]).await, [1, 1]);
}

/// Guards I9: an event has the level, the metric, the period and the window that the script used, also of a slice.
#[tokio::test]
async fn a_delta_says_which_counter_it_is_of() {
    let lanes = Lanes::start().await;
    lanes.load(&LEVELS[..2], 0).await;
    lanes.move_past_the_hour();
    let charged = vec![
        lanes.line_of(1, Period::Week, "tokens", Some(9)),
        lanes.sliding(2, Period::Hour, "messages", None),
        weighing(lanes.line_of(2, Period::Lifetime, "images", None), 3),
    ];

    lanes.submit(Lanes::consume(LEVELS[1], charged.clone())).await;

    let events = lanes.events().await;
    let found =
        events[0].deltas.lines.iter().map(|delta| {
            (delta.depth, delta.metric.clone(), delta.period, delta.window, delta.units)
        });
    let expected = charged.iter().map(|line| {
        let limit = &line.limit;
        let units = i64::from(line.weight.get());
        (line.depth, limit.metric.clone(), limit.period, line.window, units)
    });
    assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

/// Guards I5: an entry says how many events it has, whatever the depths of their subjects, and whether the deepest of the
/// group was accepted or not.
#[tokio::test]
async fn an_entry_has_events_of_mixed_depths() {
    let lanes = Lanes::start().await;
    lanes.load(&LEVELS, 0).await;
    let order = |depth: u8, max| {
        let line = lanes.line(depth, "messages", Some(max));
        Lanes::consume(LEVELS[usize::from(depth) - 1], vec![line])
    };

    for depths in [vec![1, 2, 3, 4], vec![4, 1, 3], vec![2], vec![1, 1]] {
        let orders = depths.into_iter().map(|depth| order(depth, 99));
        lanes.submit_together(orders.collect()).await;
    }
    let refused = order(4, 0);
    lanes.submit_together(vec![order(1, 99), refused, order(2, 99)]).await;

    let entries = lanes.counters.read_entries(0, None, 10).await.unwrap();
    let seqs = entries.iter().map(|entry| (entry.first_seq().unwrap(), entry.last_seq));
    assert_eq!(seqs.collect::<Vec<_>>(), [(1, 4), (5, 7), (8, 8), (9, 10), (11, 12)]);
    let events: Vec<&Event> = entries.iter().flat_map(|it| it.events.as_ref().unwrap()).collect();
    assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq));
    let depths: Vec<usize> = events.iter().map(|event| event.levels().count()).collect();
    assert_eq!(depths, [1, 2, 3, 4, 4, 1, 3, 2, 1, 1, 1, 2]);
}
