//! The tables `reservations` and `reservation_holds`: the life of each reservation, and what the open ones hold.

mod keep;
mod rows;

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::event::Delta;

use super::Ledger;
use super::convert::small;
use super::convert::unsigned;
use super::error::LedgerError;
use super::lines;
use super::tx::column;

pub(super) use keep::keep;

/// Where a reservation is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReservationState {
    /// It holds units.
    Open,
    /// The work was settled with the amount that it took.
    Committed,
    /// The units were given back unused.
    Released,
    /// The hold ended by itself.
    Expired,
    /// The work was settled after the hold had ended.
    Late,
}

impl ReservationState {
    const ALL: [Self; 5] = [Self::Open, Self::Committed, Self::Released, Self::Expired, Self::Late];

    /// The name in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Late => "late",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A reservation, as far as its events are in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationRow {
    /// Its id, which is the id of its reserve event.
    pub id: Uuid,
    /// The shard of the subject.
    pub shard: u16,
    /// The whole path that holds units.
    pub subject: String,
    /// The model that was asked for.
    pub model: Option<String>,
    /// What was asked to be held.
    pub amount: u64,
    /// The plan whose limits were in force.
    pub plan: String,
    /// When the hold ends by itself.
    pub until: DateTime<Utc>,
    /// When it began.
    pub reserved_at: DateTime<Utc>,
    /// The request's id when it is not the reservation's own.
    pub request_id: Option<String>,
    /// The caller's metadata, as JSON text.
    pub metadata: Option<String>,
    /// Where it is in its life.
    pub state: ReservationState,
    /// When it ended; `None` while it is open.
    pub ended_at: Option<DateTime<Utc>>,
    /// The amount that was committed, if it was.
    pub committed: Option<u64>,
    /// What it holds, or held last, of each counter: positive lines, each [`crate::domain::Tally::Held`].
    pub lines: Vec<Delta>,
}

/// The most rows in one answer.
const ROWS_MAX: u32 = 1_000;

const RESERVATION: &str = "-- reservation
SELECT
    id, shard, subject, model, amount, plan, until, reserved_at, request_id,
    metadata::text AS metadata, state, ended_at, committed, lines::text AS lines
FROM reservations WHERE id = $1 AND reserved_at IS NOT NULL";

const OPEN_RESERVATIONS: &str = "-- open_reservations
SELECT
    id, shard, subject, model, amount, plan, until, reserved_at, request_id,
    metadata::text AS metadata, state, ended_at, committed, lines::text AS lines
FROM reservations WHERE subject = $1 AND state = 'open' ORDER BY id DESC LIMIT $2";

const DUE_RESERVATIONS: &str = "-- due_reservations
SELECT
    id, shard, subject, model, amount, plan, until, reserved_at, request_id,
    metadata::text AS metadata, state, ended_at, committed, lines::text AS lines
FROM reservations WHERE until <= $1 AND state = 'open' ORDER BY until, id LIMIT $2";

const IS_NO_LONGER_KEPT: &str = "-- is_reservation_no_longer_kept
SELECT $1 < message_log_bound(reservations_from) AS gone FROM retention_state";

impl Ledger {
    /// The reservation, in whatever state; none when its reserve is not in the log.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn reservation(&self, id: Uuid) -> Result<Option<ReservationRow>, LedgerError> {
        let rows = self.connection().await?.rows(RESERVATION, &[&id]).await?;
        rows.first().map(read).transpose()
    }

    /// Whether the reservation is so old that, had it ended, it would have been dropped.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn is_no_longer_kept(&self, id: Uuid) -> Result<bool, LedgerError> {
        column(&self.connection().await?.row(IS_NO_LONGER_KEPT, &[&id]).await?, "gone")
    }

    /// The open reservations of the subject at `path` itself, the newest first; at most `limit` and at most 1,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn reservations_of(
        &self,
        path: &str,
        limit: u32,
    ) -> Result<Vec<ReservationRow>, LedgerError> {
        let limit = i64::from(limit.min(ROWS_MAX));
        let rows = self.connection().await?.rows(OPEN_RESERVATIONS, &[&path, &limit]).await?;
        rows.iter().map(read).collect()
    }

    /// The open reservations of all shards whose hold has ended by `now`, the longest overdue first; at most `limit` and at
    /// most 1,000. Nothing is locked: any number of nodes may expire them, since each end has one event id.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn due_reservations(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<ReservationRow>, LedgerError> {
        let limit = i64::from(limit.min(ROWS_MAX));
        let rows = self.connection().await?.rows(DUE_RESERVATIONS, &[&now, &limit]).await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &Row) -> Result<ReservationRow, LedgerError> {
    let state = ReservationState::named(&column::<String>(row, "state")?);
    let committed: Option<i64> = column(row, "committed")?;
    Ok(ReservationRow {
        id: column(row, "id")?,
        shard: small(column(row, "shard")?)?,
        subject: column(row, "subject")?,
        model: column(row, "model")?,
        amount: unsigned(column(row, "amount")?)?,
        plan: column(row, "plan")?,
        until: column(row, "until")?,
        reserved_at: column(row, "reserved_at")?,
        request_id: column(row, "request_id")?,
        metadata: column(row, "metadata")?,
        state: state.ok_or_else(|| LedgerError::Internal("an unknown state".into()))?,
        ended_at: column(row, "ended_at")?,
        committed: committed.map(unsigned).transpose()?,
        lines: lines::read(&column::<String>(row, "lines")?)?,
    })
}
