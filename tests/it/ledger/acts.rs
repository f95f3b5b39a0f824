//! Acts on counters, which come into the audit log with the events that they are.

use headroom::domain::Event;
use headroom::domain::EventKind;
use headroom::domain::event::Delta;
use headroom::ledger::AuditFilter;
use headroom::ledger::AuditRow;
use headroom::ledger::Ledger;
use serde_json::Value;
use serde_json::json;

use super::fixture;
use super::fixture::batch;
use super::fixture::consume;
use super::fixture::delta;
use super::fixture::deltas;
use super::fixture::flush;
use super::fixture::message;

const SUBJECT: &str = "org:acme/user:u_1";

/// A line that leaves `after` of a metric on the day's counter.
fn leaving(metric: &str, units: i64, after: i64) -> Delta {
    Delta { after: Some(after), ..delta(2, metric, units) }
}

/// An act on the day's counters, as `k_1` asked for it.
fn act(seq: u64, kind: EventKind, action: &str, lines: Vec<Delta>) -> Event {
    let told = json!({ "action": action, "actor": "k_1", "reason": "a test" });
    let metadata = Some(told.to_string());
    Event { kind, model: None, metadata, ..consume(seq, SUBJECT, &deltas(lines)) }
}

/// The audit log, oldest first.
async fn rows(ledger: &Ledger) -> Vec<AuditRow> {
    let mut rows = ledger.audit_page(AuditFilter::default(), 100).await.unwrap();
    rows.reverse();
    rows
}

fn read(document: Option<&String>) -> Value {
    document.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

/// What there was and what there was then, of each act.
fn counts(rows: &[AuditRow]) -> Vec<[Value; 2]> {
    rows.iter().map(|row| [read(row.before.as_ref()), read(row.after.as_ref())]).collect()
}

#[tokio::test]
async fn an_act_says_who_did_what_and_what_the_counters_were() {
    let (_database, ledger) = fixture::ledger().await;
    let both = vec![leaving("messages", -7, 0), leaving("tokens", -30, 0)];
    let reset = act(2, EventKind::Reset, "usage.reset", both);
    let set = act(3, EventKind::Set, "usage.set", vec![leaving("messages", 5, 5)]);
    let set = Event { request_id: Some("r_9".to_owned()), ..set };
    let less = act(4, EventKind::Set, "usage.decrement", vec![leaving("messages", -2, 3)]);
    let batch = batch(0, vec![message(1, SUBJECT), reset.clone(), set, less]);

    flush(&ledger, &batch).await.unwrap();

    let rows = rows(&ledger).await;
    let (messages, tokens) =
        ("messages-day from 2026-11-22T00:00:00Z", "tokens-day from 2026-11-22T00:00:00Z");
    assert_eq!(
        counts(&rows),
        [
            [json!({ messages: 7, tokens: 30 }), json!({ messages: 0, tokens: 0 })],
            [json!({ messages: 0 }), json!({ messages: 5 })],
            [json!({ messages: 5 }), json!({ messages: 3 })],
        ]
    );
    let actions: Vec<&str> = rows.iter().map(|row| &*row.action).collect();
    assert_eq!(actions, ["usage.reset", "usage.set", "usage.decrement"]);
    let own_id = reset.event_id.to_string();
    let request_ids: Vec<_> = rows.iter().map(|row| row.request_id.as_deref()).collect();
    assert_eq!(
        request_ids,
        [Some(&*own_id), Some("r_9"), Some(&*batch.events[3].event_id.to_string())]
    );
    for (row, event) in rows.iter().zip(&batch.events[1..]) {
        assert_eq!((&*row.actor, row.reason.as_deref()), ("k_1", Some("a test")));
        assert_eq!(row.target, SUBJECT);
        assert_eq!(row.occurred_at.timestamp_millis(), event.occurred_at_ms);
    }
}

/// Guards I7: a row comes with the row of the log, and not without.
#[tokio::test]
async fn an_act_that_comes_again_is_recorded_once() {
    let (_database, ledger) = fixture::ledger().await;
    let reset = |seq| act(seq, EventKind::Reset, "usage.reset", vec![leaving("messages", -1, 0)]);
    let first = reset(1);
    let second = Event { seq: 2, ..first.clone() };
    flush(&ledger, &batch(0, vec![first.clone(), second])).await.unwrap();
    flush(&ledger, &batch(2, vec![Event { seq: 3, ..first.clone() }])).await.unwrap();
    let late = reset(4);

    let mut recovery = ledger.begin_recovery(1).await.unwrap();
    let salvaged = recovery.salvage(&[first.clone(), late.clone()]).await.unwrap();
    let again = recovery.salvage(&[first, late]).await.unwrap();
    let epoch = recovery.open_first(uuid::Uuid::now_v7()).await.unwrap();

    assert_eq!((salvaged, again, epoch), (1, 0, 1));
    assert_eq!(rows(&ledger).await.len(), 2);
}

/// Guards promise 2: looking whether Postgres can take an event leaves nothing behind.
#[tokio::test]
async fn an_act_that_is_only_tried_is_not_recorded() {
    let (_database, ledger) = fixture::ledger().await;
    let set = act(1, EventKind::Set, "usage.set", vec![leaving("messages", 5, 5)]);

    ledger.can_take(&[set]).await.unwrap();

    assert_eq!(rows(&ledger).await, []);
}

/// Guards promise 3: nothing that an act says of itself keeps it from being counted.
#[tokio::test]
async fn an_act_that_says_little_or_too_much_is_recorded_within_bounds() {
    let (_database, ledger) = fixture::ledger().await;
    let reset = || act(1, EventKind::Reset, "usage.reset", vec![delta(2, "messages", -1)]);
    let told =
        json!({ "action": "key.create", "actor": "ä".repeat(900), "reason": "ö".repeat(900) });
    let wordy = Event { seq: 2, metadata: Some(told.to_string()), ..reset() };
    let silent = Event { seq: 3, metadata: None, ..reset() };
    let metrics = (0..300).map(|number| leaving(&format!("{}_{number}", "m".repeat(60)), -9, 0));
    let wide = Event { seq: 4, deltas: deltas(metrics.collect()), ..reset() };
    let events = vec![reset(), wordy, silent, wide].into_iter();
    let distinct =
        events.map(|event| Event { event_id: fixture::id_at(event.occurred_at_ms), ..event });

    let flushed = flush(&ledger, &batch(0, distinct.collect())).await.unwrap();

    let rows = rows(&ledger).await;
    assert_eq!((flushed.inserted, rows.len()), (4, 4));
    assert_eq!((&rows[0].before, &rows[0].after), (&None, &None));
    let lengths = (rows[1].actor.len(), rows[1].reason.as_ref().map(String::len));
    assert_eq!((&*rows[1].action, lengths), ("usage.reset", (200, Some(500))));
    assert_eq!((&*rows[2].actor, &rows[2].reason), ("unknown", &None));
    let before = read(rows[3].before.as_ref());
    assert_eq!(before.as_object().map(serde_json::Map::len), Some(257));
    assert_eq!(before["further counters"], json!(44));
}

/// Guards promise 2: the acts of one batch stand in the order in which they were done.
#[tokio::test]
async fn acts_are_recorded_in_the_order_of_their_events() {
    let (_database, ledger) = fixture::ledger().await;
    let shared = vec![leaving("messages", 1, 1)];
    let set = |seq| act(seq, EventKind::Set, "usage.set", shared.clone());
    let events: Vec<Event> = (1..=50).map(set).collect();
    let ids: Vec<String> = events.iter().map(|event| event.event_id.to_string()).collect();

    flush(&ledger, &batch(0, events)).await.unwrap();

    let rows = rows(&ledger).await;
    assert_eq!(rows.into_iter().filter_map(|row| row.request_id).collect::<Vec<_>>(), ids);
}
