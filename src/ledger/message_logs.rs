//! The table `message_logs`: every accepted event once.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Datelike;
use chrono::NaiveDate;
use chrono::Utc;
use serde_json::value::RawValue;
use serde_json::value::to_raw_value;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::domain::Event;
use crate::domain::EventKind;
use crate::domain::event::Deltas;

use super::Ledger;
use super::charges::charges_of;
use super::convert::instant_ms;
use super::convert::instant_s;
use super::convert::json;
use super::convert::signed;
use super::cursors::Cursor;
use super::error::LedgerError;
use super::lines;
use super::tx::Params;
use super::tx::Tx;
use super::tx::column;

// `sheets` comes with each jsonb read once, however many events share it.
const INSERT_EVENTS: &str = "-- insert_events
INSERT INTO message_logs (
    event_id, occurred_at, epoch, seq, shard, subject, kind, model, plan, charges, deltas,
    request_id, trace_id, metadata, amount, until, settles, late, overage
)
SELECT
    event.event_id, event.occurred_at, $2, event.seq, $1, event.subject, event.kind, event.model,
    sheet.plan, sheet.charges, sheet.deltas, event.request_id, event.trace_id, event.metadata,
    event.amount, event.until, event.settles, sheet.late, sheet.overage
FROM unnest(
    $3::uuid[], $4::timestamptz[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::bigint[],
    $10::text[], $11::text[], $12::jsonb[], $13::bigint[], $14::timestamptz[], $15::uuid[]
) AS event (
    event_id, occurred_at, seq, subject, kind, model, sheet, request_id, trace_id, metadata, amount,
    until, settles
)
JOIN unnest($16::text[], $17::jsonb[], $18::jsonb[], $19::boolean[], $20::boolean[])
    WITH ORDINALITY AS sheet (plan, charges, deltas, late, overage, number)
    ON sheet.number = event.sheet
ON CONFLICT DO NOTHING
RETURNING event_id";

const HAS_EVENT: &str = "-- has_event
SELECT
    EXISTS (SELECT FROM message_logs WHERE event_id = $1)
    OR EXISTS (
        SELECT FROM dead_letters
        WHERE shard = $2 AND epoch = $3 AND $4 BETWEEN seq_first AND seq_last
    )
    OR EXISTS (SELECT FROM erased_events WHERE event_id = $1)
    OR EXISTS (SELECT FROM archives WHERE month = $5) AS found";

const TAKEN_OUT: &str = "-- taken_out
SELECT id FROM unnest($1::uuid[], $2::date[]) AS event (id, month)
WHERE EXISTS (SELECT FROM erased_events WHERE event_id = id)
    OR EXISTS (SELECT FROM archives WHERE archives.month = event.month)";

impl Ledger {
    /// Whether the event is in the log or was taken out of it on purpose, or what stood at the cursor's place was set aside.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn has_event(&self, cursor: &Cursor, event_id: Uuid) -> Result<bool, LedgerError> {
        let (shard, epoch) = (i64::from(cursor.shard), signed(cursor.epoch)?);
        let connection = self.connection().await?;
        let params: Params<'_> =
            &[&event_id, &shard, &epoch, &signed(cursor.seq)?, &month_of(event_id)];
        let rows = connection.rows(HAS_EVENT, params).await?;
        rows.first().map_or(Ok(false), |row| column(row, "found"))
    }
}

/// Those of the events that were in the log and were taken out of it on purpose: they were erased, or `is_passed` says that
/// the cursor had come by and their month is archived.
pub(super) async fn taken_out(
    tx: &Tx,
    events: &[Event],
    is_passed: impl Fn(&Event) -> bool,
) -> Result<HashSet<Uuid>, LedgerError> {
    let month = |event: &Event| is_passed(event).then(|| month_of(event.event_id)).flatten();
    let months: Vec<Option<NaiveDate>> = events.iter().map(month).collect();
    let ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
    let rows = tx.rows(TAKEN_OUT, &[&ids, &months]).await?;
    rows.iter().map(|row| column(row, "id")).collect()
}

/// The first day of the month (UTC) in whose partition an event is; nothing for an id without a time.
fn month_of(event_id: Uuid) -> Option<NaiveDate> {
    let (seconds, _) = event_id.get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)?.date_naive().with_day(1)
}

/// Which events of a slice the log took and which it had already; together all of them, each in the slice's order.
#[derive(Default)]
pub(super) struct Logged<'a> {
    pub(super) fresh: Vec<&'a Event>,
    pub(super) duplicates: Vec<&'a Event>,
}

/// Logs events of one shard and epoch. Of two with one id the first counts.
pub(super) async fn insert<'a>(
    tx: &Tx,
    shard: u16,
    epoch: u64,
    events: &'a [Event],
) -> Result<Logged<'a>, LedgerError> {
    if events.is_empty() {
        return Ok(Logged::default());
    }
    let (rows, sheets) = collect(events)?;
    let (shard, epoch) = (i64::from(shard), signed(epoch)?);
    let taken = tx
        .rows(
            INSERT_EVENTS,
            &[
                &shard,
                &epoch,
                &rows.event_ids,
                &rows.occurred_ats,
                &rows.seqs,
                &rows.subjects,
                &rows.kinds,
                &rows.models,
                &rows.sheets,
                &rows.request_ids,
                &rows.trace_ids,
                &rows.metadata,
                &rows.amounts,
                &rows.untils,
                &rows.settles,
                &sheets.plans,
                &sheets.charges,
                &sheets.deltas,
                &sheets.late,
                &sheets.overage,
            ],
        )
        .await?;
    let mut taken: HashSet<Uuid> =
        taken.iter().map(|row| column(row, "event_id")).collect::<Result<_, _>>()?;
    let (fresh, duplicates) = events.iter().partition(|event| taken.remove(&event.event_id));
    Ok(Logged { fresh, duplicates })
}

/// Events, a column each.
struct Rows<'a> {
    event_ids: Vec<Uuid>,
    occurred_ats: Vec<DateTime<Utc>>,
    seqs: Vec<i64>,
    subjects: Vec<&'a str>,
    kinds: Vec<&'static str>,
    models: Vec<Option<&'a str>>,
    /// Place in [`Sheets`], from 1.
    sheets: Vec<i64>,
    request_ids: Vec<Option<&'a str>>,
    trace_ids: Vec<Option<&'a str>>,
    metadata: Vec<Option<Json<&'a RawValue>>>,
    amounts: Vec<Option<i64>>,
    untils: Vec<Option<DateTime<Utc>>>,
    settles: Vec<Option<Uuid>>,
}

/// What events share, a column each.
#[derive(Default)]
struct Sheets<'a> {
    plans: Vec<&'a str>,
    charges: Vec<Json<Box<RawValue>>>,
    deltas: Vec<Json<Box<RawValue>>>,
    late: Vec<Option<bool>>,
    overage: Vec<Option<bool>>,
}

/// The columns of `events`. An id that comes again is left out, so that the row of the first is the one that counts.
fn collect(events: &[Event]) -> Result<(Rows<'_>, Sheets<'_>), LedgerError> {
    let mut rows = Rows::with_capacity(events.len());
    let mut sheets = Sheets::default();
    let mut numbers: HashMap<(*const Deltas, EventKind), i64> = HashMap::new();
    let mut seen = HashSet::with_capacity(events.len());
    for event in events.iter().filter(|event| seen.insert(event.event_id)) {
        let number = match numbers.entry((Arc::as_ptr(&event.deltas), event.kind)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => *unknown.insert(sheets.push(event.kind, &event.deltas)?),
        };
        rows.push(event, number)?;
    }
    Ok((rows, sheets))
}

impl<'a> Rows<'a> {
    fn with_capacity(count: usize) -> Self {
        Self {
            event_ids: Vec::with_capacity(count),
            occurred_ats: Vec::with_capacity(count),
            seqs: Vec::with_capacity(count),
            subjects: Vec::with_capacity(count),
            kinds: Vec::with_capacity(count),
            models: Vec::with_capacity(count),
            sheets: Vec::with_capacity(count),
            request_ids: Vec::with_capacity(count),
            trace_ids: Vec::with_capacity(count),
            metadata: Vec::with_capacity(count),
            amounts: Vec::with_capacity(count),
            untils: Vec::with_capacity(count),
            settles: Vec::with_capacity(count),
        }
    }

    fn push(&mut self, event: &'a Event, sheet: i64) -> Result<(), LedgerError> {
        self.event_ids.push(event.event_id);
        self.occurred_ats.push(instant_ms(event.occurred_at_ms)?);
        self.seqs.push(signed(event.seq)?);
        self.subjects.push(&event.subject);
        self.kinds.push(event.kind.as_str());
        self.models.push(event.model.as_deref());
        self.sheets.push(sheet);
        self.request_ids.push(event.request_id.as_deref());
        self.trace_ids.push(event.trace_id.as_deref());
        self.metadata.push(event.metadata.as_deref().map(json).transpose()?);
        self.amounts.push(asked(event).map(signed).transpose()?);
        self.untils.push(event.until_s.map(instant_s).transpose()?);
        self.settles.push(event.of);
        Ok(())
    }
}

impl<'a> Sheets<'a> {
    /// Adds what some events of a kind share and answers its number, from 1.
    fn push(&mut self, kind: EventKind, deltas: &'a Deltas) -> Result<i64, LedgerError> {
        let charges = to_raw_value(&charges_of(kind, &deltas.lines));
        let is_commit = kind == EventKind::Commit;
        self.plans.push(&deltas.plan);
        self.charges.push(Json(charges.map_err(|error| LedgerError::Internal(error.into()))?));
        self.deltas.push(lines::stored(&deltas.lines)?);
        self.late.push(is_commit.then_some(deltas.late));
        self.overage.push(is_commit.then_some(deltas.overage));
        i64::try_from(self.plans.len()).map_err(|error| LedgerError::Internal(error.into()))
    }
}

/// The amount that was asked for; of other kinds the deltas tell.
fn asked(event: &Event) -> Option<u64> {
    let has_amount =
        matches!(event.kind, EventKind::Consume | EventKind::Reserve | EventKind::Commit);
    has_amount.then_some(event.amount)
}
