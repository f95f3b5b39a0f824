//! Minute and hour limits that slide.

use headroom::counters::Again;
use headroom::counters::Clearing;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::Outcome;
use headroom::domain::Amount;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Sheet;
use headroom::domain::Units;

use super::acts;
use crate::random::Dice;
use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::rewritten;
use crate::support::lanes::units;

const SUBJECT: &str = "user:u_1";
/// Slices that count: the current one and those before it.
const SLICES: usize = 7;
const SECOND_MS: i64 = 1_000;
const SLICE_MS: i64 = 10_000;

/// What was decided: whether it was accepted, what is used then, when, and when there is room after a refusal, in Unix seconds.
type Answer = (bool, u64, i64, Option<i64>);

/// Units that were accepted, each with its instant in Unix milliseconds.
type Accepted = Vec<(i64, u64)>;

/// Asks for an amount of a sliding limit.
async fn ask(lanes: &Lanes, period: Period, max: u64, amount: u64) -> Answer {
    // A slice may end between the sheet and the decision; the next one does not end so soon.
    for _ in 0..2 {
        let line = lanes.sliding(1, period, "messages", Some(max));
        let order = Lanes::consume(SUBJECT, vec![line]);
        let amount = Units::new(amount).unwrap();
        let outcome = lanes.submit(Operation { amount, ..order }).await;
        if let Outcome::Decided { accepted, used, now_ms, more, .. } = &outcome {
            let room_at_s = more.as_ref().and_then(|more| more.room_at_s);
            return (*accepted, used[0].get(), *now_ms, room_at_s);
        }
        assert!(matches!(outcome, Outcome::Again(Again::WrongWindow(_))), "{outcome:?}");
    }
    panic!("two slices ended in two calls");
}

/// The units that were accepted at or after an instant.
fn since(accepted: &Accepted, at_ms: i64) -> u64 {
    accepted.iter().filter(|(instant_ms, _)| *instant_ms >= at_ms).map(|(_, units)| units).sum()
}

/// One step of a walk: what the script says is what the list of accepted instants says.
async fn step(lanes: &Lanes, period: Period, dice: &mut Dice, accepted: &mut Accepted) {
    const MAX: u64 = 20;
    let slice_ms = if period == Period::Minute { SLICE_MS } else { 60 * SLICE_MS };
    let pauses = [0, 0, 1, 9, 30, 61, 100, 130, 250, 590, 600, 701];
    lanes.clock.advance(dice.choose(&pauses) * slice_ms / 100);
    let amount = 1 + dice.below(6);

    let (is_accepted, used, now_ms, room_at_s) = ask(lanes, period, MAX, amount).await;

    let slice_at_ms = now_ms - now_ms.rem_euclid(slice_ms);
    let counted = since(accepted, slice_at_ms - 6 * slice_ms);
    assert_eq!(
        (is_accepted, used - u64::from(is_accepted) * amount),
        (counted + amount <= MAX, counted)
    );
    if is_accepted {
        accepted.push((now_ms, amount));
        let trailing = since(accepted, now_ms - 6 * slice_ms);
        assert!(trailing <= MAX, "{trailing} in the {} until {now_ms}", period.as_str());
        assert!(lanes.state(SUBJECT).await.counters.len() <= SLICES);
    } else {
        let with_a_slice_more = since(accepted, now_ms - 7 * slice_ms);
        assert!(with_a_slice_more + amount > MAX, "capacity is more than a slice late");
    }
    let fits_at =
        |slices: &i64| since(accepted, slice_at_ms + (slices - 6) * slice_ms) + amount <= MAX;
    let first = (1..=7).find(fits_at).filter(|_| !is_accepted);
    assert_eq!(room_at_s, first.map(|slices| (slice_at_ms + slices * slice_ms) / SECOND_MS));
}

/// Guards promise 1 for sliding limits: in any walk over the time no trailing minute or hour holds more than the limit,
/// capacity comes back at most one slice late, a refusal says when, and the state keeps the slices that count and no
/// others.
#[tokio::test]
async fn no_trailing_minute_or_hour_holds_more_than_the_limit() {
    for (seed, period) in [(1, Period::Minute), (2, Period::Minute), (3, Period::Hour)] {
        println!("seed {seed}");
        let lanes = Lanes::start().await;
        lanes.load(&[SUBJECT], 0).await;
        let (mut dice, mut accepted) = (Dice::new(seed), Accepted::new());
        for _ in 0..400 {
            step(&lanes, period, &mut dice, &mut accepted).await;
        }
        assert!((100..400).contains(&accepted.len()), "{} were accepted", accepted.len());
    }
}

/// Guards promise 1: units of the last second of a slice count for a whole minute, and those of the first for a slice more
/// and not longer.
#[tokio::test]
async fn capacity_is_back_when_the_slice_has_left_the_minute() {
    let lanes = Lanes::start().await;
    lanes.load(&[SUBJECT], 0).await;
    lanes.move_past_the_hour();
    assert_eq!(ask(&lanes, Period::Minute, 2, 1).await.1, 1);
    lanes.clock.advance(7 * SECOND_MS);
    assert_eq!(ask(&lanes, Period::Minute, 2, 1).await.1, 2);

    let mut answers = Vec::new();
    for pause_ms in [50 * SECOND_MS, 9 * SECOND_MS, 4 * SECOND_MS] {
        lanes.clock.advance(pause_ms);
        let (accepted, used, ..) = ask(&lanes, Period::Minute, 2, 2).await;
        answers.push((accepted, used));
    }

    // 58 and 67 seconds into the first minute, and 71.
    assert_eq!(answers, [(false, 2), (false, 2), (true, 2)]);
}

/// Guards promise 7: slices that no longer count leave the state with the next one that begins, also those of other
/// metrics.
#[tokio::test]
async fn slices_leave_the_state_when_they_no_longer_count() {
    for (period, letter, slice_s) in [(Period::Minute, 'N', 10), (Period::Hour, 'H', 600)] {
        let lanes = Lanes::start().await;
        lanes.load(&[SUBJECT], 0).await;
        lanes.move_past_the_hour();
        let first_s = lanes.sliding(1, period, "tokens", None).window.start_s;
        let mut sizes = Vec::new();

        for _ in 0..9 {
            let charged = ["messages", "tokens"].map(|it| lanes.sliding(1, period, it, None));
            lanes.submit(Lanes::consume(SUBJECT, charged.to_vec())).await;
            sizes.push(lanes.state(SUBJECT).await.counters.len());
            lanes.clock.advance(slice_s * SECOND_MS);
        }
        lanes.clock.advance(6 * slice_s * SECOND_MS);
        let (_, used, ..) = ask(&lanes, period, 9, 1).await;

        assert_eq!(sizes, [2, 4, 6, 8, 10, 12, 14, 14, 14]);
        let last = format!("messages:{letter}:{}", first_s + 15 * slice_s);
        assert_eq!((used, lanes.state(SUBJECT).await.names()), (1, vec![last.as_str()]));
    }
}

/// Guards promise 1: a window that does not slide and one that does are two counters, on one metric and period.
#[tokio::test]
async fn a_limit_that_slides_has_a_counter_of_its_own() {
    let lanes = Lanes::start().await;
    lanes.load(&[SUBJECT], 0).await;
    lanes.move_past_the_hour();
    let charged = |max| {
        let sliding = lanes.sliding(1, Period::Hour, "messages", Some(max));
        vec![lanes.line_of(1, Period::Hour, "messages", None), sliding]
    };

    let before = lanes.submit(Lanes::consume(SUBJECT, charged(2))).await;
    lanes.clock.advance(3_600 * SECOND_MS);
    let after = lanes.submit(Lanes::consume(SUBJECT, charged(2))).await;
    let refused = lanes.submit(Lanes::consume(SUBJECT, charged(2))).await;

    assert_eq!((decided(&before), decided(&after)), ((true, vec![1, 1]), (true, vec![1, 2])));
    assert_eq!(decided(&refused), (false, vec![1, 2]));
}

/// What clears every slice that counts.
fn clearing(lanes: &Lanes, period: Period) -> Clearing {
    let line = lanes.sliding(1, period, "messages", None);
    Clearing { period, sliding: true, from_s: line.earlier_s[5], window: line.window }
}

/// Guards promise 2: a reset takes back the units of every slice, each in its own window, and the limit is whole again.
#[tokio::test]
async fn a_reset_clears_all_slices() {
    let lanes = Lanes::start().await;
    lanes.load(&[SUBJECT], 0).await;
    lanes.move_past_the_hour();
    for amount in [1, 2, 3, 4, 5, 6, 7] {
        assert!(ask(&lanes, Period::Minute, 28, amount).await.0);
        lanes.clock.advance(SLICE_MS);
    }
    let seconds = lanes.sliding(1, Period::Minute, "messages", None);

    let reset =
        lanes.submit(Lanes::reset(SUBJECT, None, &[clearing(&lanes, Period::Minute)])).await;
    let (accepted, used, ..) = ask(&lanes, Period::Minute, 28, 28).await;

    // The first slice has left the minute.
    assert_eq!(rewritten(&reset), [-2, -3, -4, -5, -6, -7]);
    assert_eq!((accepted, used), (true, 28));
    let event = &lanes.events().await[7];
    assert_eq!(units(event), [-2, -3, -4, -5, -6, -7]);
    let windows = event.deltas.lines.iter().map(|delta| (delta.window.start_s, delta.window.end_s));
    let slices = seconds.earlier_s.iter().rev().map(|start_s| (*start_s, start_s + 10));
    assert_eq!(windows.collect::<Vec<_>>(), slices.collect::<Vec<_>>());
}

/// Guards Retry-After: what is held counts for longer than a slice does, grants spare some units, and of more than there is all
/// has to leave.
#[tokio::test]
async fn a_refusal_beside_holds_and_grants_says_when_there_is_room() {
    let lanes = acts::start().await;
    let grants = [acts::grant(1, 7, "messages", 1, None)];
    let line = || lanes.sliding(1, Period::Minute, "messages", Some(5));
    let plain = || acts::sheet(SUBJECT, vec![line()]);
    let first_s = line().window.start_s;
    lanes.submit(acts::ask(OperationKind::Consume, SUBJECT, plain(), 3)).await;
    acts::pass(&lanes, 10);
    lanes.submit(acts::ask(OperationKind::Consume, SUBJECT, plain(), 1)).await;
    let until_s = acts::now_s(&lanes) + 300;
    lanes.submit(acts::reserve(SUBJECT, plain(), 1, until_s)).await;
    acts::pass(&lanes, 20);

    let mut told = Vec::new();
    for (kind, amount) in
        [(OperationKind::Consume, 3), (OperationKind::Check, 4), (OperationKind::Consume, 5)]
    {
        let granted = Sheet { grants: grants.to_vec(), ..plain() };
        let outcome = lanes.submit(acts::ask(kind, SUBJECT, granted, amount)).await;
        let more = acts::more(&outcome);
        assert_eq!((decided(&outcome), more.free_at_s), ((false, vec![4]), None));
        told.push(more.room_at_s.unwrap() - first_s);
    }

    // 2 units too many are among the first 3, 3 too; 4 are all that was used.
    assert_eq!(told, [70, 70, 80]);
}

/// Guards Retry-After: each of the sliding limits that refuse has room then, and those that do not are not asked.
#[tokio::test]
async fn a_refusal_by_several_limits_says_when_all_have_room() {
    let lanes = acts::start().await;
    let limits = |max| {
        vec![
            lanes.sliding(1, Period::Minute, "messages", Some(2)),
            lanes.sliding(1, Period::Minute, "tokens", Some(max)),
            lanes.line(1, "messages", Some(2)),
        ]
    };
    let start_s = limits(2)[0].window.start_s;
    for metric in ["messages", "tokens"] {
        let line = lanes.sliding(1, Period::Minute, metric, None);
        lanes.submit(Lanes::consume(SUBJECT, vec![line])).await;
        acts::pass(&lanes, 10);
    }
    let room = async |lines: Vec<Line>, amount| {
        let asked = acts::ask(OperationKind::Consume, SUBJECT, acts::sheet(SUBJECT, lines), amount);
        let outcome = lanes.submit(asked).await;
        assert!(!decided(&outcome).0, "{outcome:?}");
        let Outcome::Decided { more, .. } = outcome else { panic!("{outcome:?}") };
        more.and_then(|more| more.room_at_s).map(|at_s| at_s - start_s)
    };

    assert_eq!(room(limits(2), 2).await, Some(80), "tokens have room last");
    assert_eq!(room(limits(9), 2).await, Some(70), "tokens have room");
    assert_eq!(room(limits(9)[1..].to_vec(), 3).await, None, "a month does not slide");
    let mut one_of_nothing = limits(0);
    one_of_nothing[1].weight = Amount::new(0).unwrap();
    assert_eq!(room(one_of_nothing, 2).await, Some(70), "nothing is asked of the tokens");
}
