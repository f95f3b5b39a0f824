//! Reading one event back from the log.

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::EventKind;
use crate::domain::event::Delta;

use super::Ledger;
use super::convert::unsigned;
use super::error::LedgerError;
use super::lines;
use super::tx::column;

/// An event, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// What kind of change it was.
    pub kind: EventKind,
    /// The whole path that was charged.
    pub subject: String,
    /// When Redis decided.
    pub occurred_at: DateTime<Utc>,
    /// The model that was asked for.
    pub model: Option<String>,
    /// The plan whose limits were in force.
    pub plan: String,
    /// What was asked: of a consume, reserve or commit; `None` of other kinds, and of events from before the log had it.
    pub amount: Option<u64>,
    /// Until when a reserve or an extend holds.
    pub until: Option<DateTime<Utc>>,
    /// The event that it settles.
    pub settles: Option<Uuid>,
    /// What it did to the counters; `after` is not in the log.
    pub deltas: Vec<Delta>,
}

const EVENT: &str = "-- event
SELECT
    kind, subject, occurred_at, model, plan, amount, until, settles, deltas::text AS deltas
FROM message_logs WHERE event_id = $1";

const IS_LOGGED: &str = "-- is_logged
SELECT EXISTS (SELECT FROM message_logs WHERE event_id = $1) AS found";

impl Ledger {
    /// Whether the log has an event with that id.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn is_logged(&self, event_id: Uuid) -> Result<bool, LedgerError> {
        column(&self.connection().await?.row(IS_LOGGED, &[&event_id]).await?, "found")
    }

    /// The event with that id; none when the log does not have it, or when it is the making of a grant, which was not decided
    /// in Redis.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn event(&self, event_id: Uuid) -> Result<Option<LoggedEvent>, LedgerError> {
        let rows = self.connection().await?.rows(EVENT, &[&event_id]).await?;
        rows.first().map_or(Ok(None), read)
    }
}

fn read(row: &Row) -> Result<Option<LoggedEvent>, LedgerError> {
    let name: String = column(row, "kind")?;
    let kinds = (0..=u8::MAX).filter_map(EventKind::coded);
    let Some(kind) = kinds.into_iter().find(|kind| kind.as_str() == name) else { return Ok(None) };
    let amount: Option<i64> = column(row, "amount")?;
    Ok(Some(LoggedEvent {
        kind,
        subject: column(row, "subject")?,
        occurred_at: column(row, "occurred_at")?,
        model: column(row, "model")?,
        plan: column(row, "plan")?,
        amount: amount.map(unsigned).transpose()?,
        until: column(row, "until")?,
        settles: column(row, "settles")?,
        deltas: lines::read(&column::<String>(row, "deltas")?)?,
    }))
}
