//! Whether reservations, grants and transfers agree with their events (I8).

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;

use crate::ledger::Ledger;
use crate::ledger::error::LedgerError;
use crate::ledger::load::HeldCounter;
use crate::ledger::load::held;
use crate::ledger::tx::column;

use super::DIFFERENCES_MAX;

/// A row that does not agree with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The row: a reservation, a hold, a grant or a transfer.
    pub id: String,
    /// What the row says; none when there is no row.
    pub kept: Option<String>,
    /// What the log says; none when no event names the row.
    pub logged: Option<String>,
}

/// The most counters in one answer of [`Ledger::open_holds`].
const HOLDS_MAX: u32 = 100_000;

const OPEN_HOLDS: &str = "-- open_holds
SELECT
    array_to_string((string_to_array(open.subject, '/'))[1:greatest((line ->> 0)::integer, 1)], '/')
        AS subject,
    line ->> 1 AS metric,
    line ->> 2 AS period,
    to_timestamp((line ->> 3)::bigint) AS window_start,
    to_timestamp((line ->> 4)::bigint) AS window_end,
    substring(line ->> 6 FROM '^grant:([0-9]+):')::bigint AS grant_id,
    to_timestamp(substring(line ->> 6 FROM 'held:([0-9]+)$')::bigint) AS until,
    sum((line ->> 5)::bigint)::bigint AS used
FROM reservations AS open CROSS JOIN LATERAL jsonb_array_elements(open.lines) AS line
WHERE open.state = 'open' AND open.shard = $1
    AND to_timestamp(substring(line ->> 6 FROM 'held:([0-9]+)$')::bigint) > $2
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY 1, 2, 3, 4, 6, 7
LIMIT $3";

// One end each: a commit, a release or an expiry; and once, after an expiry, a late commit. What has left either table is left out:
// months of the log go, and so do old reservations.
const RESERVATIONS_DIFFER: &str = "-- reservations_differ
WITH kept_from AS (
    SELECT
        message_log_bound(greatest(
            reservations_from,
            (SELECT max(month) + interval '1 month' FROM archives) AT TIME ZONE 'UTC'
        )) AS id
    FROM retention_state
),
ends AS (
    SELECT
        settles AS id,
        count(*) FILTER (WHERE late IS NOT TRUE) AS ended,
        count(*) FILTER (WHERE late) AS late,
        max(kind) FILTER (WHERE late IS NOT TRUE) AS kind,
        max(amount) FILTER (WHERE kind = 'commit') AS committed
    FROM message_logs
    WHERE kind IN ('commit', 'release', 'expire') AND settles IS NOT NULL
    GROUP BY settles
),
logged AS (
    SELECT
        coalesce(begun.event_id, ends.id) AS id,
        CASE WHEN begun.event_id IS NULL THEN 'without its reserve, ' ELSE '' END || CASE
            WHEN ends.id IS NULL THEN 'open'
            WHEN late = 0 AND ended = 1 AND kind = 'commit' THEN 'committed ' || committed
            WHEN late = 0 AND ended = 1 AND kind = 'release' THEN 'released'
            WHEN late = 0 AND ended = 1 AND kind = 'expire' THEN 'expired'
            WHEN late = 1 AND (ended = 0 OR (ended = 1 AND kind = 'expire'))
                THEN 'late ' || committed
            ELSE ended || ' ends and ' || late || ' late'
        END AS life
    FROM (SELECT event_id FROM message_logs WHERE kind = 'reserve') AS begun
    FULL JOIN ends ON ends.id = begun.event_id
    WHERE coalesce(begun.event_id, ends.id) >= (SELECT id FROM kept_from)
),
kept AS (
    SELECT
        id,
        CASE WHEN reserved_at IS NULL THEN 'without its reserve, ' ELSE '' END
            || state || coalesce(' ' || committed, '') AS life
    FROM reservations WHERE id >= (SELECT id FROM kept_from)
)
SELECT id::text AS id, kept.life AS kept, logged.life AS logged
FROM kept FULL JOIN logged USING (id)
WHERE kept.life IS DISTINCT FROM logged.life
ORDER BY 1 LIMIT $1";

const HOLDS_DIFFER: &str = "-- holds_differ
WITH held AS (
    SELECT
        open.id AS reservation_id,
        place - 1 AS place,
        (line ->> 1) || ' ' || (line ->> 2) || ' ' || (line ->> 5) || ' until '
            || substring(line ->> 6 FROM 'held:([0-9]+)$') AS hold
    FROM reservations AS open
    CROSS JOIN LATERAL jsonb_array_elements(open.lines) WITH ORDINALITY AS line (line, place)
    WHERE open.state = 'open' AND line ->> 2 NOT IN ('minute', 'hour')
),
kept AS (
    SELECT
        reservation_id, place,
        metric || ' ' || period || ' ' || units || ' until ' || extract(EPOCH FROM until)::bigint
            AS hold
    FROM reservation_holds
)
SELECT reservation_id || ' ' || place AS id, kept.hold AS kept, held.hold AS logged
FROM kept FULL JOIN held USING (reservation_id, place)
WHERE kept.hold IS DISTINCT FROM held.hold
ORDER BY 1 LIMIT $1";

const GRANTS_DIFFER: &str = "-- grants_differ
WITH logged AS (
    SELECT id, sum(used)::bigint AS used
    FROM (
        SELECT
            substring(delta ->> 6 FROM '^grant:([0-9]+)$')::bigint AS id,
            (delta ->> 5)::bigint AS used
        FROM message_logs AS log CROSS JOIN LATERAL jsonb_array_elements(log.deltas) AS delta
        WHERE delta ->> 6 ~ '^grant:[0-9]+$'
        UNION ALL
        SELECT grant_id, used FROM archived_grants
    ) AS part
    GROUP BY id
)
SELECT id::text AS id, given.used::text AS kept, logged.used::text AS logged
FROM grants AS given FULL JOIN logged USING (id)
WHERE coalesce(given.used, 0) <> coalesce(logged.used, 0) OR given.id IS NULL
ORDER BY 1 LIMIT $1";

// What took the units may have left the log, with its month or because the giver was erased.
const TRANSFERS_DIFFER: &str = "-- transfers_differ
WITH kept_from AS (
    SELECT
        message_log_bound((max(month) + interval '1 month') AT TIME ZONE 'UTC') AS bound
    FROM archives
),
debited AS (
    SELECT log.event_id AS id, sum((delta ->> 5)::bigint)::bigint AS units
    FROM message_logs AS log LEFT JOIN LATERAL jsonb_array_elements(log.deltas) AS delta
        ON delta ->> 6 ~ '^grant:[0-9]+$'
    WHERE log.kind = 'transfer'
    GROUP BY log.event_id
),
received AS (
    SELECT transfer_id AS id, sum(amount)::bigint AS units
    FROM grants WHERE transfer_id IS NOT NULL GROUP BY transfer_id
)
SELECT
    id::text AS id,
    transfer.state || ' ' || transfer.amount AS kept,
    'debited ' || coalesce(debited.units, 0) || ', received ' || coalesce(received.units, 0)
        AS logged
FROM transfers AS transfer
FULL JOIN debited USING (id)
FULL JOIN received USING (id)
WHERE CASE transfer.state
    WHEN 'done' THEN
        debited.units IS DISTINCT FROM transfer.amount
        OR received.units IS DISTINCT FROM transfer.amount
    WHEN 'refused' THEN debited.id IS NOT NULL OR received.id IS NOT NULL
    WHEN 'pending' THEN
        received.id IS NOT NULL
        OR (debited.id IS NOT NULL AND debited.units IS DISTINCT FROM transfer.amount)
    ELSE true
END
AND NOT EXISTS (SELECT FROM kept_from WHERE id < bound)
AND NOT EXISTS (SELECT FROM erased_events WHERE event_id = id)
ORDER BY 1 LIMIT $1";

impl Ledger {
    /// What the open reservations of a shard hold after `now` of each counter, minutes and hours too, added up from the
    /// reservations themselves; at most `limit` and at most 100,000 counters. In one snapshot, for ten minutes at most.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn open_holds(
        &self,
        shard: u16,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<HeldCounter>, LedgerError> {
        let (shard, limit) = (i64::from(shard), i64::from(limit.min(HOLDS_MAX)));
        let rows = self.snapshot(OPEN_HOLDS, &[&shard, &now, &limit]).await?;
        rows.iter().map(held).collect()
    }

    /// The reservations whose state is not what their events say, or that have not one end (I8); at most `limit` and at most
    /// 10,000. Reads both tables whole, in one snapshot, for ten minutes at most.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn reservations_differ(&self, limit: u32) -> Result<Vec<Disagreement>, LedgerError> {
        self.disagreements(RESERVATIONS_DIFFER, limit).await
    }

    /// The holds that loads read and that are not those of the open reservations; bounds as
    /// [`Ledger::reservations_differ`].
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn holds_differ(&self, limit: u32) -> Result<Vec<Disagreement>, LedgerError> {
        self.disagreements(HOLDS_DIFFER, limit).await
    }

    /// The grants of which something else is used than their events say; bounds as [`Ledger::reservations_differ`].
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn grants_differ(&self, limit: u32) -> Result<Vec<Disagreement>, LedgerError> {
        self.disagreements(GRANTS_DIFFER, limit).await
    }

    /// The transfers that are half: done without the same units debited and received, or refused with either. What the giver's
    /// shard has not flushed yet looks so, too: ask when it has. Bounds as [`Ledger::reservations_differ`].
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn transfers_differ(&self, limit: u32) -> Result<Vec<Disagreement>, LedgerError> {
        self.disagreements(TRANSFERS_DIFFER, limit).await
    }

    async fn disagreements(&self, sql: &str, limit: u32) -> Result<Vec<Disagreement>, LedgerError> {
        let rows = self.snapshot(sql, &[&i64::from(limit.min(DIFFERENCES_MAX))]).await?;
        rows.iter().map(disagreement).collect()
    }
}

fn disagreement(row: &Row) -> Result<Disagreement, LedgerError> {
    Ok(Disagreement {
        id: column(row, "id")?,
        kept: column(row, "kept")?,
        logged: column(row, "logged")?,
    })
}
