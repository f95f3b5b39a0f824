//! The counters within one level's state: which there are, in which order, and how many.

use headroom::counters::Field;
use headroom::counters::LevelBase;
use headroom::counters::Operation;
use headroom::counters::keys;
use headroom::domain::Calendar;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Units;

use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;
use crate::support::lanes::units;

const SUBJECT: &str = "user:u_1";
const DAY_MS: i64 = 86_400_000;
const METRICS: [&str; 4] = ["messages", "tokens", "images", "ai_generations"];
const LEVELS: [&str; 4] = [
    "org:acme",
    "org:acme/team:red",
    "org:acme/team:red/user:u_1",
    "org:acme/team:red/user:u_1/project:p_9",
];

/// One limit of each period, and what slides.
fn every_period(lanes: &Lanes, depth: u8, metric: &str, max: Option<u64>) -> Vec<Line> {
    let whole = Period::ALL.map(|period| lanes.line_of(depth, period, metric, max));
    let sliding = [Period::Minute, Period::Hour];
    let sliding = sliding.map(|period| lanes.sliding(depth, period, metric, max));
    whole.into_iter().chain(sliding).collect()
}

/// The name of the metric's counter of the current month.
fn month(lanes: &Lanes, metric: &str) -> String {
    format!("{metric}:m:{}", lanes.line(1, metric, None).window.start_s)
}

/// The letters of a level's counters of the metric, sorted.
async fn letters(lanes: &Lanes, metric: &str) -> String {
    let state = lanes.state(SUBJECT).await;
    let of_metric = state.counters.iter().filter_map(|(name, _)| {
        let rest = name.strip_prefix(metric)?.strip_prefix(':')?;
        rest.chars().next()
    });
    let mut letters: Vec<char> = of_metric.collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

/// Guards promise 7: when a window begins, those leave the state that are over in every calendar, of whatever limit;
/// lifetime counters never.
#[tokio::test]
async fn the_windows_that_ended_leave_the_state() {
    let lanes = Lanes::start().await;
    lanes.load(&[SUBJECT], 0).await;
    // A Wednesday.
    lanes.move_to("2027-03-10T12:00:01Z");
    let consume = async |metric| {
        let order = Lanes::consume(SUBJECT, every_period(&lanes, 1, metric, None));
        assert!(decided(&lanes.submit(order).await).0);
    };
    consume("messages").await;
    consume("tokens").await;

    let mut seen = Vec::new();
    for days in [0, 2, 8, 30] {
        lanes.clock.advance(days * DAY_MS + 3_600_000);
        consume("messages").await;
        seen.push((letters(&lanes, "messages").await, letters(&lanes, "tokens").await));
    }

    let (own, others): (Vec<String>, Vec<String>) = seen.into_iter().unzip();
    // The first slice of an hour still counts for ten minutes after it.
    assert_eq!(own, ["HHNdhlmnw", "HNdhlmnw", "HNdhlmnw", "HNdhlmnw"]);
    assert_eq!(others, ["Hdlmw", "lmw", "lm", "l"]);
}

/// Guards promise 1: counters that begin in one request do not move those beside them, on any level.
#[tokio::test]
async fn two_counters_begin_in_one_request() {
    let lanes = Lanes::start().await;
    lanes.load(&LEVELS[..2], 0).await;
    let of = |depth: u8, metric: &str| lanes.line(depth, metric, Some(9));
    let order = |lines, amount| {
        let amount = Units::new(amount).unwrap();
        Operation { amount, ..Lanes::consume(LEVELS[1], lines) }
    };
    lanes.submit(order(vec![of(1, "tokens"), of(2, "images")], 3)).await;

    let charged = vec![
        of(1, "messages"),
        of(1, "tokens"),
        of(1, "images"),
        of(2, "messages"),
        of(2, "images"),
        of(2, "tokens"),
    ];
    let first = lanes.submit(order(charged.clone(), 2)).await;
    let second = lanes.submit(order(charged, 4)).await;

    assert_eq!(decided(&first), (true, vec![2, 5, 2, 2, 5, 2]));
    assert_eq!(decided(&second), (true, vec![6, 9, 6, 6, 9, 6]));
    for (path, first) in [(LEVELS[0], "tokens"), (LEVELS[1], "images")] {
        let state = lanes.state(path).await;
        let used = |metric: &str| state.used(&month(&lanes, metric));
        let others = METRICS[..3].iter().filter(|metric| **metric != first);
        assert_eq!(used(first), Some(9), "{path}");
        assert_eq!(others.map(|metric| used(metric)).collect::<Vec<_>>(), [Some(6); 2], "{path}");
    }
}

/// Guards promise 1: a new window that begins beside another new counter, while old ones are dropped around them.
#[tokio::test]
async fn a_counter_begins_where_others_end() {
    let lanes = Lanes::start().await;
    // A day is kept for two hours more, so not in its first two hours.
    lanes.move_to("2027-03-10T12:00:01Z");
    lanes.load(&[SUBJECT], 0).await;
    let charged = |metrics: &[&str]| {
        let of = |metric: &&str| {
            [Period::Day, Period::Lifetime].map(|it| lanes.line_of(1, it, metric, None))
        };
        metrics.iter().flat_map(of).collect::<Vec<_>>()
    };
    lanes.submit(Lanes::consume(SUBJECT, charged(&["tokens", "messages"]))).await;
    lanes.clock.advance(DAY_MS);
    lanes.submit(Lanes::consume(SUBJECT, charged(&["messages"]))).await;
    lanes.clock.advance(DAY_MS);

    let outcome =
        lanes.submit(Lanes::consume(SUBJECT, charged(&["images", "tokens", "messages"]))).await;

    assert_eq!(decided(&outcome), (true, vec![1, 1, 1, 2, 1, 3]));
    assert_eq!(lanes.state(SUBJECT).await.counters.len(), 6);
}

/// Guards promise 1: counters are found by their names, in whatever order a load or other requests left them.
#[tokio::test]
async fn the_order_of_the_counters_does_not_matter() {
    let lanes = Lanes::start().await;
    lanes.move_past_the_hour();
    let start_s = Period::Month.window_at(lanes.clock.now(), &Calendar::UTC).start_s;
    let counters = METRICS.iter().zip(1..);
    let counters =
        counters.map(|(it, used)| (Field::used(it, Period::Month, false, start_s), used));
    lanes.load_levels(vec![LevelBase { counters: counters.collect(), ..level(SUBJECT) }]).await;
    let key = keys::subject(0, SUBJECT);
    let charged = || METRICS.map(|metric| lanes.line(1, metric, Some(99))).to_vec();

    for rotation in 0..4 {
        let mut state = lanes.state(SUBJECT).await;
        state.counters.sort_unstable();
        state.counters.rotate_left(rotation);
        state.counters.swap(0, 2);
        state.write(&lanes.connection, &key).await;

        let outcome = lanes.submit(Lanes::consume(SUBJECT, charged())).await;

        let added = rotation as u64 + 1;
        assert_eq!(decided(&outcome), (true, [1, 2, 3, 4].map(|used| used + added).to_vec()));
        let names = |counters: &[(String, i64)]| -> Vec<String> {
            counters.iter().map(|(name, _)| name.clone()).collect()
        };
        let left = lanes.state(SUBJECT).await;
        assert_eq!(names(&left.counters), names(&state.counters), "the order stays");
    }
}

/// Thirty-two limits on each of four levels: of every period, a quarter of them sliding.
fn most_lines(lanes: &Lanes, max: u64) -> Vec<Line> {
    let levels = (1..=4).flat_map(|depth| METRICS.map(|metric| (depth, metric)));
    levels.flat_map(|(depth, metric)| every_period(lanes, depth, metric, Some(max))).collect()
}

/// Guards promise 7: the largest call there is. 64 requests, each with a sheet of its own of 32 limits on each of 4 levels,
/// are decided in order, stand in one entry, and are loaded from it.
#[tokio::test]
async fn sixty_four_requests_of_thirty_two_limits_on_four_levels() {
    let lanes = Lanes::start().await;
    lanes.load(&LEVELS, 0).await;
    lanes.move_past_the_hour();
    let charged = most_lines(&lanes, 60);
    assert_eq!(charged.len(), 128);
    let orders = (0..64).map(|_| Lanes::consume(LEVELS[3], charged.clone())).collect();

    let outcomes = lanes.submit_together(orders).await;

    for (outcome, place) in outcomes.iter().zip(1..) {
        assert_eq!(decided(outcome), (place <= 60, vec![place.min(60); 128]));
    }
    assert_eq!(lanes.outbox_entries().await, 1);
    let events = lanes.events().await;
    assert_eq!(events.len(), 60);
    assert!(events.iter().all(|event| units(event) == [1; 128]));
    for path in LEVELS {
        let before = lanes.state(path).await;
        lanes.evict(path).await;
        lanes.load(&[path], 0).await;
        let after = lanes.state(path).await;
        assert_eq!((before.names(), after.names().len()), (after.names(), 32));
        assert!(after.counters.iter().all(|(_, used)| *used == 60), "{path}: {after:?}");
    }
}
