//! The table `dead_letters`: outbox entries that cannot be read or stored.

use serde_json::json;

use crate::domain::Event;

use super::convert::signed;
use super::error::LedgerError;
use super::lines::mark_of;
use super::tx::Tx;

/// An outbox entry that cannot be read or stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// First seq of the entry.
    pub seq_first: u64,
    /// Last seq of the entry.
    pub seq_last: u64,
    /// The bytes as they were in the outbox, or the event as JSON when it could be read.
    pub raw: Vec<u8>,
    /// Why it cannot be stored.
    pub reason: String,
}

impl DeadLetter {
    /// An event that could be read and that Postgres cannot take.
    #[must_use]
    pub fn of_event(event: &Event, reason: &str) -> Self {
        let lines = event.deltas.lines.iter().map(|line| {
            let period = line.period.as_str();
            let (start_s, mark) = (line.window.start_s, mark_of(line));
            json!([line.depth, line.metric, period, start_s, line.units, mark])
        });
        let raw = json!({
            "event_id": event.event_id,
            "occurred_at_ms": event.occurred_at_ms,
            "subject": event.subject,
            "kind": event.kind.as_str(),
            "model": event.model,
            "amount": event.amount,
            "until_s": event.until_s,
            "settles": event.of,
            "plan": event.deltas.plan,
            "deltas": lines.collect::<Vec<_>>(),
            "request_id": event.request_id,
            "trace_id": event.trace_id,
            "metadata": event.metadata,
        });
        Self {
            seq_first: event.seq,
            seq_last: event.seq,
            raw: raw.to_string().into_bytes(),
            reason: reason.to_owned(),
        }
    }
}

const INSERT_DEAD_LETTERS: &str = "-- insert_dead_letters
INSERT INTO dead_letters (shard, epoch, seq_first, seq_last, raw, reason)
SELECT $1, $2, letter.*
FROM unnest($3::bigint[], $4::bigint[], $5::bytea[], $6::text[]) AS letter";

/// Keeps entries of one shard and epoch.
pub(super) async fn insert(
    tx: &Tx,
    shard: u16,
    epoch: u64,
    letters: &[DeadLetter],
) -> Result<(), LedgerError> {
    if letters.is_empty() {
        return Ok(());
    }
    let firsts = letters.iter().map(|letter| signed(letter.seq_first));
    let lasts = letters.iter().map(|letter| signed(letter.seq_last));
    let firsts: Vec<i64> = firsts.collect::<Result<_, _>>()?;
    let lasts: Vec<i64> = lasts.collect::<Result<_, _>>()?;
    let raws: Vec<&[u8]> = letters.iter().map(|letter| letter.raw.as_slice()).collect();
    let reasons: Vec<&str> = letters.iter().map(|letter| letter.reason.as_str()).collect();
    let (shard, epoch) = (i64::from(shard), signed(epoch)?);
    tx.execute(INSERT_DEAD_LETTERS, &[&shard, &epoch, &firsts, &lasts, &raws, &reasons]).await?;
    Ok(())
}
