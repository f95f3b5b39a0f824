//! Entries of the outbox.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use crate::counters::Field;
use crate::counters::HoldOf;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::PackedSheet;
use crate::counters::fuzzing::field;
use crate::counters::fuzzing::read;
use crate::counters::fuzzing::write;
use crate::domain::Amount;
use crate::domain::Event;
use crate::domain::Limit;
use crate::domain::Line;
use crate::domain::Metric;
use crate::domain::Mode;
use crate::domain::Period;
use crate::domain::Sheet;
use crate::domain::Subject;
use crate::domain::Tally;
use crate::domain::Units;
use crate::domain::Window;

use super::Input;

/// An entry is decoded, or says why not; what is decoded has its places in a row and counters with names.
///
/// # Panics
///
/// When a property does not hold.
pub fn outbox(data: &[u8]) {
    let mut input = Input::new(data);
    let last_seq = input.number();
    let values = [input.part(), input.part(), input.part()].map(<[u8]>::to_vec);
    let Some(decoded) = read(last_seq, values) else { return };
    let first_seq = last_seq - (decoded.len() as u64 - 1);
    assert!(decoded.iter().map(|event| event.seq).eq(first_seq..=last_seq));
    for delta in decoded.iter().flat_map(|event| &event.deltas.lines) {
        let counter = Field::of_delta(delta);
        assert_eq!(field(&counter.to_string()), Some(counter));
    }
}

/// An event that a lane packs is decoded as what was asked.
///
/// # Panics
///
/// When a property does not hold.
pub fn event(data: &[u8]) {
    let mut input = Input::new(data);
    let written_at_ms = input.number().cast_signed();
    let Some(asked) = operation(&mut input) else { return };
    let events = read(7, write(written_at_ms, &asked)).unwrap_or_default();
    let [event] = events.as_slice() else { panic!("{} events of {asked:?}", events.len()) };
    assert_eq!((event.seq, event.occurred_at_ms), (7, written_at_ms));
    assert_is(event, &asked);
}

#[track_caller]
fn assert_is(event: &Event, asked: &Operation) {
    let id = Some(asked.request_id.clone()).filter(|id| *id != asked.event_id.to_string());
    assert_eq!((event.event_id, event.subject.as_str()), (asked.event_id, asked.subject.as_str()));
    assert_eq!((event.amount, &event.model), (asked.amount.get(), &asked.model));
    assert_eq!((&event.trace_id, &event.metadata), (&asked.trace_id, &asked.metadata));
    let is_read = Uuid::try_parse(&asked.request_id).is_ok_and(|id| id == asked.event_id);
    assert_eq!(event.request_id, id.filter(|_| !is_read));
    let is_hold = asked.kind == OperationKind::Reserve;
    let until_s = asked.hold.map(|hold| hold.until_s).filter(|it| is_hold && *it > 0);
    assert_eq!(event.until_s, until_s);
    let Sheet { plan, lines, .. } = &asked.sheet.sheet;
    assert_eq!((&event.deltas.plan, event.deltas.lines.len()), (plan, lines.len()));
    for (delta, line) in event.deltas.lines.iter().zip(lines) {
        let tally = until_s.map_or(Tally::Used, |until_s| Tally::Held { until_s });
        assert_eq!((delta.depth, &delta.metric), (line.depth, &line.limit.metric));
        assert_eq!((delta.period, delta.window), (line.limit.period, line.window));
        assert_eq!((delta.tally, delta.units.cast_unsigned()), (tally, line.units(asked.amount)));
    }
}

/// A consume or a reserve; `None` when the bytes name nobody who can be charged.
fn operation(input: &mut Input<'_>) -> Option<Operation> {
    let kind = [OperationKind::Consume, OperationKind::Reserve][usize::from(input.byte() % 2)];
    let event_id = Uuid::from_u128(input.number().into());
    let subject = Subject::parse(input.text()).ok()?;
    let amount = Units::from(Amount::new(input.number()).ok()?);
    let mut maybe_text = || Some(input.text().to_owned()).filter(|text| !text.is_empty());
    let (model, request_id, trace_id) = (maybe_text(), maybe_text(), maybe_text());
    let (metadata, plan) = (maybe_text(), maybe_text().unwrap_or_default());
    let until_s = i64::from(input.byte());
    let hold = HoldOf { id: event_id, until_s, is_strict: false };
    let depth = subject.depth();
    let lines = (0..input.byte() % 8).map_while(|_| line(input, depth)).collect();
    let sheet = PackedSheet::charge(Sheet { plan, depth, lines, ..Sheet::default() });
    Some(Operation {
        kind,
        subject,
        sheet: Arc::new(sheet),
        event_id,
        idempotency: None,
        model,
        request_id: request_id.unwrap_or_else(|| event_id.to_string()),
        trace_id,
        metadata,
        amount,
        hold: Some(hold).filter(|_| kind == OperationKind::Reserve),
        refunds: None,
        profile_versions: [0; Subject::LEVELS_MAX],
        deadline: Instant::now(),
        since_seq: None,
        since_epoch: 0,
    })
}

/// A limit of one of the levels, in a window.
fn line(input: &mut Input<'_>, depth: u8) -> Option<Line> {
    let metric = Metric::new(input.text()).ok()?;
    let period = Period::ALL[usize::from(input.byte()) % Period::ALL.len()];
    let max = Some(input.number()).filter(|count| *count > 0).map(Units::new).transpose().ok()?;
    let mode = [Mode::Hard, Mode::Soft, Mode::Shadow][usize::from(input.byte() % 3)];
    let (warning_percent, critical_percent) = (input.byte(), input.byte());
    let limit =
        Limit { mode, warning_percent, critical_percent, ..Limit::new(metric, period, max) };
    let start_s = i64::try_from(input.number() >> 24).ok()?;
    let window = Window { start_s, end_s: start_s + i64::from(input.byte()) };
    let weight = Amount::new(input.number()).ok()?;
    let earlier_s = Vec::new();
    Some(Line { depth: 1 + input.byte() % depth, limit, window, weight, earlier_s })
}
