//! A log of many rows, and the rollups that belong to it.

use std::fmt::Write;

use chrono::DateTime;
use futures_util::SinkExt;
use headroom::clock::Clock;
use headroom::domain::Event;

use super::Database;
use crate::Failure;
use crate::traffic::Traffic;

const DAYS: u64 = 30;
pub(super) const DAY_S: i64 = 86_400;
/// Bytes sent at once.
const CHUNK_BYTES: usize = 1 << 20;

const COPY: &str = "COPY message_logs (
    event_id, occurred_at, epoch, seq, shard, subject, kind, model, plan, charges, deltas
) FROM STDIN";

/// What the folds and flushes of a day would have left.
const ROLL_UP_DAY: &str = "
CREATE TEMPORARY TABLE logged ON COMMIT DROP AS
SELECT
    date_trunc('hour', occurred_at, 'UTC') AS hour, (occurred_at AT TIME ZONE 'UTC')::date AS day,
    split_part(subject, '/', 1) AS subject, charge.key AS metric, model, charge.value::bigint AS units
FROM message_logs CROSS JOIN LATERAL jsonb_each_text(charges) AS charge
WHERE occurred_at >= to_timestamp($from) AND occurred_at < to_timestamp($to);
INSERT INTO usage_hours SELECT hour, 0, metric, model, count(*), sum(units) FROM logged GROUP BY 1, 3, 4;
INSERT INTO usage_days SELECT day, subject, metric, model, count(*), sum(units) FROM logged GROUP BY 1, 2, 3, 4;
INSERT INTO denial_hours
SELECT hour, 'limit_exceeded', metric, model, count(*) / 20 + 1 FROM logged GROUP BY 1, 3, 4";

pub(super) const ROLL_UP_MONTHS: &str = "
INSERT INTO subject_months
SELECT
    date_trunc('month', day)::date, subject, metric, sum(events), sum(units),
    bit_or(1::bigint << (extract(DAY FROM day)::integer - 1)), 0
FROM usage_days GROUP BY 1, 2, 3;
INSERT INTO active_days (day, metric, away, subjects)
SELECT day, metric, least(coalesce(day - before, 93), 93), count(*) FROM (
    SELECT
        day, metric, lag(day) OVER (PARTITION BY metric, subject ORDER BY day) AS before
    FROM (SELECT DISTINCT day, metric, subject FROM usage_days) AS active
) AS active GROUP BY 1, 2, 3";

/// Fills the last 30 days.
pub(super) async fn fill(database: &Database, events: u64, subjects: u64) -> Result<(), Failure> {
    eprintln!("filling {events} rows");
    let traffic = traffic(events, subjects);
    let start_s = traffic.start_s;
    copy(database, traffic).await?;
    for day in 0..DAYS.cast_signed() {
        let from = start_s + day * DAY_S;
        let sql = ROLL_UP_DAY.replace("$from", &from.to_string());
        let sql = sql.replace("$to", &(from + DAY_S).to_string());
        database.client.batch_execute(&format!("BEGIN;{sql};COMMIT")).await?;
    }
    database.client.batch_execute(ROLL_UP_MONTHS).await?;
    database.client.batch_execute("VACUUM ANALYZE").await?;
    Ok(())
}

/// What happens in those days.
pub(super) fn traffic(events: u64, subjects: u64) -> Traffic {
    let today_s = Clock::system().now().timestamp().div_euclid(DAY_S) * DAY_S;
    let start_s = today_s - (DAYS.cast_signed() - 1) * DAY_S;
    Traffic { seed: 1, events, subjects, start_s, days: DAYS }
}

async fn copy(database: &Database, traffic: Traffic) -> Result<(), Failure> {
    let sink = database.client.copy_in(COPY).await?;
    let mut sink = std::pin::pin!(sink);
    let mut chunk = String::with_capacity(CHUNK_BYTES * 2);
    for event in traffic.events() {
        line(&mut chunk, &event)?;
        if chunk.len() >= CHUNK_BYTES {
            sink.feed(std::mem::take(&mut chunk).into()).await?;
        }
    }
    sink.feed(axum::body::Bytes::from(chunk)).await?;
    sink.finish().await?;
    Ok(())
}

/// The event as a line of text.
fn line(chunk: &mut String, event: &Event) -> Result<(), Failure> {
    let lines = &event.deltas.lines;
    let charges: Vec<String> =
        lines.iter().map(|line| format!("\"{}\": {}", line.metric, line.units)).collect();
    let deltas: Vec<String> = lines
        .iter()
        .map(|line| {
            let (start_s, end_s) = (line.window.start_s, line.window.end_s);
            format!(
                "[{}, \"{}\", \"month\", {start_s}, {end_s}, {}]",
                line.depth, line.metric, line.units
            )
        })
        .collect();
    let at = DateTime::from_timestamp_millis(event.occurred_at_ms).ok_or("no such instant")?;
    writeln!(
        chunk,
        "{}\t{}\t1\t{}\t0\t{}\tconsume\t{}\t{}\t{{{}}}\t[{}]",
        event.event_id,
        at.to_rfc3339(),
        event.seq,
        event.subject,
        event.model.as_deref().unwrap_or("\\N"),
        event.deltas.plan,
        charges.join(", "),
        deltas.join(", ")
    )?;
    Ok(())
}
