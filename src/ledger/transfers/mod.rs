//! The table `transfers`: gifts of bonus units from one subject to another.
//!
//! A gift is begun here, then Redis takes the units of the giver's grants, then it is completed here. Whoever finds it
//! pending goes on with it: each step is done once, however often it is asked for.

mod begin;
mod complete;
mod refuse;

use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::Metric;
use crate::domain::Units;

use super::Ledger;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::Tx;
use super::tx::column;

pub use begin::BeginOutcome;
pub use begin::NewTransfer;
pub use begin::TransferRefusal;
pub use begin::TransferRules;
pub use complete::Completed;
pub use refuse::RefusedIn;
pub(super) use refuse::reopen;

/// Where a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferState {
    /// It is begun; Redis may or may not have taken the units.
    Pending,
    /// The receiver has the units.
    Done,
    /// The giver did not have the units.
    Refused,
}

impl TransferState {
    const ALL: [Self; 3] = [Self::Pending, Self::Done, Self::Refused];

    /// The name in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// A transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferRow {
    /// Its id, which is the id of the event that takes the units from the giver.
    pub id: Uuid,
    /// Who gives.
    pub from: String,
    /// Who receives.
    pub to: String,
    /// What is given.
    pub metric: Metric,
    /// Units given.
    pub amount: Units,
    /// Where it is.
    pub state: TransferState,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// When it was done or refused.
    pub ended_at: Option<DateTime<Utc>>,
    /// What the giver says.
    pub note: Option<String>,
    /// Who asked for it: the id of an API key, or `cli`.
    pub actor: String,
    /// The request's id.
    pub request_id: Option<String>,
}

/// The most rows in one answer.
const ROWS_MAX: u32 = 1_000;

const TRANSFER: &str = "-- transfer
SELECT
    id, from_subject, to_subject, metric, amount, state, requested_at, ended_at, note, actor,
    request_id
FROM transfers WHERE id = $1";

const PENDING_TRANSFERS: &str = "-- pending_transfers
SELECT
    id, from_subject, to_subject, metric, amount, state, requested_at, ended_at, note, actor,
    request_id
FROM transfers
WHERE
    state = 'pending'
    AND begun_at NOT BETWEEN now() - make_interval(secs => $1) AND now() + make_interval(secs => $1)
ORDER BY begun_at, id LIMIT $2";

const LOCK_TRANSFER: &str = "-- lock_transfer
SELECT
    id, from_subject, to_subject, metric, amount, state, requested_at, ended_at, note, actor,
    request_id
FROM transfers WHERE id = $1 FOR UPDATE";

impl Ledger {
    /// The transfer with that id.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn transfer(&self, id: Uuid) -> Result<Option<TransferRow>, LedgerError> {
        let rows = self.connection().await?.rows(TRANSFER, &[&id]).await?;
        rows.first().map(read).transpose()
    }

    /// The pending transfers that are older than `after` by Postgres' clock, the oldest first; at most `limit` and at most 1,000.
    /// Those that lie as far ahead are among them: the clock was ahead then.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn pending_transfers(
        &self,
        after: Duration,
        limit: u32,
    ) -> Result<Vec<TransferRow>, LedgerError> {
        let (after_s, limit) = (after.as_secs_f64(), i64::from(limit.min(ROWS_MAX)));
        let rows = self.connection().await?.rows(PENDING_TRANSFERS, &[&after_s, &limit]).await?;
        rows.iter().map(read).collect()
    }
}

async fn find(tx: &Tx, sql: &str, id: Uuid) -> Result<Option<TransferRow>, LedgerError> {
    let rows = tx.rows(sql, &[&id]).await?;
    rows.first().map(read).transpose()
}

fn read(row: &Row) -> Result<TransferRow, LedgerError> {
    let unknown =
        |what: &str| LedgerError::Internal(format!("a transfer of an unknown {what}").into());
    let (metric, state): (String, String) = (column(row, "metric")?, column(row, "state")?);
    let state = TransferState::ALL.into_iter().find(|it| it.as_str() == state);
    Ok(TransferRow {
        id: column(row, "id")?,
        from: column(row, "from_subject")?,
        to: column(row, "to_subject")?,
        metric: Metric::new(&metric).map_err(|_| unknown("metric"))?,
        amount: Units::new(unsigned(column(row, "amount")?)?).map_err(|_| unknown("amount"))?,
        state: state.ok_or_else(|| unknown("state"))?,
        requested_at: column(row, "requested_at")?,
        ended_at: column(row, "ended_at")?,
        note: column(row, "note")?,
        actor: column(row, "actor")?,
        request_id: column(row, "request_id")?,
    })
}
