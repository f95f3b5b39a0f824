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
    /// The place of the last event.
    pub last: u64,
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

// Two Redises at once give the same places twice, so that what nodes miss after the cursor may be more than there are places.
// What they miss up to the cursor stands at places that were given again, and comes on top. An event that is in the log from another
// place may have been asked for again under its key, and says nothing of those that were lost with it.
const RAISE_LOSS: &str = "-- raise_loss
UPDATE incidents
SET (expected_seq, lost_at_most, detail) = (
    SELECT
        greatest(incidents.expected_seq, $3),
        greatest(incidents.lost_at_most, raised.before + greatest(raised.places, raised.after)),
        incidents.detail || jsonb_build_object(
            'lost_places', raised.places, 'missed_before', raised.before,
            'missed_after', raised.after
        )
    FROM (
        SELECT
            coalesce((incidents.detail ->> 'lost_places')::bigint, incidents.lost_at_most)
                + greatest($3 - incidents.expected_seq, 0) AS places,
            coalesce((incidents.detail ->> 'missed_before')::bigint, 0)
                + coalesce(sum(missed.before), 0)::bigint AS before,
            coalesce((incidents.detail ->> 'missed_after')::bigint, 0)
                + coalesce(sum(missed.events - missed.before), 0)::bigint AS after
        FROM (
            SELECT
                own.events,
                least(own.events, greatest((incidents.detail ->> 'cursor_seq')::bigint - own.first + 1, 0)) AS before
            FROM unnest($4::bigint[], $5::bigint[], $6::uuid[], $7::bigint[]) AS own (first, last, last_id, events)
            WHERE NOT EXISTS (
                SELECT FROM message_logs
                WHERE event_id = own.last_id AND epoch = $2 AND seq = own.last
            )
        ) AS missed
    ) AS raised
)
WHERE shard = $1 AND old_epoch = $2";

impl Ledger {
    /// Raises the bound of the loss at the end of `epoch` to what a node knows: `seq` was acknowledged to it, and so were
    /// `calls`, of which some are not in the log. Done twice, the bound is higher than it need be; it never falls.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn raise_loss(
        &self,
        shard: u16,
        epoch: u64,
        seq: u64,
        calls: &[OwnCall],
    ) -> Result<(), LedgerError> {
        let firsts = calls.iter().map(|it| signed(it.first)).collect::<Result<Vec<_>, _>>()?;
        let lasts = calls.iter().map(|it| signed(it.last)).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<Uuid> = calls.iter().map(|it| it.last_id).collect();
        let events: Vec<i64> = calls.iter().map(|it| i64::from(it.events)).collect();
        let connection = self.connection().await?;
        let (shard, epoch, seq) = (i64::from(shard), signed(epoch)?, signed(seq)?);
        let params: Params<'_> = &[&shard, &epoch, &seq, &firsts, &lasts, &ids, &events];
        connection.execute(RAISE_LOSS, params).await?;
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
