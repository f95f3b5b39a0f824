//! The table `incidents`: recoveries, and what they may have lost.

use chrono::DateTime;
use chrono::Utc;
use serde_json::Value;
use serde_json::json;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::Signal;
use crate::domain::SignalKind;

use super::Ledger;
use super::convert::signed;
use super::convert::small;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::Params;
use super::tx::Tx;
use super::tx::column;

/// What a recovery found.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// What was noticed, in a few words.
    pub reason: &'static str,
    /// The epoch found in Redis; none when there was none.
    pub redis_epoch: Option<u64>,
    /// The last seq found in Redis; none when there was none.
    pub found_seq: Option<u64>,
    /// The last seq known to have been acknowledged.
    pub expected_seq: u64,
    /// The most acknowledged events that can be lost.
    pub lost_at_most: u64,
    /// What else is known: a JSON object.
    pub detail: Value,
}

/// A recovery, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentRow {
    /// The incident's id.
    pub incident_id: Uuid,
    /// The shard.
    pub shard: u16,
    /// When the recovery began.
    pub detected_at: DateTime<Utc>,
    /// What was noticed.
    pub reason: String,
    /// The epoch that ended.
    pub old_epoch: u64,
    /// The epoch that began.
    pub new_epoch: u64,
    /// The epoch found in Redis; none when there was none.
    pub redis_epoch: Option<u64>,
    /// The last seq known to have been acknowledged.
    pub expected_seq: u64,
    /// The last seq found in Redis; none when there was none.
    pub found_seq: Option<u64>,
    /// Events that the recovery found in the outbox and logged.
    pub salvaged: u64,
    /// The most acknowledged events that can be lost.
    pub lost_at_most: u64,
    /// What else was known.
    pub detail: Value,
}

/// What a call acknowledged to a node: one or more events, of which Redis has all that come before one that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnCall {
    /// The place of the first event.
    pub first: u64,
    /// The id of the last event.
    pub last_id: Uuid,
    /// How many events they are.
    pub events: u32,
}

/// The most incidents in one answer.
const INCIDENTS_MAX: u32 = 1_000;

const INCIDENTS: &str = "-- incidents
SELECT
    incident_id, shard, detected_at, reason, old_epoch, new_epoch, redis_epoch, expected_seq,
    found_seq, salvaged, lost_at_most, detail
FROM incidents ORDER BY detected_at DESC, incident_id LIMIT $1";

const INSERT_INCIDENT: &str = "-- insert_incident
INSERT INTO incidents (
    shard, reason, old_epoch, new_epoch, redis_epoch, expected_seq, found_seq, salvaged,
    lost_at_most, detail
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const RAISE_EXPECTED: &str = "-- raise_expected
UPDATE incidents
SET expected_seq = $3, lost_at_most = lost_at_most + ($3 - expected_seq)
WHERE shard = $1 AND old_epoch = $2 AND expected_seq < $3";

// Up to the cursor at the recovery: what came after it is counted by its places already.
const RAISE_LOST: &str = "-- raise_lost
UPDATE incidents
SET lost_at_most = lost_at_most + (
    SELECT coalesce(sum(least(own.events, (incidents.detail ->> 'cursor_seq')::bigint - own.first + 1)), 0)::bigint
    FROM unnest($3::bigint[], $4::uuid[], $5::bigint[]) AS own (first, event_id, events)
    WHERE
        own.first <= (incidents.detail ->> 'cursor_seq')::bigint
        AND NOT EXISTS (SELECT FROM message_logs WHERE message_logs.event_id = own.event_id)
)
WHERE shard = $1 AND old_epoch = $2";

impl Ledger {
    /// Raises the bound of the loss at the end of `epoch` by what was acknowledged to a node at places that Postgres had
    /// passed, and is not in the log: Redis lost it, and gave the places again. Of a call that reaches beyond those places as many
    /// of its events count as there are places. Done twice, the bound is higher than it need be.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn raise_lost(
        &self,
        shard: u16,
        epoch: u64,
        calls: &[OwnCall],
    ) -> Result<(), LedgerError> {
        let firsts = calls.iter().map(|it| signed(it.first)).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<Uuid> = calls.iter().map(|it| it.last_id).collect();
        let events: Vec<i64> = calls.iter().map(|it| i64::from(it.events)).collect();
        let connection = self.connection().await?;
        let params: Params<'_> = &[&i64::from(shard), &signed(epoch)?, &firsts, &ids, &events];
        connection.execute(RAISE_LOST, params).await?;
        Ok(())
    }

    /// Raises the bound of the loss at the end of `epoch` to what a node saw: `seq` was acknowledged to it. Once raised, a
    /// bound stays.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn raise_expected(
        &self,
        shard: u16,
        epoch: u64,
        seq: u64,
    ) -> Result<(), LedgerError> {
        let connection = self.connection().await?;
        let params: Params<'_> = &[&i64::from(shard), &signed(epoch)?, &signed(seq)?];
        connection.execute(RAISE_EXPECTED, params).await?;
        Ok(())
    }

    /// The latest incidents, the newest first; at most `limit` and at most 1,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn incidents(&self, limit: u32) -> Result<Vec<IncidentRow>, LedgerError> {
        let limit = i64::from(limit.min(INCIDENTS_MAX));
        let rows = self.connection().await?.rows(INCIDENTS, &[&limit]).await?;
        rows.iter().map(read).collect()
    }
}

/// What a recovery did with a shard.
pub(super) struct Outcome {
    pub(super) shard: u16,
    pub(super) old_epoch: u64,
    pub(super) new_epoch: i64,
    pub(super) salvaged: u64,
}

/// Keeps an incident.
pub(super) async fn insert(
    tx: &Tx,
    outcome: &Outcome,
    incident: &Incident,
) -> Result<(), LedgerError> {
    let redis_epoch = incident.redis_epoch.map(signed).transpose()?;
    let found_seq = incident.found_seq.map(signed).transpose()?;
    tx.execute(
        INSERT_INCIDENT,
        &[
            &i64::from(outcome.shard),
            &incident.reason,
            &signed(outcome.old_epoch)?,
            &outcome.new_epoch,
            &redis_epoch,
            &signed(incident.expected_seq)?,
            &found_seq,
            &signed(outcome.salvaged)?,
            &signed(incident.lost_at_most)?,
            &incident.detail,
        ],
    )
    .await?;
    Ok(())
}

/// What the feed says of it.
pub(super) fn signal(outcome: &Outcome, incident: &Incident) -> Signal {
    let data = json!({
        "shard": outcome.shard,
        "reason": incident.reason,
        "new_epoch": outcome.new_epoch,
        "salvaged": outcome.salvaged,
        "lost_at_most": incident.lost_at_most,
    });
    Signal::new(Uuid::now_v7(), SignalKind::ShardRecovered, None, data)
}

fn read(row: &Row) -> Result<IncidentRow, LedgerError> {
    let number = |name| column(row, name).and_then(unsigned);
    let number_if_any =
        |name| column::<Option<i64>>(row, name).and_then(|count| count.map(unsigned).transpose());
    Ok(IncidentRow {
        incident_id: column(row, "incident_id")?,
        shard: small(column(row, "shard")?)?,
        detected_at: column(row, "detected_at")?,
        reason: column(row, "reason")?,
        old_epoch: number("old_epoch")?,
        new_epoch: number("new_epoch")?,
        redis_epoch: number_if_any("redis_epoch")?,
        expected_seq: number("expected_seq")?,
        found_seq: number_if_any("found_seq")?,
        salvaged: number("salvaged")?,
        lost_at_most: number("lost_at_most")?,
        detail: column(row, "detail")?,
    })
}
