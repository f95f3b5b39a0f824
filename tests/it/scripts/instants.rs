//! What begins and ends in the very second in which it should: the time stands still here.

use std::sync::Arc;

use headroom::counters::Again;
use headroom::counters::Field;
use headroom::counters::LevelBase;
use headroom::counters::OperationKind;
use headroom::counters::OperationKind::Check;
use headroom::counters::OperationKind::Commit;
use headroom::counters::OperationKind::Consume;
use headroom::counters::OperationKind::Expire;
use headroom::counters::OperationKind::Release;
use headroom::counters::Outcome;
use headroom::counters::PackedSheet;
use headroom::counters::Taken;
use headroom::counters::keys;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Sheet;
use headroom::domain::Tally;
use headroom::domain::Window;
use uuid::Uuid;

use super::acts::SUBJECT;
use super::acts::ask;
use super::acts::counts;
use super::acts::end;
use super::acts::extend;
use super::acts::grant;
use super::acts::reserve;
use super::acts::sheet;
use super::acts::told;
use crate::support::lanes::IDLE_TTL_S;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;
use crate::support::lanes::operation;
use crate::support::lanes::rewritten;

/// Noon of a Wednesday.
const NOON_S: i64 = 1_804_680_000;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

async fn start() -> Lanes {
    let lanes = Lanes::start().await;
    lanes.stop_at(NOON_S).await;
    lanes.load(&[SUBJECT], 0).await;
    lanes
}

fn ten(lanes: &Lanes) -> Vec<Line> {
    vec![lanes.line(1, "messages", Some(10))]
}

/// Guards promises 1 and 7: a counter is there until no calendar has its window any more, and not a second longer. Clocks
/// are put back by two hours at most.
#[tokio::test]
async fn a_counter_goes_in_the_second_in_which_its_window_is_over_everywhere() {
    let lanes = Lanes::start().await;
    lanes.stop_at(NOON_S).await;
    let longest = [
        (Period::Minute, false, 60),
        (Period::Hour, false, HOUR_S),
        (Period::Day, false, DAY_S + 2 * HOUR_S),
        (Period::Week, false, 7 * DAY_S + 2 * HOUR_S),
        (Period::Month, false, 31 * DAY_S + 2 * HOUR_S),
        (Period::Minute, true, 70),
        (Period::Hour, true, 70 * 60),
    ];
    let mut kept: Vec<Field> = Vec::new();
    for (period, sliding, longest_s) in longest {
        kept.push(Field::used("messages", period, sliding, NOON_S + 1 - longest_s));
    }
    kept.push(Field::of_grant("messages", 7, NOON_S + 1));
    let month = Field::used("tokens", Period::Month, false, NOON_S - DAY_S);
    let held = |until_s| Field { tally: Tally::Held { until_s }, ..month.clone() };
    let mut gone: Vec<Field> =
        kept.iter().map(|field| Field { at_s: field.at_s - 1, ..field.clone() }).collect();
    kept.push(held(NOON_S + 1));
    gone.push(held(NOON_S));

    let counters = kept.iter().chain(&gone).map(|field| (field.clone(), 5)).collect();
    lanes.load_levels(vec![LevelBase { counters, ..level(SUBJECT) }]).await;

    let mut expected: Vec<String> = kept.iter().map(Field::to_string).collect();
    expected.sort();
    assert_eq!(lanes.state(SUBJECT).await.names(), expected);
}

/// Guards promise 1: a window has its first instant, and its end is the next one's.
#[tokio::test]
async fn a_request_is_decided_from_the_first_instant_of_its_window_to_its_end() {
    let lanes = start().await;
    let hour = lanes.line_of(1, Period::Hour, "messages", Some(10));
    let window = Window { start_s: NOON_S - HOUR_S, end_s: NOON_S };
    let before = Line { window, ..hour.clone() };

    let first = lanes.submit(Lanes::consume(SUBJECT, vec![hour])).await;
    let last = lanes.submit(Lanes::consume(SUBJECT, vec![before])).await;

    assert_eq!(decided(&first), (true, vec![1]));
    assert!(matches!(last, Outcome::Again(Again::WrongWindow(_))), "{last:?}");
}

/// Guards promise 7: the time to live begins anew when an eighth of it has passed, and not before.
#[tokio::test]
async fn a_subject_is_touched_after_an_eighth_of_its_idle_time() {
    let lanes = start().await;
    let eighth_s = i64::try_from(IDLE_TTL_S / 8).unwrap();
    let mut touched = Vec::new();

    for seconds in [eighth_s, 1] {
        lanes.pass_stopped(seconds).await;
        lanes.submit(Lanes::consume(SUBJECT, ten(&lanes))).await;
        touched.push(lanes.state(SUBJECT).await.touched_s - NOON_S);
    }

    assert_eq!(touched, [0, eighth_s + 1]);
}

/// Holds four messages for a minute.
async fn hold(lanes: &Lanes) -> Uuid {
    let until_s = lanes.clock.now().timestamp() + 60;
    let order = reserve(SUBJECT, sheet(SUBJECT, ten(lanes)), 4, until_s);
    let id = order.event_id;
    assert!(counts(&lanes.submit(order).await).0);
    id
}

/// Guards I3 and I8: what is held is held to the last second, and free in the one at which the hold ends: then it can expire, a
/// commit is late, and nothing can be given back or held for longer.
#[tokio::test]
async fn a_hold_is_over_in_the_second_at_which_it_ends() {
    let lanes = start().await;
    let (first, second) = (hold(&lanes).await, hold(&lanes).await);
    let check = async || {
        let outcome = lanes.submit(ask(Check, SUBJECT, sheet(SUBJECT, ten(&lanes)), 3)).await;
        decided(&outcome)
    };

    lanes.pass_stopped(59).await;
    assert_eq!(check().await, (false, vec![0]));
    assert_eq!(lanes.submit(end(Expire, SUBJECT, first, 1)).await, Outcome::Nothing);
    lanes.pass_stopped(1).await;
    assert_eq!(check().await, (true, vec![0]));
    for order in [
        end(Release, SUBJECT, first, 0),
        extend(SUBJECT, first, lanes.clock.now().timestamp() + 60),
    ] {
        let outcome = lanes.submit(order).await;
        assert!(matches!(outcome, Outcome::Ended(..)), "{outcome:?}");
    }
    let late = lanes.submit(end(Commit, SUBJECT, second, 2)).await;
    assert!(told(&late).hold.unwrap().late);
    let expired = lanes.submit(end(Expire, SUBJECT, first, 1)).await;
    assert!(matches!(expired, Outcome::HoldEnded(_)), "{expired:?}");
}

/// Guards promise 1: a grant is used up to its last second, and nothing of it is left in the one at which it ends.
#[tokio::test]
async fn a_grant_is_over_in_the_second_at_which_it_ends() {
    let lanes = start().await;
    let grants = vec![grant(1, 7, "messages", 5, Some(NOON_S + 60))];
    let full = vec![lanes.line(1, "messages", Some(0))];
    let order = || {
        let sheet = Sheet { grants: grants.clone(), ..sheet(SUBJECT, full.clone()) };
        ask(Consume, SUBJECT, sheet, 1)
    };

    let mut accepted = Vec::new();
    for seconds in [59, 1] {
        lanes.pass_stopped(seconds).await;
        accepted.push(decided(&lanes.submit(order()).await).0);
    }

    assert_eq!(accepted, [true, false]);
}

/// Guards promise 1: what is given back or away is given up to the last second of its window or grant, and not in the one at
/// which that ends.
#[tokio::test]
async fn nothing_is_given_back_or_away_in_the_second_at_which_it_ends() {
    let lanes = start().await;
    let day = Field::used("messages", Period::Day, false, NOON_S);
    let line = lanes.line_of(1, Period::Day, "messages", None);
    lanes.submit(ask(Consume, SUBJECT, sheet(SUBJECT, vec![line.clone()]), 9)).await;
    let field = Field { at_s: line.window.start_s, ..day };
    let end_s = NOON_S + 60;
    let refund = || {
        let taken = Taken { depth: 1, field: field.clone(), units: 1, refund_max: None, end_s };
        operation(OperationKind::Refund, SUBJECT, Arc::new(PackedSheet::refund(1, "", &[taken])))
    };
    let give = || {
        let grants = [grant(1, 7, "messages", 5, Some(end_s))];
        operation(OperationKind::Give, SUBJECT, Arc::new(PackedSheet::give(1, &grants)))
    };

    lanes.pass_stopped(59).await;
    for order in [refund(), give()] {
        assert_eq!(rewritten(&lanes.submit(order).await).len(), 1);
    }
    lanes.pass_stopped(1).await;
    for order in [refund(), give()] {
        assert_eq!(lanes.submit(order).await, Outcome::Nothing);
    }
}

/// Guards promise 7: a hold that is over as it is made holds nothing, and is remembered no longer than an answer is.
#[tokio::test]
async fn a_hold_that_is_over_as_it_is_made_holds_nothing() {
    const REMEMBERED_S: i64 = 60;
    for until_s in [NOON_S, NOON_S - 1] {
        for grants in [Vec::new(), vec![grant(1, 7, "messages", 5, None)]] {
            let lanes = start().await;
            let asked = Sheet { grants, ..sheet(SUBJECT, ten(&lanes)) };
            let order = reserve(SUBJECT, asked, 4, until_s);
            let key = keys::reservation(0, order.event_id.into_bytes());

            assert!(decided(&lanes.submit(order).await).0);
            let ttl_s: i64 = redis::cmd("TTL")
                .arg(key)
                .query_async(&mut lanes.connection.clone())
                .await
                .unwrap();
            let all = lanes.submit(ask(Consume, SUBJECT, sheet(SUBJECT, ten(&lanes)), 10)).await;

            assert!(decided(&all).0, "{all:?}");
            assert!((REMEMBERED_S - 1..=REMEMBERED_S).contains(&ttl_s), "{ttl_s}");
        }
    }
}
