//! Giving places in the order of the feed, and taking away what is old.

use super::super::Ledger;
use super::super::convert::signed;
use super::super::convert::unsigned;
use super::super::error::LedgerError;
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

const DROP_OLD_FEED: &str = "-- drop_old_feed
DELETE FROM feed WHERE place IN (
    SELECT place FROM feed
    WHERE place IS NOT NULL AND made_at < now() - make_interval(secs => $1::bigint)
    ORDER BY place LIMIT $2
)";

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

    /// Takes away rows that are older than `keep_s` seconds, at most 1,000, and answers how many.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn drop_old_feed(&self, keep_s: u64) -> Result<u64, LedgerError> {
        let connection = self.connection().await?;
        connection.execute(DROP_OLD_FEED, &[&signed(keep_s)?, &DROPPED_MAX]).await
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
