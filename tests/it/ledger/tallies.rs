//! What is carried over and given back, and reading events and windows again.

use chrono::DateTime;
use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::domain::Metric;
use headroom::domain::Period;
use headroom::domain::Tally;
use headroom::domain::event::Delta;
use headroom::ledger::Action;
use headroom::ledger::Expected;
use uuid::Uuid;

use super::fixture;
use super::fixture::DAY;
use super::fixture::batch;
use super::fixture::delta;
use super::fixture::flush;
use super::fixture::message;
use super::lives::ROOT;
use super::lives::SUBJECT;
use super::lives::UNTIL_S;
use super::lives::assert_agrees;
use super::lives::base;
use super::lives::commit;
use super::lives::event;
use super::lives::of_grant;
use super::lives::reserve;

fn carried(units: i64) -> Delta {
    Delta { tally: Tally::Carried, ..delta(1, "messages", units) }
}

/// One message given back on the root's day, as far as refunds go.
fn refund(seq: u64, of: Uuid) -> Event {
    let given_back = Delta { tally: Tally::Refunded, ..delta(1, "messages", 1) };
    let lines = vec![delta(1, "messages", -1), given_back];
    Event { of: Some(of), ..event(seq, EventKind::Refund, lines) }
}

/// Guards I1 for all three counts of a window.
#[tokio::test]
async fn a_window_keeps_what_is_used_carried_and_refunded_apart() {
    let (database, ledger) = fixture::ledger().await;
    let rollover = event(1, EventKind::Rollover, vec![carried(4)]);
    let used = message(2, SUBJECT);
    let refunded = refund(3, used.event_id);
    flush(&ledger, &batch(0, vec![rollover, used, message(4, SUBJECT)])).await.unwrap();
    flush(&ledger, &batch(3, vec![Event { seq: 4, ..refunded }])).await.unwrap();

    let counters = base(&ledger).await.counters;

    let counts: Vec<_> =
        counters.iter().map(|it| (&*it.subject, it.used, it.carried, it.refunded)).collect();
    assert_eq!(counts, [(ROOT, 1, Some(4), 1)]);
    let logged = "SELECT count(*) FROM message_logs WHERE
        (kind = 'refund' AND charges = '{\"messages\": -1}' AND settles IS NOT NULL
            AND deltas -> 1 ->> 6 = 'refunded')
        OR (kind = 'rollover' AND charges = '{}' AND deltas -> 0 ->> 6 = 'carried')";
    assert_eq!(database.number(logged).await, 2);
    assert_agrees(&ledger).await;

    database.run("UPDATE usage_counters SET carried = 5, refunded = 0").await;
    let found = ledger.log_sums_differ(10).await.unwrap();
    let found: Vec<_> = found.iter().map(|it| (&*it.tally, it.counted, it.logged)).collect();
    assert_eq!(found, [("carried", Some(5), Some(4)), ("refunded", Some(0), Some(1))]);
}

/// A window into which nothing was carried must not be carried over again with every load.
#[tokio::test]
async fn a_rollover_of_nothing_is_told_from_none() {
    let (_database, ledger) = fixture::ledger().await;
    let of_root = event(1, EventKind::Rollover, vec![carried(0)]);
    let used = event(2, EventKind::Consume, vec![delta(2, "messages", 1)]);
    flush(&ledger, &batch(0, vec![of_root, used])).await.unwrap();

    let counters = base(&ledger).await.counters;

    let counts: Vec<_> = counters.iter().map(|it| (&*it.subject, it.used, it.carried)).collect();
    assert_eq!(counts, [(ROOT, 0, Some(0)), (SUBJECT, 1, None)]);
    assert_agrees(&ledger).await;
}

#[tokio::test]
async fn an_event_reads_back_with_what_it_did() {
    let (_database, ledger) = fixture::ledger().await;
    let lines = vec![delta(2, "messages", 2), of_grant(7, 1)];
    let consume = Event { amount: 3, ..event(1, EventKind::Consume, lines) };
    let reserve = reserve(2);
    let commit = commit(3, reserve.event_id);
    let events = vec![consume, reserve, commit];
    flush(&ledger, &batch(0, events.clone())).await.unwrap();

    for event in events {
        let logged = ledger.event(event.event_id).await.unwrap().unwrap();
        assert_eq!((logged.kind, &*logged.subject), (event.kind, SUBJECT));
        assert_eq!(logged.occurred_at.timestamp_millis(), event.occurred_at_ms);
        assert_eq!((logged.model.as_deref(), &*logged.plan), (Some("claude-4"), "pro"));
        assert_eq!((logged.amount, logged.settles), (Some(event.amount), event.of));
        assert_eq!(logged.until.map(|at| at.timestamp()), event.until_s);
        assert_eq!(logged.deltas, event.deltas.lines);
    }
    assert_eq!(ledger.event(Uuid::from_u128(7)).await.unwrap(), None);
}

/// Events of one outbox entry may share their deltas and still be of different kinds.
#[tokio::test]
async fn events_that_share_deltas_are_charged_by_their_kind() {
    let (database, ledger) = fixture::ledger().await;
    let consume = message(1, SUBJECT);
    let moved = Event {
        kind: EventKind::Transfer,
        seq: 2,
        event_id: message(2, SUBJECT).event_id,
        ..consume.clone()
    };

    flush(&ledger, &batch(0, vec![consume, moved])).await.unwrap();

    let charged = "SELECT count(*) FROM message_logs
        WHERE (kind, charges) IN (('consume', '{\"messages\": 1}'), ('transfer', '{}'))";
    assert_eq!(database.number(charged).await, 2);
}

#[tokio::test]
async fn windows_that_ended_are_read_with_the_age_of_their_subject() {
    let (_database, ledger) = fixture::ledger().await;
    let rollover = event(1, EventKind::Rollover, vec![carried(4)]);
    flush(&ledger, &batch(0, vec![rollover, message(2, SUBJECT)])).await.unwrap();
    let messages = Metric::new("messages").unwrap();
    let windows = [
        (messages.clone(), Period::Day, DAY.start_s),
        (messages.clone(), Period::Day, DAY.start_s - 86_400),
        (messages, Period::Month, DAY.start_s),
    ];

    let unknown = ledger.previous_counters("user:nobody", &windows, DAY.start_at()).await.unwrap();
    let young = ledger.previous_counters(ROOT, &windows, DAY.start_at()).await.unwrap();
    let act = fixture::act(Action::SubjectPut, ROOT);
    ledger.put_subject(ROOT, Expected::Any, "{}", &act).await.unwrap();
    let known = ledger.previous_counters(ROOT, &windows, DAY.start_at()).await.unwrap();

    assert_eq!((unknown.created_at, unknown.counters), (None, vec![]));
    assert_eq!(young.created_at, None);
    let created_at = ledger.subject(ROOT).await.unwrap().unwrap().created_at;
    assert_eq!(known.created_at, Some(created_at));
    for previous in [young, known] {
        let counters = previous.counters.iter();
        let counts: Vec<_> =
            counters.map(|it| (&*it.period, it.window_start_s, it.used, it.carried)).collect();
        assert_eq!(counts, [("day", DAY.start_s, 1, 4)]);
    }
}

/// Guards rollover: a window has what is held of its limit until the hold ends by itself, also when nothing was counted in it.
#[tokio::test]
async fn windows_that_ended_have_what_is_held_in_them() {
    let (_database, ledger) = fixture::ledger().await;
    let of_grant = Delta { tally: Tally::Held { until_s: UNTIL_S }, ..of_grant(7, 9) };
    let of_grant = Event { until_s: Some(UNTIL_S), ..event(2, EventKind::Reserve, vec![of_grant]) };
    flush(&ledger, &batch(0, vec![reserve(1), of_grant])).await.unwrap();
    let messages = Metric::new("messages").unwrap();
    let of = |period, start_s| (messages.clone(), period, start_s);
    let windows =
        [of(Period::Day, DAY.start_s), of(Period::Day, DAY.end_s), of(Period::Lifetime, 0)];
    let held = async |path: &str, at_s: i64| {
        let at = DateTime::from_timestamp(at_s, 0).unwrap();
        let counters = ledger.previous_counters(path, &windows, at).await.unwrap().counters;
        let counts = counters.iter().map(|it| (it.window_start_s, it.used, it.carried, it.held));
        counts.collect::<Vec<_>>()
    };

    assert_eq!(held(SUBJECT, UNTIL_S - 1).await, [(DAY.start_s, 0, 0, 5)]);
    assert_eq!(held(SUBJECT, UNTIL_S).await, []);
    flush(&ledger, &batch(2, vec![message(3, SUBJECT)])).await.unwrap();

    assert_eq!(held(ROOT, UNTIL_S - 1).await, [(DAY.start_s, 1, 0, 5)]);
    assert_eq!(held(ROOT, UNTIL_S).await, [(DAY.start_s, 1, 0, 0)]);
}

#[tokio::test]
async fn a_place_is_passed_once_it_is_flushed_or_its_epoch_is_over() {
    let (_database, ledger) = fixture::ledger().await;
    flush(&ledger, &batch(0, vec![message(1, SUBJECT), message(2, SUBJECT)])).await.unwrap();

    for (places, wanted) in [
        (vec![], true),
        (vec![(1, 1, 2), (1, 0, 99), (2, 1, 0)], true),
        (vec![(1, 1, 2), (1, 1, 3)], false),
        (vec![(1, 2, 0)], false),
        (vec![(2, 1, 1), (1, 1, 1)], false),
        (vec![(9, 0, 0)], false),
    ] {
        assert_eq!(ledger.cursors_past(&places).await.unwrap(), wanted, "{places:?}");
    }
}
