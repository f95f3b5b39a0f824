//! What a load takes from the outbox: of counters that Redis alone keeps all that is there, of others what is after the
//! cursor.

use headroom::counters::Clearing;
use headroom::counters::Field;
use headroom::counters::LevelBase;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::domain::Calendar;
use headroom::domain::Line;
use headroom::domain::Period;
use headroom::domain::Units;

use crate::support::lanes::Lanes;
use crate::support::lanes::decided;
use crate::support::lanes::level;
use crate::support::lanes::rewritten;

const SUBJECT: &str = "user:u_1";

async fn start() -> Lanes {
    let lanes = Lanes::start().await;
    lanes.load(&[SUBJECT], 0).await;
    lanes.move_past_the_hour();
    lanes
}

/// Four counters that Redis alone keeps, then two that Postgres has.
fn lines(lanes: &Lanes) -> Vec<Line> {
    let whole = |period| lanes.line_of(1, period, "messages", None);
    let sliding = |period| lanes.sliding(1, period, "messages", None);
    vec![
        whole(Period::Minute),
        whole(Period::Hour),
        sliding(Period::Minute),
        sliding(Period::Hour),
        whole(Period::Month),
        whole(Period::Lifetime),
    ]
}

async fn consume(lanes: &Lanes, amounts: &[u64]) {
    for amount in amounts {
        let order = Lanes::consume(SUBJECT, lines(lanes));
        let order = Operation { amount: Units::new(*amount).unwrap(), ..order };
        assert!(decided(&lanes.submit(order).await).0);
    }
}

async fn rewrite(lanes: &Lanes, kind: OperationKind, amount: u64) {
    let order = Lanes::rewrite(kind, SUBJECT, lines(lanes), amount);
    rewritten(&lanes.submit(order).await);
}

/// Clears all six counters.
async fn reset(lanes: &Lanes) {
    let clearing = |line: Line| Clearing {
        period: line.limit.period,
        sliding: line.limit.sliding,
        from_s: line.earlier_s.last().copied().unwrap_or(line.window.start_s),
        window: line.window,
    };
    let clearings: Vec<Clearing> = lines(lanes).into_iter().map(clearing).collect();
    rewritten(&lanes.submit(Lanes::reset(SUBJECT, None, &clearings)).await);
}

/// Drops the subject and loads it as Postgres has it at a cursor: `kept` units of the month and of the lifetime. Answers
/// what is used by the lines then.
async fn load_again(lanes: &Lanes, cursor_seq: u64, kept: i64) -> Vec<u64> {
    lanes.evict(SUBJECT).await;
    let start_s = Period::Month.window_at(lanes.clock.now(), &Calendar::UTC).start_s;
    let of = |period, start_s| (Field::used("messages", period, false, start_s), kept);
    let counters = vec![of(Period::Month, start_s), of(Period::Lifetime, 0)];
    lanes.load_at(cursor_seq, vec![LevelBase { counters, ..level(SUBJECT) }]).await;
    decided(&lanes.submit(Lanes::check(SUBJECT, lines(lanes))).await).1
}

/// Guards promise 1: what Redis alone keeps comes back from the whole outbox, wherever the cursor is, and what Postgres has
/// is counted once: an event is in its sums up to the cursor, and in the outbox after it.
#[tokio::test]
async fn minutes_and_hours_come_back_from_events_before_the_cursor() {
    let lanes = start().await;
    consume(&lanes, &[1, 2, 4]).await;

    for (cursor, kept) in [(0, 0), (1, 1), (2, 3), (3, 7)] {
        assert_eq!(load_again(&lanes, cursor, kept).await, [7; 6], "cursor {cursor}");
    }
}

/// Guards I2: whatever Postgres says of its counters stands: no event before the cursor is counted a second time.
#[tokio::test]
async fn counters_of_postgres_never_count_an_event_before_the_cursor() {
    let lanes = start().await;
    consume(&lanes, &[1, 2, 4]).await;

    assert_eq!(load_again(&lanes, 3, 100).await, [7, 7, 7, 7, 100, 100]);
    assert_eq!(load_again(&lanes, 2, 100).await, [7, 7, 7, 7, 104, 104]);
    lanes.evict(SUBJECT).await;
    lanes.load_at(3, vec![level(SUBJECT)]).await;
    let letters = lanes.state(SUBJECT).await.counters.len();
    assert_eq!(letters, 4, "the month and the lifetime are not in the snapshot");
}

/// Guards docs/adr/0011: of what Redis alone keeps, what is trimmed is gone, and nothing else.
#[tokio::test]
async fn what_is_trimmed_does_not_come_back() {
    let lanes = start().await;
    consume(&lanes, &[1, 2, 4, 8]).await;
    lanes.trim(2).await;

    assert_eq!(load_again(&lanes, 2, 3).await, [12, 12, 12, 12, 15, 15]);
    assert_eq!(load_again(&lanes, 3, 7).await, [12, 12, 12, 12, 15, 15]);
    lanes.trim(4).await;
    assert_eq!(load_again(&lanes, 4, 15).await, [0, 0, 0, 0, 15, 15]);
}

/// Guards promise 1 and I3: after a reset in the outbox these counters begin at zero, though what it took back is trimmed
/// in part or not at all.
#[tokio::test]
async fn a_reset_in_the_outbox_ends_minutes_and_hours_at_zero() {
    let lanes = start().await;
    consume(&lanes, &[5, 2]).await;
    reset(&lanes).await;
    let after_the_reset = load_again(&lanes, 0, 0).await;
    consume(&lanes, &[1, 3]).await;

    assert_eq!(after_the_reset, [0; 6]);
    let mut loaded = vec![load_again(&lanes, 0, 0).await, load_again(&lanes, 4, 1).await];
    for (seq, kept) in [(1, 5), (2, 7), (3, 0)] {
        lanes.trim(seq).await;
        loaded.push(load_again(&lanes, seq, kept).await);
        loaded.push(load_again(&lanes, 5, 4).await);
    }
    assert_eq!(loaded, vec![[4; 6]; 8]);
}

/// Guards I3: what a decrement took back may be trimmed. The counter is then not below zero, and what is consumed after it
/// counts in full.
#[tokio::test]
async fn a_decrement_of_what_is_trimmed_leaves_no_debt() {
    let lanes = start().await;
    consume(&lanes, &[5]).await;
    rewrite(&lanes, OperationKind::Decrement, 3).await;
    assert_eq!(load_again(&lanes, 0, 0).await, [2; 6], "nothing is trimmed yet");
    lanes.trim(1).await;

    assert_eq!(load_again(&lanes, 1, 5).await, [0, 0, 0, 0, 2, 2]);
    consume(&lanes, &[4]).await;
    assert_eq!(load_again(&lanes, 1, 5).await, [4, 4, 4, 4, 6, 6]);
}

/// Guards I3: a reset has no line for a counter that was set to zero before; what came before the set stays trimmed.
#[tokio::test]
async fn a_reset_of_a_counter_at_zero_leaves_no_debt() {
    let lanes = start().await;
    consume(&lanes, &[5]).await;
    rewrite(&lanes, OperationKind::Set, 0).await;
    reset(&lanes).await;
    consume(&lanes, &[2]).await;
    lanes.trim(1).await;

    assert_eq!(load_again(&lanes, 1, 5).await, [2; 6]);
    assert_eq!(load_again(&lanes, 4, 2).await, [2; 6]);
}

/// Guards promise 7: a slice that has left the minute is not loaded, nor is a minute that ended; each slice that counts
/// comes back as itself.
#[tokio::test]
async fn slices_come_back_while_they_count() {
    let lanes = start().await;
    consume(&lanes, &[1]).await;
    let first_s = lines(&lanes)[2].window.start_s;
    for amount in [2, 4] {
        lanes.clock.advance(20_000);
        consume(&lanes, &[amount]).await;
    }

    let at_once = load_again(&lanes, 0, 0).await;
    lanes.clock.advance(30_000);
    let later = load_again(&lanes, 0, 0).await;

    // 41 and 71 seconds into the hour.
    assert_eq!((at_once, later), (vec![7; 6], vec![0, 7, 6, 7, 7, 7]));
    let state = lanes.state(SUBJECT).await;
    let slice = |after_s| format!("messages:N:{}", first_s + after_s);
    assert_eq!([0, 20, 40].map(|it| state.used(&slice(it))), [None, Some(2), Some(4)]);
}

/// Guards the instant of the last reset: a reset is of the last level of its path, and says nothing of the levels above.
#[tokio::test]
async fn a_reset_below_a_level_is_not_its_own() {
    let lanes = Lanes::start().await;
    let paths = ["org:acme", "org:acme/user:u_1"];
    lanes.load(&paths, 0).await;
    let window = Period::Month.window_at(lanes.clock.now(), &Calendar::UTC);
    let clearing =
        Clearing { period: Period::Month, sliding: false, from_s: window.start_s, window };
    let charged = vec![lanes.line(1, "messages", None), lanes.line(2, "messages", None)];
    lanes.submit(Lanes::consume(paths[1], charged)).await;
    lanes.submit(Lanes::reset(paths[1], None, &[clearing])).await;
    let mut before = Vec::new();
    for path in paths {
        before.push(lanes.state(path).await.reset_at_ms);
        lanes.evict(path).await;
    }

    lanes.load(&paths, 0).await;

    assert!(before[0] == 0 && before[1] > 0, "{before:?}");
    for (path, reset_at_ms) in paths.iter().zip(before) {
        assert_eq!(lanes.state(path).await.reset_at_ms, reset_at_ms, "{path}");
    }
}
