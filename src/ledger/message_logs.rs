//! The table `message_logs`: every accepted event once.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use serde_json::value::RawValue;
use serde_json::value::to_raw_value;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::domain::event::Deltas;
use crate::domain::event::Event;

use super::Ledger;
use super::convert::instant_ms;
use super::convert::json;
use super::convert::signed;
use super::cursors::Cursor;
use super::error::LedgerError;
use super::tx::Params;
use super::tx::Tx;
use super::tx::column;

// `sheets` comes with each jsonb read once, however many events share it.
const INSERT_EVENTS: &str = "-- insert_events
INSERT INTO message_logs (
    event_id, occurred_at, epoch, seq, shard, subject, kind, model, plan, charges, deltas,
    request_id, trace_id, metadata
)
SELECT
    event.event_id, event.occurred_at, $2, event.seq, $1, event.subject, event.kind, event.model,
    sheet.plan, sheet.charges, sheet.deltas, event.request_id, event.trace_id, event.metadata
FROM unnest(
    $3::uuid[], $4::timestamptz[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::bigint[],
    $10::text[], $11::text[], $12::jsonb[]
) AS event (
    event_id, occurred_at, seq, subject, kind, model, sheet, request_id, trace_id, metadata
)
JOIN unnest($13::text[], $14::jsonb[], $15::jsonb[])
    WITH ORDINALITY AS sheet (plan, charges, deltas, number) ON sheet.number = event.sheet
ON CONFLICT DO NOTHING
RETURNING event_id";

const HAS_EVENT: &str = "-- has_event
SELECT
    EXISTS (SELECT FROM message_logs WHERE event_id = $1)
    OR EXISTS (
        SELECT FROM dead_letters
        WHERE shard = $2 AND epoch = $3 AND $4 BETWEEN seq_first AND seq_last
    ) AS found";

impl Ledger {
    /// Whether the event is in the log, or what stood at the cursor's place was set aside.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn has_event(&self, cursor: &Cursor, event_id: Uuid) -> Result<bool, LedgerError> {
        let (shard, epoch) = (i64::from(cursor.shard), signed(cursor.epoch)?);
        let connection = self.connection().await?;
        let params: Params<'_> = &[&event_id, &shard, &epoch, &signed(cursor.seq)?];
        let rows = connection.rows(HAS_EVENT, params).await?;
        rows.first().map_or(Ok(false), |row| column(row, "found"))
    }
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
                &sheets.plans,
                &sheets.charges,
                &sheets.deltas,
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
}

/// What events share, a column each.
#[derive(Default)]
struct Sheets<'a> {
    plans: Vec<&'a str>,
    charges: Vec<Json<Box<RawValue>>>,
    deltas: Vec<Json<Box<RawValue>>>,
}

/// The columns of `events`. An id that comes again is left out, so that the row of the first is the one that counts.
fn collect(events: &[Event]) -> Result<(Rows<'_>, Sheets<'_>), LedgerError> {
    let mut rows = Rows::with_capacity(events.len());
    let mut sheets = Sheets::default();
    let mut numbers: HashMap<*const Deltas, i64> = HashMap::new();
    let mut seen = HashSet::with_capacity(events.len());
    for event in events.iter().filter(|event| seen.insert(event.event_id)) {
        let number = match numbers.entry(Arc::as_ptr(&event.deltas)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => *unknown.insert(sheets.push(&event.deltas)?),
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
        Ok(())
    }
}

impl<'a> Sheets<'a> {
    /// Adds what some events share and answers its number, from 1.
    fn push(&mut self, deltas: &'a Deltas) -> Result<i64, LedgerError> {
        self.plans.push(&deltas.plan);
        self.charges.push(Json(raw(&charges_of(deltas))?));
        self.deltas.push(Json(raw(&lines_of(deltas))?));
        i64::try_from(self.plans.len()).map_err(|error| LedgerError::Internal(error.into()))
    }
}

/// Units charged by metric. Limits of one metric are charged alike, so the largest delta is the charge; what a reset
/// takes off is no charge.
pub(super) fn charges_of(deltas: &Deltas) -> BTreeMap<&str, i64> {
    let mut charges = BTreeMap::new();
    for line in deltas.lines.iter().filter(|line| line.units > 0) {
        let charge = charges.entry(line.metric.as_str()).or_insert(line.units);
        *charge = line.units.max(*charge);
    }
    charges
}

/// The deltas as the log holds them: depth, metric, period, window start and end in Unix seconds, units.
fn lines_of(deltas: &Deltas) -> Vec<(u8, &str, &str, i64, i64, i64)> {
    let lines = deltas.lines.iter();
    lines
        .map(|line| {
            let (metric, period) = (line.metric.as_str(), line.period.as_str());
            (line.depth, metric, period, line.window.start_s, line.window.end_s, line.units)
        })
        .collect()
}

fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, LedgerError> {
    to_raw_value(value).map_err(|error| LedgerError::Internal(error.into()))
}
