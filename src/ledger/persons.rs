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
    UNION ALL
    SELECT json_build_object('grant', json_build_object(
        'id', id, 'subject', subject, 'metric', metric, 'amount', amount, 'used', used, 'source', source,
        'note', note, 'created_at', created_at, 'expires_at', expires_at, 'revoked_at', revoked_at))
    FROM grants WHERE subject = $1 OR subject > $1 || '/' AND subject < $1 || '0'
    UNION ALL
    SELECT json_build_object('reservation', json_build_object(
        'id', id, 'subject', subject, 'model', model, 'amount', amount, 'state', state, 'committed', committed,
        'reserved_at', reserved_at, 'ended_at', ended_at, 'request_id', request_id, 'metadata', metadata))
    FROM reservations WHERE subject COLLATE \"C\" = $1
        OR subject COLLATE \"C\" > $1 || '/' AND subject COLLATE \"C\" < $1 || '0'
    UNION ALL
    SELECT json_build_object('transfer', json_build_object(
        'id', id, 'from', from_subject, 'to', to_subject, 'metric', metric, 'amount', amount, 'state', state,
        'requested_at', requested_at, 'ended_at', ended_at, 'note', note))
    FROM transfers WHERE from_subject COLLATE \"C\" = $1 OR to_subject COLLATE \"C\" = $1
        OR from_subject COLLATE \"C\" > $1 || '/' AND from_subject COLLATE \"C\" < $1 || '0'
        OR to_subject COLLATE \"C\" > $1 || '/' AND to_subject COLLATE \"C\" < $1 || '0'
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

// What the events used of grants, the person's own and those of levels above.
const KEEP_GRANTS: &str = "-- keep_grants
INSERT INTO archived_grants AS kept (grant_id, used)
SELECT substring(delta ->> 6 FROM '^grant:([0-9]+)$')::bigint, sum((delta ->> 5)::bigint)::bigint
FROM message_logs AS log CROSS JOIN LATERAL jsonb_array_elements(log.deltas) AS delta
WHERE (log.subject = $1 OR log.subject > $1 || '/' AND log.subject < $1 || '0')
    AND delta ->> 6 ~ '^grant:[0-9]+$'
GROUP BY 1
ON CONFLICT (grant_id) DO UPDATE SET used = kept.used + excluded.used";

// The outbox may still hold them for a while; by then, and in an older Redis that is restored, they are known for erased.
const FORGET_ERASED: &str = "-- forget_erased
DELETE FROM erased_events WHERE erased_at < now() - interval '90 days'";

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
WITH gone AS (
    DELETE FROM message_logs WHERE subject = $1 OR subject > $1 || '/' AND subject < $1 || '0'
    RETURNING event_id
)
INSERT INTO erased_events (event_id) SELECT event_id FROM gone ON CONFLICT DO NOTHING";
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
// With what each held of the levels above, which Redis frees when its time is over.
const ERASE_HOLDS: &str = "-- erase_holds
WITH gone AS (
    DELETE FROM reservations WHERE subject COLLATE \"C\" = $1
        OR subject COLLATE \"C\" > $1 || '/' AND subject COLLATE \"C\" < $1 || '0'
    RETURNING id
)
DELETE FROM reservation_holds AS hold USING gone WHERE hold.reservation_id = gone.id";

// What was given and taken stays, under a name that says nothing; for the other side of a gift it goes on.
const RENAME_GRANTS: &str = "-- rename_grants
UPDATE grants SET subject = $2, note = NULL
WHERE subject = $1 OR subject > $1 || '/' AND subject < $1 || '0'";
// A gift between two levels of the person has two sides all the same.
const RENAME_GIVERS: &str = "-- rename_givers
UPDATE transfers SET from_subject = $2 || '/side:giver', note = NULL, request_id = NULL
WHERE from_subject COLLATE \"C\" = $1
    OR from_subject COLLATE \"C\" > $1 || '/' AND from_subject COLLATE \"C\" < $1 || '0'";
const RENAME_RECEIVERS: &str = "-- rename_receivers
UPDATE transfers SET to_subject = $2 || '/side:receiver', note = NULL
WHERE to_subject COLLATE \"C\" = $1
    OR to_subject COLLATE \"C\" > $1 || '/' AND to_subject COLLATE \"C\" < $1 || '0'";

// Sums of days and months stay, under a name that says nothing.
const RENAME_DAYS: &str = "-- rename_days
UPDATE usage_days SET subject = $2 WHERE subject = $1";
const RENAME_MONTHS: &str = "-- rename_months
UPDATE subject_months SET subject = $2 WHERE subject = $1";

const ERASE_REST: [&str; 7] = [
    ERASE_ARCHIVED_SUMS,
    ERASE_CROSSINGS,
    ERASE_ALERTS,
    ERASE_ALERT_STATES,
    ERASE_BASELINES,
    ERASE_RESTRAINTS,
    ERASE_HOLDS,
];
const RENAME: [&str; 5] =
    [RENAME_GRANTS, RENAME_GIVERS, RENAME_RECEIVERS, RENAME_DAYS, RENAME_MONTHS];

const RESERVED_WITHIN: &str = "-- reserved_within
SELECT DISTINCT subject COLLATE \"C\" AS subject FROM reservations
WHERE state = 'open' AND (subject COLLATE \"C\" = $1
    OR subject COLLATE \"C\" > $1 || '/' AND subject COLLATE \"C\" < $1 || '0')
ORDER BY 1 LIMIT $2";

impl Ledger {
    /// The paths that equal `prefix` or lie below it and have an open reservation, in order; at most `limit`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn reserved_within(
        &self,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<String>, LedgerError> {
        let params: Params<'_> = &[&prefix, &i64::from(limit)];
        let rows = self.connection().await?.rows(RESERVED_WITHIN, params).await?;
        rows.iter().map(|row| column(row, "subject")).collect()
    }

    /// What the tables hold about a subject and all below it, but for the log: profiles, counters, days, grants, reservations
    /// and transfers, as JSON texts; at most 100,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn about_person(&self, subject: &str) -> Result<Vec<String>, LedgerError> {
        let params: Params<'_> = &[&subject, &DOCUMENTS_MAX];
        let rows = self.connection().await?.rows(ABOUT_PERSON, params).await?;
        rows.iter().map(|row: &Row| column(row, "document")).collect()
    }

    /// Erases a subject of `shard` and all below it from the log, the counters, the refusals, the reservations and what rules
    /// found, all or nothing. Levels above keep their sums; grants, transfers, days and months of a root go on under
    /// `pseudonym`. Release what is held before. For the owner of the tables. What is in the outbox or in the queue of the
    /// rollups is not known here.
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
    for sql in [KEEP_SUMS_ABOVE, KEEP_GRANTS] {
        tx.execute(sql, &[&subject]).await?;
    }
    tx.execute(FORGET_ERASED, &[]).await?;
    tx.execute(FORGET_IN_REDIS, &[&i64::from(shard), &subject]).await?;
    let erased = Erased {
        events: tx.execute(ERASE_EVENTS, &[&subject]).await?,
        counters: tx.execute(ERASE_COUNTERS, &[&subject]).await?,
        denials: tx.execute(ERASE_DENIALS, &[&subject]).await?
            + tx.execute(ERASE_DENIAL_MINUTES, &[&subject]).await?,
    };
    for sql in ERASE_REST {
        tx.execute(sql, &[&subject]).await?;
    }
    for sql in RENAME {
        tx.execute(sql, &[&subject, &pseudonym]).await?;
    }
    Ok(erased)
}
