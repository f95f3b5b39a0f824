//! Giving places in the order of the feed, and taking away what is old.

use super::super::Ledger;
use super::super::convert::signed;
use super::super::convert::unsigned;
use super::super::error::LedgerError;
use super::super::tx::Params;
use super::super::tx::Tx;
use super::super::tx::column;

/// Rows that get their places at once.
const PLACED_MAX: i64 = 1_000;
/// Old rows that go at once.
const DROPPED_MAX: i64 = 1_000;

const FEED_STATE: &str = "-- feed_state
SELECT
    last_place, EXISTS (SELECT FROM feed WHERE place IS NULL) AS has_unplaced
FROM feed_state";

const LOCK_FEED_STATE: &str = "-- lock_feed_state
SELECT last_place FROM feed_state FOR UPDATE SKIP LOCKED";

// A statement of its own: it sees what was committed before the lock was taken.
const PLACE_FEED: &str = "-- place_feed
UPDATE feed SET place = next.place
FROM (
    SELECT id, $1 + row_number() OVER (ORDER BY id) AS place
    FROM (SELECT id FROM feed WHERE place IS NULL ORDER BY id LIMIT $2) AS unplaced
) AS next
WHERE feed.id = next.id";

const MOVE_LAST_PLACE: &str = "-- move_last_place
UPDATE feed_state SET last_place = last_place + $1";

// While somebody is to be told, what was not looked through for webhooks is old later. A row that is gone before its place was
// come to is one that nobody was told of.
const DROP_OLD_FEED: &str = "-- drop_old_feed
WITH told AS MATERIALIZED (
    SELECT
        CASE
            WHEN EXISTS (SELECT FROM webhooks WHERE enabled) THEN place
            ELSE 9223372036854775807
        END AS place
    FROM webhook_state
),
gone AS (
    DELETE FROM feed WHERE place IN (
        SELECT old.place
        FROM (SELECT place, made_at FROM feed WHERE place IS NOT NULL ORDER BY place LIMIT $3) AS old
        CROSS JOIN told
        WHERE
            old.made_at < now() - make_interval(secs => $1::bigint)
            AND (
                old.place <= told.place
                OR old.made_at < now() - make_interval(secs => $2::bigint)
            )
    )
    RETURNING place
)
SELECT count(*) AS rows, count(*) FILTER (WHERE gone.place > told.place) AS untold
FROM gone
CROSS JOIN told";

/// Rows of the feed that were taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedDropped {
    /// How many.
    pub rows: u64,
    /// Those among them that were not looked through for webhooks, though somebody was to be told.
    pub untold: u64,
}

impl Ledger {
    /// Gives places to what was committed since, unless another node is at it, and answers the last place given.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn place_feed(&self) -> Result<u64, LedgerError> {
        let row = self.connection().await?.row(FEED_STATE, &[]).await?;
        if !column::<bool>(&row, "has_unplaced")? {
            return unsigned(column(&row, "last_place")?);
        }
        let tx = self.begin().await?;
        let outcome = place(&tx).await;
        match tx.end(outcome).await? {
            Some(last_place) => unsigned(last_place),
            None => unsigned(column(&row, "last_place")?),
        }
    }

    /// Takes away rows that are older than `keep_s` seconds, of the 1,000 that have the first places. Those that were not looked
    /// through for webhooks stay, while one is enabled, until they are older than `keep_untold_s`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn drop_old_feed(
        &self,
        keep_s: u64,
        keep_untold_s: u64,
    ) -> Result<FeedDropped, LedgerError> {
        let (keep_s, keep_untold_s) = (signed(keep_s)?, signed(keep_untold_s)?);
        let params: Params<'_> = &[&keep_s, &keep_untold_s, &DROPPED_MAX];
        let row = self.connection().await?.row(DROP_OLD_FEED, params).await?;
        let count = |name| unsigned(column(&row, name)?);
        Ok(FeedDropped { rows: count("rows")?, untold: count("untold")? })
    }
}

/// The last place given; `None` when another node gives places at the moment.
async fn place(tx: &Tx) -> Result<Option<i64>, LedgerError> {
    let state = tx.rows(LOCK_FEED_STATE, &[]).await?;
    let Some(row) = state.first() else { return Ok(None) };
    let last_place: i64 = column(row, "last_place")?;
    let placed = signed(tx.execute(PLACE_FEED, &[&last_place, &PLACED_MAX]).await?)?;
    tx.execute(MOVE_LAST_PLACE, &[&placed]).await?;
    Ok(Some(last_place + placed))
}
