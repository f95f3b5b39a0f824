//! What there is about one person, and taking it out of every table; what others rely on is kept as sums.

use tokio_postgres::Row;

use super::Ledger;
use super::cursors;
use super::error::LedgerError;
use super::tx::Params;
use super::tx::Tx;
use super::tx::column;

/// The most documents about counters and days in an export.
const DOCUMENTS_MAX: i64 = 100_000;

/// How many rows about a person were erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Events in the log.
    pub events: u64,
    /// Counters.
    pub counters: u64,
    /// Refusals, as rows and as counts.
    pub denials: u64,
}

const ABOUT_PERSON: &str = "-- about_person
SELECT document::text AS document FROM (
    SELECT json_build_object('profile', json_build_object(
        'subject', subject, 'profile', profile, 'updated_at', updated_at)) AS document
    FROM subjects WHERE NOT is_deleted AND (subject = $1 OR subject > $1 || '/' AND subject < $1 || '0')
    UNION ALL
    SELECT json_build_object('counter', json_build_object(
        'subject', subject, 'metric', metric, 'period', period, 'window_start', window_start,
        'window_end', window_end, 'used', used))
    FROM usage_counters WHERE subject COLLATE \"C\" = $1
        OR subject COLLATE \"C\" > $1 || '/' AND subject COLLATE \"C\" < $1 || '0'
    UNION ALL
    SELECT json_build_object('day', json_build_object(
        'day', day, 'subject', subject, 'metric', metric, 'model', model, 'events', events, 'units', units))
    FROM usage_days WHERE subject = $1
) AS documents LIMIT $2";

// What the events added to levels above the person, which go on counting them.
const KEEP_SUMS_ABOVE: &str = "-- keep_sums_above
INSERT INTO archived_sums AS kept (
    subject, metric, period, window_start, used, carried, refunded
)
SELECT
    array_to_string((string_to_array(log.subject, '/'))[1:greatest((delta ->> 0)::integer, 1)], '/'),
    delta ->> 1, delta ->> 2, to_timestamp((delta ->> 3)::bigint),
    coalesce(sum((delta ->> 5)::bigint) FILTER (WHERE delta ->> 6 IS NULL), 0)::bigint,
    coalesce(sum((delta ->> 5)::bigint) FILTER (WHERE delta ->> 6 = 'carried'), 0)::bigint,
    coalesce(sum((delta ->> 5)::bigint) FILTER (WHERE delta ->> 6 = 'refunded'), 0)::bigint
FROM message_logs AS log CROSS JOIN LATERAL jsonb_array_elements(log.deltas) AS delta
WHERE (log.subject = $1 OR log.subject > $1 || '/' AND log.subject < $1 || '0')
    AND (delta ->> 0)::bigint <= length($1) - length(replace($1, '/', ''))
    AND delta ->> 2 NOT IN ('minute', 'hour')
    AND (delta ->> 6 IS NULL OR delta ->> 6 IN ('carried', 'refunded'))
GROUP BY 1, 2, 3, 4
ON CONFLICT (subject, metric, period, window_start) DO UPDATE SET
    used = kept.used + excluded.used, carried = kept.carried + excluded.carried,
    refunded = kept.refunded + excluded.refunded";

// Redis forgets the counters with the next pass of the flusher.
const FORGET_IN_REDIS: &str = "-- forget_in_redis
UPDATE outbox_cursors SET updated_at = now(), forget = ARRAY(
    SELECT name FROM unnest(forget) AS name
    UNION SELECT $2
    UNION SELECT subject FROM usage_counters
    WHERE subject COLLATE \"C\" > $2 || '/' AND subject COLLATE \"C\" < $2 || '0'
)
WHERE shard = $1";

const ERASE_EVENTS: &str = "-- erase_events
DELETE FROM message_logs WHERE subject = $1 OR subject > $1 || '/' AND subject < $1 || '0'";
const ERASE_COUNTERS: &str = "-- erase_counters
DELETE FROM usage_counters WHERE subject COLLATE \"C\" = $1
    OR subject COLLATE \"C\" > $1 || '/' AND subject COLLATE \"C\" < $1 || '0'";
const ERASE_ARCHIVED_SUMS: &str = "-- erase_archived_sums
DELETE FROM archived_sums WHERE subject = $1 OR subject > $1 || '/' AND subject < $1 || '0'";
const ERASE_DENIALS: &str = "-- erase_denials
DELETE FROM denials WHERE subject = $1 OR subject > $1 || '/' AND subject < $1 || '0'";
const ERASE_DENIAL_MINUTES: &str = "-- erase_denial_minutes
DELETE FROM denial_minutes WHERE subject = $1 OR subject > $1 || '/' AND subject < $1 || '0'";
const ERASE_CROSSINGS: &str = "-- erase_crossings
DELETE FROM crossings WHERE subject = $1 OR subject > $1 || '/' AND subject < $1 || '0'";
const ERASE_ALERTS: &str = "-- erase_alerts
DELETE FROM alerts WHERE subject = $1 OR subject > $1 || '/' AND subject < $1 || '0'";
const ERASE_ALERT_STATES: &str = "-- erase_alert_states
DELETE FROM alert_states WHERE subject = $1 OR subject > $1 || '/' AND subject < $1 || '0'";
const ERASE_BASELINES: &str = "-- erase_baselines
DELETE FROM usage_baselines WHERE subject = $1 OR subject > $1 || '/' AND subject < $1 || '0'";
// What is in force has its end to come.
const ERASE_RESTRAINTS: &str = "-- erase_restraints
DELETE FROM restraints
WHERE ended_at IS NOT NULL AND (subject = $1 OR subject > $1 || '/' AND subject < $1 || '0')";

// Sums of days and months stay, under a name that says nothing.
const RENAME_DAYS: &str = "-- rename_days
UPDATE usage_days SET subject = $2 WHERE subject = $1";
const RENAME_MONTHS: &str = "-- rename_months
UPDATE subject_months SET subject = $2 WHERE subject = $1";

impl Ledger {
    /// What the tables hold about a subject and all below it, but for the log: profiles, counters and days, as JSON texts;
    /// at most 100,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn about_person(&self, subject: &str) -> Result<Vec<String>, LedgerError> {
        let params: Params<'_> = &[&subject, &DOCUMENTS_MAX];
        let rows = self.connection().await?.rows(ABOUT_PERSON, params).await?;
        rows.iter().map(|row: &Row| column(row, "document")).collect()
    }

    /// Erases a subject of `shard` and all below it from the log, the counters, the refusals and what rules found, all or nothing. Levels above
    /// keep their sums; days and months of a root go on under `pseudonym`. For the owner of the tables. What is in the
    /// outbox or in the queue of the rollups is not known here.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Conflict`] when it is worth trying again; nothing has changed.
    pub async fn erase_person(
        &self,
        shard: u16,
        subject: &str,
        pseudonym: &str,
    ) -> Result<Erased, LedgerError> {
        let tx = self.begin().await?;
        let outcome = erase(&tx, shard, subject, pseudonym).await;
        tx.end(outcome).await
    }
}

async fn erase(tx: &Tx, shard: u16, subject: &str, pseudonym: &str) -> Result<Erased, LedgerError> {
    // No flush of the shard in between.
    cursors::lock(tx, shard).await?;
    tx.execute(KEEP_SUMS_ABOVE, &[&subject]).await?;
    tx.execute(FORGET_IN_REDIS, &[&i64::from(shard), &subject]).await?;
    let erased = Erased {
        events: tx.execute(ERASE_EVENTS, &[&subject]).await?,
        counters: tx.execute(ERASE_COUNTERS, &[&subject]).await?,
        denials: tx.execute(ERASE_DENIALS, &[&subject]).await?
            + tx.execute(ERASE_DENIAL_MINUTES, &[&subject]).await?,
    };
    tx.execute(ERASE_ARCHIVED_SUMS, &[&subject]).await?;
    for sql in
        [ERASE_CROSSINGS, ERASE_ALERTS, ERASE_ALERT_STATES, ERASE_BASELINES, ERASE_RESTRAINTS]
    {
        tx.execute(sql, &[&subject]).await?;
    }
    tx.execute(RENAME_DAYS, &[&subject, &pseudonym]).await?;
    tx.execute(RENAME_MONTHS, &[&subject, &pseudonym]).await?;
    Ok(erased)
}
