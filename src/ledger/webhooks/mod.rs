//! The tables `webhooks`, `webhook_deliveries` and `webhook_state`: who is told of what happens, and what is sent.

mod queue;
mod write;

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::SignalKind;
use crate::domain::Webhook;
use crate::domain::WebhookFormat;
use crate::domain::WebhookSecret;

use super::Ledger;
use super::audit_log::Act;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::column;

pub use queue::NewDelivery;
pub use queue::WebhookFan;

/// Webhooks of an installation: more are refused.
pub const WEBHOOKS_MAX: usize = 100;

const WEBHOOKS: &str = "-- webhooks
SELECT webhook_id, url, format, types, subject, enabled, disabled_reason, since_place
FROM webhooks ORDER BY webhook_id LIMIT 1000";

const DELIVERIES: &str = "-- deliveries
SELECT
    event_id, type, state, attempts, next_at, last_status, last_error, created_at, ended_at
FROM webhook_deliveries WHERE webhook_id = $1 ORDER BY created_at DESC, event_id DESC LIMIT $2";

/// A delivery as the log of deliveries has it.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// The id of what happened.
    pub event_id: Uuid,
    /// The type of what happened.
    pub kind: String,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// How often it was sent.
    pub attempts: u64,
    /// When it is sent next, when it is.
    pub next_at: Option<DateTime<Utc>>,
    /// The status of the last answer.
    pub last_status: Option<i64>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When it was put into the queue.
    pub created_at: DateTime<Utc>,
    /// When it was taken or given up.
    pub ended_at: Option<DateTime<Utc>>,
}

impl Ledger {
    /// All webhooks, the oldest first; at most 1,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, LedgerError> {
        let rows = self.connection().await?.rows(WEBHOOKS, &[]).await?;
        rows.iter().map(read).collect()
    }

    /// Keeps a new webhook, which is told of what happens from now on, and records the act. Answers `false` when there are too
    /// many.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when a column does not take it.
    pub async fn insert_webhook(
        &self,
        webhook: &Webhook,
        secret: &WebhookSecret,
        act: &Act<'_>,
    ) -> Result<bool, LedgerError> {
        let tx = self.begin().await?;
        let outcome = write::insert(&tx, webhook, secret, act).await;
        tx.end(outcome).await
    }

    /// Changes a webhook, begins to send again when the service had stopped, and records the act. Answers `false` when there
    /// is none.
    ///
    /// # Errors
    ///
    /// As [`Ledger::insert_webhook`].
    pub async fn update_webhook(
        &self,
        webhook: &Webhook,
        act: &Act<'_>,
    ) -> Result<bool, LedgerError> {
        let tx = self.begin().await?;
        let outcome = write::update(&tx, webhook, act).await;
        tx.end(outcome).await
    }

    /// Takes a webhook away with its deliveries, and records the act. Answers `false` when there is none.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn delete_webhook(&self, id: Uuid, act: &Act<'_>) -> Result<bool, LedgerError> {
        let tx = self.begin().await?;
        let outcome = write::delete(&tx, id, act).await;
        tx.end(outcome).await
    }

    /// The latest deliveries of a webhook, the newest first; at most `limit`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn deliveries(&self, id: Uuid, limit: u32) -> Result<Vec<DeliveryRow>, LedgerError> {
        let rows = self.connection().await?.rows(DELIVERIES, &[&id, &i64::from(limit)]).await?;
        rows.iter().map(read_delivery).collect()
    }

    /// Sends a delivery again, or all that were given up, and records the act. Answers how many.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn replay(
        &self,
        id: Uuid,
        event_id: Option<Uuid>,
        act: &Act<'_>,
    ) -> Result<u64, LedgerError> {
        let tx = self.begin().await?;
        let outcome = write::replay(&tx, id, event_id, act).await;
        tx.end(outcome).await
    }
}

fn read(row: &Row) -> Result<Webhook, LedgerError> {
    let types: Vec<String> = column(row, "types")?;
    let kinds: Option<_> = types.iter().map(|name| SignalKind::named(name)).collect();
    Ok(Webhook {
        id: column(row, "webhook_id")?,
        url: column(row, "url")?,
        format: read_format(row)?,
        kinds: kinds.ok_or_else(unknown)?,
        subject: column(row, "subject")?,
        enabled: column(row, "enabled")?,
        disabled_reason: column(row, "disabled_reason")?,
        since_place: unsigned(column(row, "since_place")?)?,
    })
}

fn read_format(row: &Row) -> Result<WebhookFormat, LedgerError> {
    WebhookFormat::named(&column::<String>(row, "format")?).ok_or_else(unknown)
}

fn unknown() -> LedgerError {
    LedgerError::Internal("a webhook holds what this version cannot name".into())
}

fn read_delivery(row: &Row) -> Result<DeliveryRow, LedgerError> {
    let state: String = column(row, "state")?;
    let next_at: DateTime<Utc> = column(row, "next_at")?;
    Ok(DeliveryRow {
        event_id: column(row, "event_id")?,
        kind: column(row, "type")?,
        next_at: (state == "pending").then_some(next_at),
        state,
        attempts: unsigned(column(row, "attempts")?)?,
        last_status: column(row, "last_status")?,
        last_error: column(row, "last_error")?,
        created_at: column(row, "created_at")?,
        ended_at: column(row, "ended_at")?,
    })
}
