//! The tables `webhooks`, `webhook_deliveries` and `webhook_state`: who is told of what happens, and what is sent.

mod queue;

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::SignalKind;
use crate::domain::Webhook;
use crate::domain::WebhookFormat;
use crate::domain::WebhookSecret;

use super::Ledger;
use super::convert::signed;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::Params;
use super::tx::column;

pub use queue::NewDelivery;
pub use queue::WebhookFan;

/// Webhooks of an installation: more are refused.
pub const WEBHOOKS_MAX: usize = 100;

const WEBHOOKS: &str = "-- webhooks
SELECT webhook_id, url, format, types, subject, enabled, disabled_reason, since_place
FROM webhooks ORDER BY webhook_id LIMIT 1000";

const INSERT_WEBHOOK: &str = "-- insert_webhook
INSERT INTO webhooks (webhook_id, url, secret, format, types, subject, enabled, since_place)
SELECT $1, $2, $3, $4, $5, $6, $7, last_place FROM feed_state
WHERE (SELECT count(*) FROM webhooks) < $8";

const UPDATE_WEBHOOK: &str = "-- update_webhook
UPDATE webhooks
SET url = $2, format = $3, types = $4, subject = $5, enabled = $6, disabled_reason = NULL
WHERE webhook_id = $1";

const DELETE_WEBHOOK: &str = "-- delete_webhook
DELETE FROM webhooks WHERE webhook_id = $1";

const DELIVERIES: &str = "-- deliveries
SELECT
    event_id, type, state, attempts, next_at, last_status, last_error, created_at, ended_at
FROM webhook_deliveries WHERE webhook_id = $1 ORDER BY created_at DESC, event_id DESC LIMIT $2";

const REPLAY: &str = "-- replay_deliveries
UPDATE webhook_deliveries
SET state = 'pending', attempts = 0, next_at = now(), ended_at = NULL
WHERE webhook_id = $1 AND state <> 'pending' AND (event_id = $2 OR $2 IS NULL AND state = 'failed')";

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

    /// Keeps a new webhook, which is told of what happens from now on. Answers `false` when there are too many.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when a column does not take it.
    pub async fn insert_webhook(
        &self,
        webhook: &Webhook,
        secret: &WebhookSecret,
    ) -> Result<bool, LedgerError> {
        let (format, types) = (webhook.format.as_str(), types_of(webhook));
        let most = signed(WEBHOOKS_MAX as u64)?;
        let params: Params<'_> = &[
            &webhook.id,
            &webhook.url,
            &secret.0,
            &format,
            &types,
            &webhook.subject,
            &webhook.enabled,
            &most,
        ];
        Ok(self.connection().await?.execute(INSERT_WEBHOOK, params).await? == 1)
    }

    /// Changes a webhook, and begins to send again when the service had stopped. Answers `false` when there is none.
    ///
    /// # Errors
    ///
    /// As [`Ledger::insert_webhook`].
    pub async fn update_webhook(&self, webhook: &Webhook) -> Result<bool, LedgerError> {
        let (format, types) = (webhook.format.as_str(), types_of(webhook));
        let params: Params<'_> =
            &[&webhook.id, &webhook.url, &format, &types, &webhook.subject, &webhook.enabled];
        Ok(self.connection().await?.execute(UPDATE_WEBHOOK, params).await? == 1)
    }

    /// Takes a webhook away with its deliveries. Answers `false` when there is none.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn delete_webhook(&self, id: Uuid) -> Result<bool, LedgerError> {
        Ok(self.connection().await?.execute(DELETE_WEBHOOK, &[&id]).await? == 1)
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

    /// Sends a delivery again, or all that were given up. Answers how many.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn replay(&self, id: Uuid, event_id: Option<Uuid>) -> Result<u64, LedgerError> {
        self.connection().await?.execute(REPLAY, &[&id, &event_id]).await
    }
}

fn types_of(webhook: &Webhook) -> Vec<&'static str> {
    webhook.kinds.iter().map(|kind| kind.as_str()).collect()
}

fn read(row: &Row) -> Result<Webhook, LedgerError> {
    let unknown = || LedgerError::Internal("a webhook holds what this version cannot name".into());
    let types: Vec<String> = column(row, "types")?;
    let kinds: Option<_> = types.iter().map(|name| SignalKind::named(name)).collect();
    let format = WebhookFormat::named(&column::<String>(row, "format")?);
    Ok(Webhook {
        id: column(row, "webhook_id")?,
        url: column(row, "url")?,
        format: format.ok_or_else(unknown)?,
        kinds: kinds.ok_or_else(unknown)?,
        subject: column(row, "subject")?,
        enabled: column(row, "enabled")?,
        disabled_reason: column(row, "disabled_reason")?,
        since_place: unsigned(column(row, "since_place")?)?,
    })
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
