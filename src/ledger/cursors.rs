//! The table `outbox_cursors`: how far each shard's outbox is in Postgres.

use tokio_postgres::Row;
use uuid::Uuid;

use super::Ledger;
use super::convert::signed;
use super::convert::small;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::Tx;
use super::tx::column;

/// How far the outbox of a shard is in Postgres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The shard, from 0.
    pub shard: u16,
    /// The shard's epoch, from 1.
    pub epoch: u64,
    /// The last event of the epoch in the log; 0 before the first.
    pub seq: u64,
    /// The token of the recovery that began the epoch.
    pub fence: Option<Uuid>,
    /// Subjects whose counters in Redis must be loaded anew.
    pub forget: Vec<String>,
}

/// Where a flush moves a cursor to.
pub(super) struct Move<'a> {
    pub(super) shard: u16,
    pub(super) epoch: u64,
    pub(super) from_seq: u64,
    pub(super) to_seq: u64,
    /// The new list of subjects to forget, when it changed.
    pub(super) forget: Option<&'a [String]>,
    /// Whether the cursor must still be at (epoch, `from_seq`).
    pub(super) compare: bool,
}

const INITIALISE_CURSORS: &str = "-- initialise_cursors
INSERT INTO outbox_cursors (shard)
SELECT generate_series(0, $1::bigint - 1) ON CONFLICT DO NOTHING";

const CURSOR: &str = "-- cursor
SELECT shard, epoch, seq, fence, forget FROM outbox_cursors WHERE shard = $1";

const CURSORS: &str = "-- cursors
SELECT shard, epoch, seq, fence, forget FROM outbox_cursors ORDER BY shard";

const LOCK_CURSOR: &str = "-- lock_cursor
SELECT shard, epoch, seq, fence, forget FROM outbox_cursors WHERE shard = $1 FOR UPDATE";

const CURSORS_PAST: &str = "-- cursors_past
SELECT NOT EXISTS (
    SELECT FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS place (shard, epoch, seq)
    LEFT JOIN outbox_cursors AS cursor USING (shard)
    WHERE (cursor.epoch, cursor.seq) >= (place.epoch, place.seq) IS NOT TRUE
) AS past";

const MOVE_CURSOR: &str = "-- move_cursor
UPDATE outbox_cursors
SET seq = $4, forget = coalesce($5, forget), updated_at = now()
WHERE shard = $1 AND epoch = $2 AND seq = $3";

const MOVE_CURSOR_BLINDLY: &str = "-- move_cursor_blindly
UPDATE outbox_cursors
SET seq = $2, forget = coalesce($3, forget), updated_at = now()
WHERE shard = $1";

const BEGIN_EPOCH: &str = "-- begin_epoch
UPDATE outbox_cursors
SET epoch = $2, seq = 0, fence = $3, forget = '{}', updated_at = now()
WHERE shard = $1";

const FORGOTTEN: &str = "-- forgotten
UPDATE outbox_cursors
SET forget = ARRAY(SELECT name FROM unnest(forget) AS name WHERE name <> ALL ($4)), updated_at = now()
WHERE shard = $1 AND epoch = $2 AND seq = $3";

impl Ledger {
    /// The cursor of a shard.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Internal`] when there is no such shard.
    pub async fn cursor(&self, shard: u16) -> Result<Cursor, LedgerError> {
        let rows = self.connection().await?.rows(CURSOR, &[&i64::from(shard)]).await?;
        only(&rows)
    }

    /// The cursors of all shards, in order.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn cursors(&self) -> Result<Vec<Cursor>, LedgerError> {
        let rows = self.connection().await?.rows(CURSORS, &[]).await?;
        rows.iter().map(read).collect()
    }

    /// Whether everything up to these places, each a shard, an epoch and a seq, is in Postgres. What was not and whose epoch is
    /// over was lost, and never will be: such a place is passed, too.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn cursors_past(&self, places: &[(u16, u64, u64)]) -> Result<bool, LedgerError> {
        let shards: Vec<i64> = places.iter().map(|place| i64::from(place.0)).collect();
        let epochs = places.iter().map(|place| signed(place.1)).collect::<Result<Vec<_>, _>>()?;
        let seqs = places.iter().map(|place| signed(place.2)).collect::<Result<Vec<_>, _>>()?;
        let row = self.connection().await?.row(CURSORS_PAST, &[&shards, &epochs, &seqs]).await?;
        column(&row, "past")
    }

    /// Takes exactly these names off the shard's list once Redis has forgotten them.
    ///
    /// Answers `false`, and takes nothing, when the cursor is no longer at (`epoch`, `seq`): a later flush may have put
    /// the same name there again, and whoever made it has the whole list.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn forgotten(
        &self,
        shard: u16,
        epoch: u64,
        seq: u64,
        names: &[String],
    ) -> Result<bool, LedgerError> {
        let connection = self.connection().await?;
        let (epoch, seq) = (signed(epoch)?, signed(seq)?);
        let changed =
            connection.execute(FORGOTTEN, &[&i64::from(shard), &epoch, &seq, &names]).await?;
        Ok(changed == 1)
    }
}

/// Makes the cursors that are missing.
pub(super) async fn initialise(tx: &Tx, shards: u16) -> Result<(), LedgerError> {
    tx.execute(INITIALISE_CURSORS, &[&i64::from(shards)]).await?;
    Ok(())
}

/// The cursor of a shard, held until the transaction ends.
pub(super) async fn lock(tx: &Tx, shard: u16) -> Result<Cursor, LedgerError> {
    let rows = tx.rows(LOCK_CURSOR, &[&i64::from(shard)]).await?;
    only(&rows)
}

/// Moves the cursor, which must change exactly one row.
pub(super) async fn advance(tx: &Tx, to: &Move<'_>) -> Result<(), LedgerError> {
    let shard = i64::from(to.shard);
    let (epoch, from_seq, to_seq) = (signed(to.epoch)?, signed(to.from_seq)?, signed(to.to_seq)?);
    let changed = if to.compare {
        tx.execute(MOVE_CURSOR, &[&shard, &epoch, &from_seq, &to_seq, &to.forget]).await?
    } else {
        tx.execute(MOVE_CURSOR_BLINDLY, &[&shard, &to_seq, &to.forget]).await?
    };
    if changed == 1 { Ok(()) } else { Err(LedgerError::CursorMoved) }
}

/// Begins `epoch` with nothing flushed and nothing to forget.
pub(super) async fn begin_epoch(
    tx: &Tx,
    shard: u16,
    epoch: i64,
    fence: Uuid,
) -> Result<(), LedgerError> {
    tx.execute(BEGIN_EPOCH, &[&i64::from(shard), &epoch, &fence]).await?;
    Ok(())
}

fn only(rows: &[Row]) -> Result<Cursor, LedgerError> {
    rows.first().map_or_else(|| Err(LedgerError::Internal("no such shard".into())), read)
}

fn read(row: &Row) -> Result<Cursor, LedgerError> {
    Ok(Cursor {
        shard: small(column(row, "shard")?)?,
        epoch: unsigned(column(row, "epoch")?)?,
        seq: unsigned(column(row, "seq")?)?,
        fence: column(row, "fence")?,
        forget: column(row, "forget")?,
    })
}
