//! The tables `denials`, `denial_minutes` and `denial_hours`: requests that were refused; and `denial_writers`, by which none is
//! counted twice.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::Denial;
use crate::domain::Signal;

use super::Ledger;
use super::convert::instant_ms;
use super::convert::signed;
use super::error::LedgerError;
use super::feed;
use super::tx::Tx;
use super::tx::column;

/// The most rows for one subject and minute; beyond, there are counts.
const ROWS_A_MINUTE_MAX: i64 = 10;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

// The row is the node's own, so that it waits for nobody but its own attempt before, if that is still being committed.
const BEGIN_BATCH: &str = "-- begin_denial_batch
INSERT INTO denial_writers (writer_id, batch) VALUES ($1, $2)
ON CONFLICT (writer_id) DO UPDATE SET batch = excluded.batch, written_at = now()
WHERE denial_writers.batch < excluded.batch";

const DROP_OLD_WRITERS: &str = "-- drop_old_denial_writers
DELETE FROM denial_writers WHERE written_at < now() - interval '7 days'";

const COUNT_MINUTES: &str = "-- count_denial_minutes
INSERT INTO denial_minutes (minute, subject, denials)
SELECT count.* FROM unnest($1::timestamptz[], $2::text[], $3::bigint[]) AS count
ON CONFLICT (minute, subject) DO UPDATE SET
    denials = denial_minutes.denials + excluded.denials
RETURNING minute, subject, denials";

const COUNT_HOURS: &str = "-- count_denial_hours
INSERT INTO denial_hours (hour, code, metric, model, denials)
SELECT count.* FROM unnest(
    $1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::bigint[]
) AS count
ON CONFLICT (hour, code, metric, model) DO UPDATE SET
    denials = denial_hours.denials + excluded.denials";

const INSERT_DENIALS: &str = "-- insert_denials
INSERT INTO denials (
    denial_id, denied_at, subject, code, limit_name, level, metric, model, amount, plan,
    request_id, trace_id
)
SELECT denial.* FROM unnest(
    $1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::bigint[], $10::text[], $11::text[], $12::text[]
) AS denial
ON CONFLICT DO NOTHING";

/// Refusals that one node writes at once. Sent again, it is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenialBatch {
    /// The node, from its start to its end.
    pub writer_id: Uuid,
    /// Which of its batches this is, counted from 1; there is none that follows before it is known to be written.
    pub number: u64,
    /// The refusals, in no order.
    pub denials: Vec<Denial>,
}

/// First millisecond of the minute, subject.
type MinuteKey<'a> = (i64, &'a str);
/// First millisecond of the hour, code, metric, model.
type HourKey<'a> = (i64, &'static str, &'a str, &'a str);

impl Ledger {
    /// Writes refusals: counts of all of them, and rows of those that are among the first 10 of their subject and minute,
    /// over all nodes. All or nothing, and once, however often the batch is sent; nothing depends on them.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when one cannot be stored, [`LedgerError::Conflict`] and [`LedgerError::Unavailable`]
    /// when it is worth trying again.
    pub async fn write_denials(&self, batch: &DenialBatch) -> Result<(), LedgerError> {
        if batch.denials.is_empty() {
            return Ok(());
        }
        let tx = self.begin().await?;
        let outcome = write_once(&tx, batch).await;
        tx.end(outcome).await
    }

    /// Forgets nodes that have written no refusal for seven days.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn drop_old_denial_writers(&self) -> Result<u64, LedgerError> {
        self.connection().await?.execute(DROP_OLD_WRITERS, &[]).await
    }
}

async fn write_once(tx: &Tx, batch: &DenialBatch) -> Result<(), LedgerError> {
    let is_new = tx.execute(BEGIN_BATCH, &[&batch.writer_id, &signed(batch.number)?]).await? > 0;
    if is_new { write(tx, &batch.denials).await } else { Ok(()) }
}

async fn write(tx: &Tx, denials: &[Denial]) -> Result<(), LedgerError> {
    let mut room = count_minutes(tx, denials).await?;
    let mut rows = Vec::new();
    for denial in denials {
        let left = room.get_mut(&minute_of(denial));
        if let Some(left) = left.filter(|left| **left > 0) {
            *left -= 1;
            rows.push(denial);
        }
    }
    insert(tx, &rows).await?;
    let signals: Vec<Signal> = rows.iter().map(|denial| Signal::of_denial(denial)).collect();
    feed::add(tx, &[], &signals).await?;
    count_hours(tx, denials).await
}

/// Counts by subject and minute, in key order, so that two nodes never wait for each other's rows; answers how many rows
/// each may still have.
async fn count_minutes<'a>(
    tx: &Tx,
    denials: &'a [Denial],
) -> Result<BTreeMap<MinuteKey<'a>, i64>, LedgerError> {
    let mut counts: BTreeMap<MinuteKey<'a>, i64> = BTreeMap::new();
    for denial in denials {
        *counts.entry(minute_of(denial)).or_default() += 1;
    }
    let minutes: Vec<_> = counts.keys().map(|key| instant_ms(key.0)).collect::<Result<_, _>>()?;
    let subjects: Vec<_> = counts.keys().map(|key| key.1).collect();
    let numbers: Vec<_> = counts.values().copied().collect();
    let rows = tx.rows(COUNT_MINUTES, &[&minutes, &subjects, &numbers]).await?;
    let mut totals = BTreeMap::new();
    for row in &rows {
        let (key, total) = total(row)?;
        totals.insert(key, total);
    }
    for (key, count) in &mut counts {
        let total = totals.get(&(key.0, key.1.to_owned())).copied().unwrap_or(*count);
        *count = (ROWS_A_MINUTE_MAX - (total - *count)).clamp(0, *count);
    }
    Ok(counts)
}

fn total(row: &Row) -> Result<((i64, String), i64), LedgerError> {
    let minute: DateTime<Utc> = column(row, "minute")?;
    Ok(((minute.timestamp_millis(), column(row, "subject")?), column(row, "denials")?))
}

async fn count_hours(tx: &Tx, denials: &[Denial]) -> Result<(), LedgerError> {
    let mut counts: BTreeMap<HourKey<'_>, i64> = BTreeMap::new();
    for denial in denials {
        let hour_ms = denial.denied_at_ms - denial.denied_at_ms.rem_euclid(HOUR_MS);
        let metric = denial.metric.as_deref().unwrap_or("");
        let model = denial.model.as_deref().unwrap_or("");
        *counts.entry((hour_ms, denial.code.as_str(), metric, model)).or_default() += 1;
    }
    let hours: Vec<_> = counts.keys().map(|key| instant_ms(key.0)).collect::<Result<_, _>>()?;
    let codes: Vec<_> = counts.keys().map(|key| key.1).collect();
    let metrics: Vec<_> = counts.keys().map(|key| key.2).collect();
    let models: Vec<_> = counts.keys().map(|key| key.3).collect();
    let numbers: Vec<_> = counts.values().copied().collect();
    tx.execute(COUNT_HOURS, &[&hours, &codes, &metrics, &models, &numbers]).await?;
    Ok(())
}

async fn insert(tx: &Tx, rows: &[&Denial]) -> Result<(), LedgerError> {
    let limit = |denial: &&Denial| denial.limit.clone();
    let ids: Vec<_> = rows.iter().map(|it| it.denial_id).collect();
    let denied_ats: Vec<_> =
        rows.iter().map(|it| instant_ms(it.denied_at_ms)).collect::<Result<_, _>>()?;
    let subjects: Vec<_> = rows.iter().map(|it| it.subject.as_str()).collect();
    let codes: Vec<_> = rows.iter().map(|it| it.code.as_str()).collect();
    let names: Vec<_> = rows.iter().map(|it| limit(it).map(|limit| limit.name)).collect();
    let levels: Vec<_> = rows.iter().map(|it| limit(it).map(|limit| limit.level)).collect();
    let metrics: Vec<_> = rows.iter().map(|it| it.metric.as_deref()).collect();
    let models: Vec<_> = rows.iter().map(|it| it.model.as_deref()).collect();
    let amounts: Vec<_> = rows.iter().map(|it| i64::from(it.amount)).collect();
    let plans: Vec<_> = rows.iter().map(|it| it.plan.as_str()).collect();
    let request_ids: Vec<_> = rows.iter().map(|it| it.request_id.as_str()).collect();
    let trace_ids: Vec<_> = rows.iter().map(|it| it.trace_id.as_deref()).collect();
    let params: super::tx::Params<'_> = &[
        &ids,
        &denied_ats,
        &subjects,
        &codes,
        &names,
        &levels,
        &metrics,
        &models,
        &amounts,
        &plans,
        &request_ids,
        &trace_ids,
    ];
    tx.execute(INSERT_DENIALS, params).await?;
    Ok(())
}

fn minute_of(denial: &Denial) -> MinuteKey<'_> {
    (denial.denied_at_ms - denial.denied_at_ms.rem_euclid(MINUTE_MS), &denial.subject)
}
