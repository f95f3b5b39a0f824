use std::sync::Arc;

use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::ledger::DeadLetter;
use headroom::ledger::FlushGuards;
use headroom::ledger::LedgerError;

use super::fixture;
use super::fixture::batch;
use super::fixture::consume;
use super::fixture::delta;
use super::fixture::deltas;
use super::fixture::flush;
use super::fixture::message;
use super::fixture::used;

/// Guards promise 2: one event is a row in the log and adds to every level and metric it names, once.
#[tokio::test]
async fn a_flush_logs_each_event_and_adds_to_every_level() {
    let (database, ledger) = fixture::ledger().await;
    let shared =
        deltas(vec![delta(1, "messages", 1), delta(2, "messages", 1), delta(2, "tokens", 40)]);
    let subject = "org:acme/user:u_1";
    let mut last = consume(2, subject, &shared);
    last.metadata = Some(r#"{"chat": "c_9"}"#.to_owned());
    last.trace_id = Some("0af7651916cd43dd8448eb211c80319c".to_owned());

    let flushed =
        flush(&ledger, &batch(0, vec![consume(1, subject, &shared), last])).await.unwrap();

    assert_eq!((flushed.inserted, flushed.duplicates), (2, vec![]));
    assert_eq!(used(&ledger, "org:acme", "messages").await, Some(2));
    assert_eq!(used(&ledger, subject, "messages").await, Some(2));
    assert_eq!(used(&ledger, subject, "tokens").await, Some(80));
    assert_eq!(ledger.cursor(1).await.unwrap().seq, 2);
    let logged = "SELECT count(*) FROM message_logs WHERE kind = 'consume' AND plan = 'pro'
        AND charges = '{\"messages\": 1, \"tokens\": 40}' AND model = 'claude-4' AND shard = 1
        AND (seq = 1 OR metadata ->> 'chat' = 'c_9' AND trace_id IS NOT NULL)
        AND deltas -> 2 = '[2, \"tokens\", \"day\", 1795305600, 1795392000, 40]'
        AND amount = 1 AND (until, settles, late, overage) IS NOT DISTINCT FROM (null, null, null, null)";
    assert_eq!(database.number(logged).await, 2);
    fixture::assert_sums_agree(&ledger).await;
}

/// Guards the cursor's compare-and-set: a batch whose answer was lost is not written again.
#[tokio::test]
async fn the_same_batch_again_finds_the_cursor_moved() {
    let (_database, ledger) = fixture::ledger().await;
    let batch = batch(0, vec![message(1, "user:u_1")]);
    flush(&ledger, &batch).await.unwrap();

    let again = flush(&ledger, &batch).await;

    assert!(matches!(again, Err(LedgerError::CursorMoved)), "{again:?}");
    assert_eq!(used(&ledger, "user:u_1", "messages").await, Some(1));
}

#[tokio::test]
async fn a_batch_of_another_epoch_is_not_written() {
    let (_database, ledger) = fixture::ledger().await;
    let mut stale = batch(0, vec![message(1, "user:u_1")]);
    stale.epoch = 2;

    let answer = flush(&ledger, &stale).await;

    assert!(matches!(answer, Err(LedgerError::CursorMoved)), "{answer:?}");
    assert_eq!(ledger.totals().await.unwrap().events, 0);
}

/// Guards I7 and promise 2: an operation that Redis counted twice is counted once here, and Redis is told to forget.
#[tokio::test]
async fn an_event_that_comes_again_under_another_seq_is_reported_and_not_counted() {
    let (_database, ledger) = fixture::ledger().await;
    let subject = "org:acme/user:u_1";
    let first = message(1, subject);
    flush(&ledger, &batch(0, vec![first.clone()])).await.unwrap();

    let again = vec![Event { seq: 2, ..first }, message(3, subject)];
    let flushed = flush(&ledger, &batch(1, again)).await.unwrap();

    assert_eq!((flushed.inserted, flushed.duplicates), (1, vec![2]));
    assert_eq!(flushed.forget, ["org:acme", "org:acme/user:u_1"]);
    assert_eq!(used(&ledger, "org:acme", "messages").await, Some(2));
    fixture::assert_sums_agree(&ledger).await;
}

#[tokio::test]
async fn of_two_events_with_one_id_in_a_batch_the_first_counts() {
    let (database, ledger) = fixture::ledger().await;
    let first = message(1, "user:u_1");
    let second = Event { seq: 2, ..consume(2, "user:u_1", &deltas(vec![delta(1, "messages", 9)])) };
    let second = Event { event_id: first.event_id, ..second };

    let flushed = flush(&ledger, &batch(0, vec![first, second])).await.unwrap();

    assert_eq!((flushed.inserted, flushed.duplicates), (1, vec![2]));
    assert_eq!(used(&ledger, "user:u_1", "messages").await, Some(1));
    assert_eq!(database.number("SELECT seq FROM message_logs").await, 1);
}

/// A crash before Redis has forgotten a subject must not lose the subject's name.
#[tokio::test]
async fn names_to_forget_stay_with_the_cursor_until_they_are_forgotten() {
    let (_database, ledger) = fixture::ledger().await;
    let mut first = batch(0, vec![message(1, "user:u_1")]);
    first.forget = vec!["user:u_2".to_owned(), "user:u_3".to_owned(), "user:u_2".to_owned()];
    let names = flush(&ledger, &first).await.unwrap().forget;
    let kept = flush(&ledger, &batch(1, vec![message(2, "user:u_1")])).await.unwrap().forget;

    let stale = ledger.forgotten(1, 1, 1, &names).await.unwrap();
    let taken = ledger.forgotten(1, 1, 2, &names[..1]).await.unwrap();

    assert_eq!(names, ["user:u_2", "user:u_3"]);
    assert_eq!(kept, names);
    assert!(!stale, "the cursor had gone on");
    assert!(taken);
    assert_eq!(ledger.cursor(1).await.unwrap().forget, ["user:u_3"]);
}

/// Any number of flushers may run; one wins a batch.
#[tokio::test]
async fn of_two_flushers_at_once_one_wins() {
    let (_database, ledger) = fixture::ledger().await;
    let events: Vec<_> =
        (1..=200).map(|seq| message(seq, &format!("user:u_{}", seq % 7))).collect();
    let batch = batch(0, events);

    let (a, b) = tokio::join!(flush(&ledger, &batch), flush(&ledger, &batch));

    let won = [&a, &b].iter().filter(|outcome| outcome.is_ok()).count();
    let moved = |outcome: &Result<_, _>| matches!(outcome, Err(LedgerError::CursorMoved));
    assert_eq!((won, moved(&a) || moved(&b)), (1, true), "{a:?} {b:?}");
    assert_eq!(ledger.totals().await.unwrap().events, 200);
    fixture::assert_sums_agree(&ledger).await;
}

/// A reset is an event like any other, so it is safe against events in flight.
#[tokio::test]
async fn a_reset_takes_off_what_it_names_and_notes_when() {
    let (database, ledger) = fixture::ledger().await;
    let five = deltas(vec![delta(1, "messages", 5), delta(1, "tokens", 70)]);
    let off = deltas(vec![delta(1, "messages", -5)]);
    let reset = Event { kind: EventKind::Reset, model: None, ..consume(2, "user:u_1", &off) };
    let reset_at_ms = reset.occurred_at_ms;

    let events = vec![consume(1, "user:u_1", &five), reset, message(3, "user:u_1")];
    flush(&ledger, &batch(0, events)).await.unwrap();
    flush(&ledger, &batch(3, vec![message(4, "user:u_1")])).await.unwrap();

    let base = ledger.base(1, &["user:u_1"], fixture::DAY.start_at()).await.unwrap();
    let states: Vec<_> =
        base.counters.iter().map(|c| (&*c.metric, c.used, c.reset_at_ms)).collect();
    assert_eq!(states, [("messages", 2, Some(reset_at_ms)), ("tokens", 70, None)]);
    let uncharged = "SELECT count(*) FROM message_logs WHERE kind = 'reset' AND charges = '{}'";
    assert_eq!(database.number(uncharged).await, 1);
    fixture::assert_sums_agree(&ledger).await;
}

/// Guards promise 3: what cannot be stored is set aside in the same transaction, never dropped.
#[tokio::test]
async fn dead_letters_are_kept_with_the_cursor_that_passes_them() {
    let (database, ledger) = fixture::ledger().await;
    let raw = vec![0, 255, 7];
    let letter = DeadLetter { seq_first: 1, seq_last: 3, raw, reason: "no map".to_owned() };
    let mut batch = batch(3, vec![message(4, "user:u_1")]);
    (batch.from_seq, batch.dead) = (0, vec![letter]);

    flush(&ledger, &batch).await.unwrap();

    assert_eq!(ledger.cursor(1).await.unwrap().seq, 4);
    let kept = "SELECT count(*) FROM dead_letters WHERE raw = '\\x00ff07' AND reason = 'no map'
        AND (shard, epoch, seq_first, seq_last) = (1, 1, 1, 3)";
    assert_eq!(database.number(kept).await, 1);
}

/// The guards are each needed: without the log's answer, an event that comes again is counted again.
#[tokio::test]
async fn without_dedupe_the_sums_differ() {
    let (_database, ledger) = fixture::ledger().await;
    let first = message(1, "user:u_1");
    flush(&ledger, &batch(0, vec![first.clone()])).await.unwrap();

    let guards = FlushGuards { dedupe: false, ..FlushGuards::default() };
    ledger.flush(&batch(1, vec![Event { seq: 2, ..first }]), guards).await.unwrap();

    let differences = ledger.log_sums_differ(10).await.unwrap();
    assert_eq!((differences[0].counted, differences[0].logged), (Some(2), Some(1)));
}

/// The guards are each needed: without the compare-and-set, a slow flusher takes the cursor back.
#[tokio::test]
async fn without_compare_and_set_the_cursor_goes_back() {
    let (_database, ledger) = fixture::ledger().await;
    let slow = batch(0, vec![message(1, "user:u_1")]);
    let fast = batch(0, vec![slow.events[0].clone(), message(2, "user:u_1")]);
    flush(&ledger, &fast).await.unwrap();

    let guards = FlushGuards { compare_and_set: false, ..FlushGuards::default() };
    ledger.flush(&slow, guards).await.unwrap();

    assert_eq!(ledger.cursor(1).await.unwrap().seq, 1);
}

/// A load must see counters and cursor of one instant, and no closed windows.
#[tokio::test]
async fn a_base_is_the_open_windows_and_the_cursor() {
    let (_database, ledger) = fixture::ledger().await;
    flush(&ledger, &batch(0, vec![message(1, "user:u_1"), message(2, "user:u_2")])).await.unwrap();

    let open = ledger.base(1, &["user:u_1", "user:u_9"], fixture::DAY.start_at()).await.unwrap();
    let closed = ledger.base(1, &["user:u_1"], fixture::DAY.end_at()).await.unwrap();

    assert_eq!((open.epoch, open.seq, open.counters.len()), (1, 2, 1));
    let counter = &open.counters[0];
    assert_eq!((&*counter.subject, &*counter.period, counter.used), ("user:u_1", "day", 1));
    let window = (counter.window_start_s, counter.window_end_s);
    assert_eq!(window, (fixture::DAY.start_s, fixture::DAY.end_s));
    assert_eq!((closed.seq, closed.counters), (2, vec![]));
}

/// Events of many sheets and subjects, each sheet used by several events.
#[tokio::test]
async fn a_large_batch_keeps_each_event_with_its_own_deltas() {
    let (_database, ledger) = fixture::ledger().await;
    let sheets: Vec<Arc<_>> = (1..=50)
        .map(|units| deltas(vec![delta(1, "messages", 1), delta(2, "tokens", units)]))
        .collect();
    let subject = |seq: u64| format!("org:o_{}/user:u_{}", seq % 5, seq % 11);
    let event = |seq: u64| consume(seq, &subject(seq), &sheets[usize::try_from(seq % 50).unwrap()]);

    flush(&ledger, &batch(0, (1..=2_000).map(event).collect())).await.unwrap();

    assert_eq!(used(&ledger, "org:o_3", "messages").await, Some(400));
    let totals = ledger.totals().await.unwrap();
    assert_eq!((totals.events, totals.counters, totals.duplicates), (2_000, 5 + 55, 0));
    fixture::assert_sums_agree(&ledger).await;
}
