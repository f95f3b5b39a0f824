//! Limits of one request: of every level, all or nothing.

use headroom::counters::Field;
use headroom::counters::LevelBase;
use headroom::counters::Operation;
use headroom::domain::Calendar;
use headroom::domain::Line;
use headroom::domain::Mode;
use headroom::domain::Period;
use headroom::domain::Portion;
use headroom::domain::Units;

use crate::support::image::Image;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;

const LEVELS: [&str; 4] = [
    "org:acme",
    "org:acme/team:red",
    "org:acme/team:red/user:u_1",
    "org:acme/team:red/user:u_1/project:p_9",
];

/// Guards promise 1: a charge on a path charges every level of it, from one level to four.
#[tokio::test]
async fn a_charge_reaches_every_level_of_the_path() {
    let lanes = Lanes::start().await;
    lanes.load(&LEVELS, 0).await;

    for (depth, path) in (1..).zip(LEVELS) {
        let charged = (1..=depth).map(|depth| lanes.line(depth, "messages", Some(10))).collect();
        let (accepted, used) = decided(&lanes.submit(Lanes::consume(path, charged)).await);

        // The root has been charged by every path so far, the last level by this one alone.
        let expected: Vec<u64> = (1..=u64::from(depth)).rev().collect();
        assert_eq!((accepted, used), (true, expected));
    }
}

/// Guards promise 6: a refusal by one limit of one level, the last of many, writes nothing anywhere.
#[tokio::test]
async fn a_refusal_at_one_level_leaves_redis_as_it_was() {
    for refusing in 1..=4 {
        let mut lanes = Lanes::start().await;
        lanes.load(&LEVELS, 0).await;
        let max = |depth, metric| (depth == refusing && metric == "tokens").then_some(0);
        let metrics = ["messages", "tokens", "ai_generations"];
        let charged = (1..=4).flat_map(|depth| metrics.map(|metric| (depth, metric)));
        let charged: Vec<Line> =
            charged.map(|(depth, metric)| lanes.line(depth, metric, max(depth, metric))).collect();
        let before = Image::take(&mut lanes.connection).await;

        let (accepted, used) = decided(&lanes.submit(Lanes::consume(LEVELS[3], charged)).await);

        assert_eq!((accepted, used), (false, vec![0; 12]));
        assert_eq!(Image::take(&mut lanes.connection).await, before);
    }
}

/// Guards promise 6: a check decides like a consume and writes nothing.
#[tokio::test]
async fn a_check_decides_and_writes_nothing() {
    let mut lanes = Lanes::start().await;
    lanes.load(&["user:u_1"], 0).await;
    let before = Image::take(&mut lanes.connection).await;
    let line = |max| vec![lanes.line(1, "messages", Some(max))];

    let allowed = lanes.submit(Lanes::check("user:u_1", line(1))).await;
    let refused = lanes.submit(Lanes::check("user:u_1", line(0))).await;

    assert_eq!((decided(&allowed), decided(&refused)), ((true, vec![0]), (false, vec![0])));
    assert_eq!(Image::take(&mut lanes.connection).await, before);
}

/// Consumes one unit of the line until it is refused, at most ten times.
async fn accepted_of_ten(lanes: &Lanes, line: &Line) -> usize {
    let mut accepted = 0;
    for _ in 0..10 {
        let order = Lanes::consume("user:u_1", vec![line.clone()]);
        accepted += usize::from(decided(&lanes.submit(order).await).0);
    }
    accepted
}

/// Guards promise 1: each mode accepts as far as it says. Hard to the limit, soft past it by its grace, shadow and
/// unlimited always, zero never.
#[tokio::test]
async fn each_mode_accepts_as_far_as_it_says() {
    let lanes = Lanes::start().await;
    lanes.load(&["user:u_1"], 0).await;
    let of_mode = |metric, max, mode, grace| {
        let mut line = lanes.line(1, metric, max);
        line.limit.mode = mode;
        line.limit.grace = Portion::Units(Units::new(grace).unwrap());
        line
    };

    let hard = of_mode("hard", Some(3), Mode::Hard, 5);
    let soft = of_mode("soft", Some(3), Mode::Soft, 2);
    let shadow = of_mode("shadow", Some(3), Mode::Shadow, 0);
    let unlimited = of_mode("unlimited", None, Mode::Hard, 0);
    let blocked = of_mode("blocked", Some(0), Mode::Hard, 0);

    assert_eq!(accepted_of_ten(&lanes, &hard).await, 3);
    assert_eq!(accepted_of_ten(&lanes, &soft).await, 5);
    assert_eq!(accepted_of_ten(&lanes, &shadow).await, 10);
    assert_eq!(accepted_of_ten(&lanes, &unlimited).await, 10);
    assert_eq!(accepted_of_ten(&lanes, &blocked).await, 0);
}

/// Guards promise 1: an amount is charged whole or not at all, and an amount of zero is never refused.
#[tokio::test]
async fn an_amount_is_charged_whole_or_not_at_all() {
    let lanes = Lanes::start().await;
    lanes.load(&["user:u_1"], 0).await;
    let of = |amount| {
        let order = Lanes::consume("user:u_1", vec![lanes.line(1, "tokens", Some(10))]);
        Operation { amount: Units::new(amount).unwrap(), ..order }
    };

    let mut outcomes = Vec::new();
    for amount in [7, 4, 3, 1, 0] {
        outcomes.push(decided(&lanes.submit(of(amount)).await));
    }

    let expected = [(true, 7), (false, 7), (true, 10), (false, 10), (true, 10)];
    assert_eq!(outcomes, expected.map(|(accepted, used)| (accepted, vec![used])));
}

/// Guards promise 1: counts are exact up to 2^53 - 1, where a number of Lua ends, and are refused beyond.
#[tokio::test]
async fn counts_are_exact_up_to_the_largest_number() {
    const MOST: u64 = 9_007_199_254_740_991;
    let lanes = Lanes::start().await;
    let window = Period::Month.window_at(lanes.clock.now(), &Calendar::UTC);
    let nearly = i64::try_from(MOST - 3).unwrap();
    let counters = vec![(Field::used("tokens", Period::Month, false, window.start_s), nearly)];
    lanes.load_levels(vec![LevelBase { counters, ..level("user:u_1") }]).await;
    let line = lanes.line(1, "tokens", None);

    let mut outcomes = Vec::new();
    for _ in 0..4 {
        let order = Lanes::consume("user:u_1", vec![line.clone()]);
        outcomes.push(decided(&lanes.submit(order).await));
    }

    let expected = [(true, MOST - 2), (true, MOST - 1), (true, MOST), (false, MOST)];
    assert_eq!(outcomes, expected.map(|(accepted, used)| (accepted, vec![used])));
}
