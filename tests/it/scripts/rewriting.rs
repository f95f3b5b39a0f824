//! Counters that are set or lowered.

use std::sync::Arc;

use headroom::counters::Clearing;
use headroom::counters::Field;
use headroom::counters::LevelBase;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Decrement;
use headroom::counters::OperationKind::Set;
use headroom::counters::Outcome;
use headroom::counters::StoredLine;
use headroom::domain::EventKind;
use headroom::domain::LimitState;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Units;

use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;
use crate::support::lanes::rewritten;
use crate::support::lanes::units;

const SUBJECT: &str = "user:u_1";

async fn start() -> Lanes {
    let lanes = Lanes::start().await;
    lanes.load(&[SUBJECT], 0).await;
    lanes.move_past_the_hour();
    lanes
}

/// Two counters of one metric.
fn lines(lanes: &Lanes, max: u64) -> Vec<Line> {
    let of = |period| lanes.line_of(1, period, "storage_bytes", Some(max));
    vec![of(Period::Month), of(Period::Lifetime)]
}

async fn used(lanes: &Lanes, of: Vec<Line>) -> Vec<u64> {
    decided(&lanes.submit(Lanes::check(SUBJECT, of)).await).1
}

/// Does one after the other: the units that each added to each counter.
async fn rewrite(lanes: &Lanes, steps: &[(OperationKind, u64)]) -> Vec<Vec<i64>> {
    let mut added = Vec::new();
    for (kind, amount) in steps {
        let order = Lanes::rewrite(*kind, SUBJECT, lines(lanes, 10), *amount);
        added.push(rewritten(&lanes.submit(order).await));
    }
    added
}

/// Guards promise 2: a set gives each counter the value, whatever it was, and the event carries what that added.
#[tokio::test]
async fn a_set_gives_counters_an_absolute_value() {
    let lanes = start().await;
    lanes.submit(Lanes::consume(SUBJECT, lines(&lanes, 10)[..1].to_vec())).await;

    let added = rewrite(&lanes, &[(Set, 7), (Set, 7), (Set, 3), (Set, 0)]).await;

    assert_eq!(added, [[6, 7], [0, 0], [-4, -4], [-3, -3]]);
    assert_eq!(used(&lanes, lines(&lanes, 10)).await, [0, 0]);
    let events = lanes.events().await;
    assert_eq!(events[1..].iter().map(units).collect::<Vec<_>>(), added);
    assert!(events[1..].iter().all(|event| event.kind == EventKind::Set));
    assert_eq!(
        (&*events[1].deltas.plan, events[1].deltas.lines[1].period),
        ("test", Period::Lifetime)
    );
}

/// Guards I3: a decrement takes back what is there and no more, counter by counter.
#[tokio::test]
async fn a_decrement_stops_at_zero() {
    let lanes = start().await;
    rewrite(&lanes, &[(Set, 5)]).await;
    lanes.submit(Lanes::consume(SUBJECT, lines(&lanes, 10)[1..].to_vec())).await;

    let added = rewrite(&lanes, &[(Decrement, 4), (Decrement, 4), (Decrement, 4)]).await;

    assert_eq!(added, [[-4, -4], [-1, -2], [0, 0]]);
    assert_eq!(used(&lanes, lines(&lanes, 10)).await, [0, 0]);
    let events = lanes.events().await;
    assert_eq!(events[2..].iter().map(units).collect::<Vec<_>>(), added);
}

/// Guards I3: a decrement of what was never counted begins the counter at zero.
#[tokio::test]
async fn a_decrement_of_a_new_counter_adds_nothing() {
    let lanes = start().await;

    assert_eq!(rewrite(&lanes, &[(Decrement, 3)]).await, [[0, 0]]);
    assert_eq!(lanes.state(SUBJECT).await.counters.iter().map(|(_, used)| *used).sum::<i64>(), 0);
}

/// The lines of what was done.
fn lines_of(outcome: &Outcome) -> Vec<StoredLine> {
    let Outcome::Rewritten { lines, .. } = outcome else { panic!("not rewritten: {outcome:?}") };
    lines.clone()
}

/// What clears the month's counter.
fn reset(lanes: &Lanes) -> Operation {
    let window = lines(lanes, 10)[0].window;
    let period = Period::Month;
    let clearing = Clearing { period, sliding: false, from_s: window.start_s, window };
    Lanes::reset(SUBJECT, None, &[clearing])
}

/// Guards promise 4: an attempt that follows a lost reply does nothing and answers what the first did, also when
/// others have written meanwhile.
#[tokio::test]
async fn a_retry_after_a_lost_reply_gives_the_same_answer() {
    let orders: [fn(&Lanes) -> Operation; 5] = [
        |lanes| Lanes::rewrite(Set, SUBJECT, lines(lanes, 10), 9),
        |lanes| Lanes::rewrite(Set, SUBJECT, lines(lanes, 10), 2),
        |lanes| Lanes::rewrite(Decrement, SUBJECT, lines(lanes, 10), 3),
        |lanes| Lanes::rewrite(Decrement, SUBJECT, lines(lanes, 10), 30),
        reset,
    ];
    for order in orders {
        let lanes = start().await;
        rewrite(&lanes, &[(Set, 5)]).await;
        let (order, seen_before) = (order(&lanes), lanes.counters.sight(0).seq);
        let (order, first) = lanes.counters.submit(Box::new(order)).await.unwrap();
        lanes.submit(Lanes::consume(SUBJECT, lines(&lanes, 10))).await;
        let state = lanes.state(SUBJECT).await;

        let again = Operation { since_seq: Some(seen_before), ..*order };
        let again = lanes.submit(again).await;

        let first = lines_of(&first.unwrap());
        assert!(first[0].units != 0);
        assert_eq!(lines_of(&again), first);
        assert_eq!((lanes.state(SUBJECT).await, lanes.outbox_entries().await), (state, 3));
    }
}

/// Guards promise 4: an attempt whose predecessor was never executed is executed.
#[tokio::test]
async fn a_retry_of_what_was_not_done_does_it() {
    let lanes = start().await;
    rewrite(&lanes, &[(Set, 5)]).await;

    let order = Lanes::rewrite(Decrement, SUBJECT, lines(&lanes, 10), 2);
    let outcome = lanes.submit(Operation { since_seq: Some(0), ..order }).await;

    assert_eq!(rewritten(&outcome), [-2, -2]);
    assert_eq!(used(&lanes, lines(&lanes, 10)).await, [3, 3]);
}

/// Guards promise 1: what was counted elsewhere may be above the limit. Nothing is left then, and nothing is accepted until
/// it is lowered.
#[tokio::test]
async fn a_set_above_the_limit_leaves_nothing() {
    let lanes = start().await;
    let line = lines(&lanes, 10).remove(0);
    rewrite(&lanes, &[(Set, 15)]).await;

    let refused = lanes.submit(Lanes::consume(SUBJECT, vec![line.clone()])).await;
    let look = lanes.submit(Lanes::check(SUBJECT, vec![line.clone()])).await;
    rewrite(&lanes, &[(Decrement, 6)]).await;
    let accepted = lanes.submit(Lanes::consume(SUBJECT, vec![line.clone()])).await;

    assert_eq!((decided(&refused), decided(&look)), ((false, vec![15]), (false, vec![15])));
    assert_eq!(remaining(&line, 15), Some(Units::ZERO));
    assert_eq!(decided(&accepted), (true, vec![10]));
}

/// Units that an answer says are left.
fn remaining(line: &Line, used: u64) -> Option<Units> {
    let limit = &line.limit;
    let state = LimitState {
        subject: SUBJECT.into(),
        metric: limit.metric.clone(),
        period: limit.period,
        window: line.window,
        max: limit.max,
        mode: limit.mode,
        warning_percent: limit.warning_percent,
        critical_percent: limit.critical_percent,
        used: Units::new(used).unwrap(),
        reserved: Units::ZERO,
        sliding: limit.sliding,
        carried: Units::ZERO,
        granted: Units::ZERO,
        violated: true,
        would_deny: false,
    };
    state.remaining()
}

/// Guards promise 1: requests of one group see each other's effects, and each event has what its own request added, also
/// when all of them share one sheet.
#[tokio::test]
async fn sets_decrements_and_consumes_of_a_group_are_done_in_order() {
    let lanes = start().await;
    let first = Lanes::rewrite(Set, SUBJECT, lines(&lanes, 10), 5);
    let sheet = first.sheet.clone();
    let order = |kind, amount| {
        let order = Lanes::rewrite(kind, SUBJECT, Vec::new(), amount);
        Operation { sheet: Arc::clone(&sheet), ..order }
    };
    let consume = |amount| order(OperationKind::Consume, amount);
    let orders =
        vec![first, consume(2), order(Set, 9), order(Decrement, 3), consume(4), consume(5)];

    let outcomes = lanes.submit_together(orders).await;

    assert_eq!([0, 2, 3].map(|at| rewritten(&outcomes[at])), [[5, 5], [2, 2], [-3, -3]]);
    let expected = [(true, vec![7, 7]), (true, vec![10, 10]), (false, vec![10, 10])];
    assert_eq!([1, 4, 5].map(|at| decided(&outcomes[at])), expected);
    assert_eq!(lanes.outbox_entries().await, 1);
    let added: Vec<_> = lanes.events().await.iter().map(units).collect();
    assert_eq!(added, [[5, 5], [2, 2], [2, 2], [-3, -3], [4, 4]]);
}

/// Guards promise 2: a set on a path reaches the lines of every level, and a load finds the same.
#[tokio::test]
async fn a_set_on_a_path_reaches_every_level() {
    let lanes = Lanes::start().await;
    let paths = ["org:acme", "org:acme/user:u_1"];
    lanes.load(&paths, 0).await;
    let charged = || vec![lanes.line(1, "messages", None), lanes.line(2, "messages", None)];
    lanes.submit(Lanes::consume(paths[1], charged())).await;
    lanes.submit(Lanes::consume(paths[0], charged()[..1].to_vec())).await;

    let outcome = lanes.submit(Lanes::rewrite(Set, paths[1], charged(), 40)).await;

    assert_eq!(rewritten(&outcome), [38, 39]);
    for path in paths {
        lanes.evict(path).await;
    }
    lanes.load_levels(paths.map(level).to_vec()).await;
    assert_eq!(decided(&lanes.submit(Lanes::check(paths[1], charged())).await).1, [40, 40]);
}

/// What a walk over three slices leaves: 3 units, 4 units, and 5 in the current one.
async fn start_with_slices() -> Lanes {
    let lanes = start().await;
    for amount in [3, 4, 5] {
        lanes.clock.advance(10_000);
        let order = Lanes::consume(SUBJECT, sliding(&lanes));
        lanes.submit(Operation { amount: Units::new(amount).unwrap(), ..order }).await;
    }
    lanes
}

fn sliding(lanes: &Lanes) -> Vec<Line> {
    vec![lanes.sliding(1, Period::Minute, "messages", Some(20))]
}

/// Guards promise 1 for sliding limits: a set is absolute whatever earlier slices hold; its units count from now on. A
/// load finds the same.
#[tokio::test]
async fn a_set_of_a_sliding_limit_is_absolute() {
    for amount in [2, 20] {
        let lanes = start_with_slices().await;

        let outcome = lanes.submit(Lanes::rewrite(Set, SUBJECT, sliding(&lanes), amount)).await;

        let added = rewritten(&outcome);
        assert_eq!((added[0], &added[1..]), (amount.cast_signed() - 5, &[-4, -3][..]));
        let windows = lanes.events().await[3]
            .deltas
            .lines
            .iter()
            .map(|it| it.window.seconds())
            .collect::<Vec<_>>();
        assert_eq!(windows, [10, 10, 10]);
        assert_eq!(used(&lanes, sliding(&lanes)).await, [amount]);
        lanes.evict(SUBJECT).await;
        lanes.load(&[SUBJECT], 0).await;
        assert_eq!(used(&lanes, sliding(&lanes)).await, [amount]);
        lanes.clock.advance(60_000);
        assert_eq!(used(&lanes, sliding(&lanes)).await, [amount]);
    }
}

/// Guards promise 1 for sliding limits: a decrement takes back the latest units first, and stops when nothing that counts
/// is left.
#[tokio::test]
async fn a_decrement_of_a_sliding_limit_takes_the_latest_units_first() {
    let lanes = start_with_slices().await;
    let mut added = Vec::new();

    for amount in [2, 6, 9] {
        let order = Lanes::rewrite(Decrement, SUBJECT, sliding(&lanes), amount);
        added.push(rewritten(&lanes.submit(order).await));
    }

    assert_eq!(added, [vec![-2], vec![-3, -3], vec![0, -1, -3]]);
    assert_eq!(used(&lanes, sliding(&lanes)).await, [0]);
}

/// Guards I3: a reset clears windows that begin before the current one ends; one that begins as it ends is the next.
#[tokio::test]
async fn a_reset_leaves_the_next_window_alone() {
    let lanes = Lanes::start().await;
    let window = lanes.line(1, "messages", None).window;
    let of = |start_s| (Field::used("messages", Period::Month, false, start_s), 4);
    let counters = vec![of(window.start_s), of(window.end_s)];
    lanes.load_levels(vec![LevelBase { counters, ..level(SUBJECT) }]).await;
    let clearing =
        Clearing { period: Period::Month, sliding: false, from_s: window.start_s, window };

    let outcome = lanes.submit(Lanes::reset(SUBJECT, None, &[clearing])).await;

    assert_eq!(rewritten(&outcome), [-4]);
    let state = lanes.state(SUBJECT).await;
    let mut left: Vec<i64> = state.counters.iter().map(|(_, used)| *used).collect();
    left.sort_unstable();
    assert_eq!(left, [0, 4]);
}
