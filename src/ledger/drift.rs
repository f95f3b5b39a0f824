//! The tables `drift_state` and `drift_findings`: what the drift auditor found, and how far it has come.

use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use super::Ledger;
use super::convert::json;
use super::convert::signed;
use super::convert::small;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::Tx;
use super::tx::column;

/// The most findings that are kept.
const FINDINGS_MAX: i64 = 10_000;
/// The most findings in one answer.
const PAGE_MAX: u32 = 1_000;

/// What a node has to look at next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftStep {
    /// The shard.
    pub shard: u16,
    /// Where its scan goes on; 0 is the beginning.
    pub cursor: u64,
    /// Findings to look at again, the suspicions first: the subject and its shard.
    pub again: Vec<(String, u16)>,
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriftLook {
    /// Subjects that were compared.
    pub compared: u64,
    /// Subjects that could not be.
    pub left_out: u64,
    /// Subjects that differ.
    pub drifted: Vec<NewDrift>,
    /// Subjects that do not differ, or are not loaded.
    pub clean: Vec<String>,
}

/// A subject that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDrift {
    /// The level of a subject.
    pub subject: String,
    /// Its shard.
    pub shard: u16,
    /// By how many units, in all.
    pub units: u64,
    /// Its counters, as JSON text.
    pub counters: String,
}

/// A subject that was seen to differ twice in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftRow {
    /// The level of a subject.
    pub subject: String,
    /// By how many units, in all.
    pub units: u64,
    /// Its counters, as JSON text.
    pub counters: String,
    /// When it was seen first.
    pub suspected_at: DateTime<Utc>,
    /// When it was last seen.
    pub seen_at: DateTime<Utc>,
}

/// A walk through all loaded subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriftRound {
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; `None` while it is under way.
    pub ended_at: Option<DateTime<Utc>>,
    /// Subjects compared.
    pub compared: u64,
    /// Subjects that could not be compared.
    pub left_out: u64,
}

/// How much differs now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriftSums {
    /// Subjects that differ.
    pub subjects: u64,
    /// By how many units, in all.
    pub units: u64,
}

// One node at a time takes a step, and none before the last is so old.
const TAKE_STEP: &str = "-- take_drift_step
UPDATE drift_state SET next_at = now() + make_interval(secs => $1::bigint * 0.001)
WHERE next_at <= now()
RETURNING shard, scan_cursor";

const TO_LOOK_AT_AGAIN: &str = "-- drift_to_look_at_again
SELECT subject, shard FROM drift_findings
ORDER BY confirmed_at IS NOT NULL, seen_at LIMIT $1";

const MOVE_STATE: &str = "-- move_drift_state
UPDATE drift_state
SET shard = $1, scan_cursor = $2,
    compared = CASE WHEN $5 THEN 0 ELSE compared + $3 END,
    left_out = CASE WHEN $5 THEN 0 ELSE left_out + $4 END,
    started_at = CASE WHEN $5 THEN now() ELSE started_at END,
    last_started_at = CASE WHEN $5 THEN started_at ELSE last_started_at END,
    last_ended_at = CASE WHEN $5 THEN now() ELSE last_ended_at END,
    last_compared = CASE WHEN $5 THEN compared + $3 ELSE last_compared END,
    last_left_out = CASE WHEN $5 THEN left_out + $4 ELSE last_left_out END";

const PUT_FINDINGS: &str = "-- put_drift_findings
INSERT INTO drift_findings (subject, shard, units, counters)
SELECT found.subject, found.shard, found.units, found.counters
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::jsonb[])
    AS found (subject, shard, units, counters)
WHERE (SELECT count(*) FROM drift_findings) < $5
    OR found.subject IN (SELECT known.subject FROM drift_findings AS known)
ON CONFLICT (subject) DO UPDATE SET
    units = excluded.units, counters = excluded.counters, seen_at = now(),
    confirmed_at = coalesce(drift_findings.confirmed_at, now())";

const DROP_FINDINGS: &str = "-- drop_drift_findings
DELETE FROM drift_findings WHERE subject = ANY ($1)";

const SUMS: &str = "-- drift_sums
SELECT count(*) AS subjects, coalesce(sum(units), 0)::bigint AS units
FROM drift_findings WHERE confirmed_at IS NOT NULL";

const PAGE: &str = "-- drift_page
SELECT subject, units, counters::text AS counters, suspected_at, seen_at
FROM drift_findings WHERE confirmed_at IS NOT NULL
ORDER BY units DESC, subject LIMIT $1";

const ROUNDS: &str = "-- drift_rounds
SELECT
    started_at, compared, left_out, last_started_at, last_ended_at, last_compared, last_left_out
FROM drift_state";

impl Ledger {
    /// The next step, unless another node took it less than its pause ago; this one's pause is `pause`. With at most
    /// `again_max` findings to look at again.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn take_drift_step(
        &self,
        pause: Duration,
        again_max: u32,
    ) -> Result<Option<DriftStep>, LedgerError> {
        let connection = self.connection().await?;
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        let rows = connection.rows(TAKE_STEP, &[&pause_ms]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let cursor: String = column(row, "scan_cursor")?;
        let cursor = cursor.parse().map_err(|_| LedgerError::Internal("no cursor".into()))?;
        let again = connection.rows(TO_LOOK_AT_AGAIN, &[&i64::from(again_max)]).await?;
        let place = |row| Ok((column(row, "subject")?, small(column(row, "shard")?)?));
        let again = again.iter().map(place).collect::<Result<_, LedgerError>>()?;
        Ok(Some(DriftStep { shard: small(column(row, "shard")?)?, cursor, again }))
    }

    /// Writes down what a step found, and that the next is at `shard` and `cursor`. A finding is confirmed when it was there
    /// already. Of more than 10,000 the later ones are not kept.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like; nothing is written.
    pub async fn end_drift_step(
        &self,
        look: &DriftLook,
        (shard, cursor): (u16, u64),
        is_round_over: bool,
    ) -> Result<(), LedgerError> {
        let tx = self.begin().await?;
        let outcome = async {
            let (compared, left_out) = (signed(look.compared)?, signed(look.left_out)?);
            let (shard, cursor) = (i64::from(shard), cursor.to_string());
            tx.execute(MOVE_STATE, &[&shard, &cursor, &compared, &left_out, &is_round_over])
                .await?;
            if !look.drifted.is_empty() {
                put(&tx, &look.drifted).await?;
            }
            if !look.clean.is_empty() {
                tx.execute(DROP_FINDINGS, &[&look.clean]).await?;
            }
            Ok(())
        };
        let outcome = outcome.await;
        tx.end(outcome).await
    }

    /// Forgets what was found of subjects.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn drop_drift(&self, subjects: &[String]) -> Result<(), LedgerError> {
        self.connection().await?.execute(DROP_FINDINGS, &[&subjects]).await?;
        Ok(())
    }

    /// How much differs, by what was confirmed.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn drift_sums(&self) -> Result<DriftSums, LedgerError> {
        let row = self.connection().await?.row(SUMS, &[]).await?;
        let count = |name| column(&row, name).and_then(unsigned);
        Ok(DriftSums { subjects: count("subjects")?, units: count("units")? })
    }

    /// What was confirmed, what differs most first; at most `limit` and at most 1,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn drift_page(&self, limit: u32) -> Result<Vec<DriftRow>, LedgerError> {
        let limit = i64::from(limit.min(PAGE_MAX));
        let rows = self.connection().await?.rows(PAGE, &[&limit]).await?;
        rows.iter().map(read).collect()
    }

    /// The round under way, and the last whole one.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn drift_rounds(&self) -> Result<(DriftRound, Option<DriftRound>), LedgerError> {
        let row = self.connection().await?.row(ROUNDS, &[]).await?;
        let count = |name| column(&row, name).and_then(unsigned);
        let under_way = DriftRound {
            started_at: column(&row, "started_at")?,
            ended_at: None,
            compared: count("compared")?,
            left_out: count("left_out")?,
        };
        let started_at: Option<DateTime<Utc>> = column(&row, "last_started_at")?;
        let Some(started_at) = started_at else { return Ok((under_way, None)) };
        let last = DriftRound {
            started_at,
            ended_at: column(&row, "last_ended_at")?,
            compared: count("last_compared")?,
            left_out: count("last_left_out")?,
        };
        Ok((under_way, Some(last)))
    }
}

async fn put(tx: &Tx, drifted: &[NewDrift]) -> Result<(), LedgerError> {
    let subjects: Vec<&str> = drifted.iter().map(|it| it.subject.as_str()).collect();
    let shards: Vec<i64> = drifted.iter().map(|it| i64::from(it.shard)).collect();
    let units: Vec<i64> =
        drifted.iter().map(|it| i64::try_from(it.units).unwrap_or(i64::MAX)).collect();
    let counters: Result<Vec<Json<&RawValue>>, LedgerError> =
        drifted.iter().map(|it| json(&it.counters)).collect();
    tx.execute(PUT_FINDINGS, &[&subjects, &shards, &units, &counters?, &FINDINGS_MAX]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<DriftRow, LedgerError> {
    Ok(DriftRow {
        subject: column(row, "subject")?,
        units: unsigned(column(row, "units")?)?,
        counters: column(row, "counters")?,
        suspected_at: column(row, "suspected_at")?,
        seen_at: column(row, "seen_at")?,
    })
}
