//! Changes of webhooks, each with its act in the audit log.

use serde_json::json;
use uuid::Uuid;

use crate::domain::Webhook;
use crate::domain::WebhookSecret;

use super::super::audit_log;
use super::super::audit_log::Act;
use super::super::convert::signed;
use super::super::error::LedgerError;
use super::super::tx::Params;
use super::super::tx::Tx;
use super::WEBHOOKS_MAX;
use super::read;

const WEBHOOK: &str = "-- webhook
SELECT webhook_id, url, format, types, subject, enabled, disabled_reason, since_place
FROM webhooks WHERE webhook_id = $1 FOR UPDATE";

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

const REPLAY: &str = "-- replay_deliveries
UPDATE webhook_deliveries
SET state = 'pending', attempts = 0, next_at = now(), ended_at = NULL
WHERE webhook_id = $1 AND state <> 'pending' AND (event_id = $2 OR $2 IS NULL AND state = 'failed')";

pub(super) async fn insert(
    tx: &Tx,
    webhook: &Webhook,
    secret: &WebhookSecret,
    act: &Act<'_>,
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
    if tx.execute(INSERT_WEBHOOK, params).await? == 0 {
        return Ok(false);
    }
    audit_log::insert(tx, act, None, Some(&text_of(webhook))).await?;
    Ok(true)
}

pub(super) async fn update(tx: &Tx, webhook: &Webhook, act: &Act<'_>) -> Result<bool, LedgerError> {
    let Some(before) = lock(tx, webhook.id).await? else { return Ok(false) };
    let (format, types) = (webhook.format.as_str(), types_of(webhook));
    let params: Params<'_> =
        &[&webhook.id, &webhook.url, &format, &types, &webhook.subject, &webhook.enabled];
    tx.execute(UPDATE_WEBHOOK, params).await?;
    audit_log::insert(tx, act, Some(&before), Some(&text_of(webhook))).await?;
    Ok(true)
}

pub(super) async fn delete(tx: &Tx, id: Uuid, act: &Act<'_>) -> Result<bool, LedgerError> {
    let Some(before) = lock(tx, id).await? else { return Ok(false) };
    tx.execute(DELETE_WEBHOOK, &[&id]).await?;
    audit_log::insert(tx, act, Some(&before), None).await?;
    Ok(true)
}

pub(super) async fn replay(
    tx: &Tx,
    id: Uuid,
    event_id: Option<Uuid>,
    act: &Act<'_>,
) -> Result<u64, LedgerError> {
    let replayed = tx.execute(REPLAY, &[&id, &event_id]).await?;
    let after = json!({ "event_id": event_id, "replayed": replayed }).to_string();
    audit_log::insert(tx, act, None, Some(&after)).await?;
    Ok(replayed)
}

/// The webhook as the audit log has it; keeps others from changing it.
async fn lock(tx: &Tx, id: Uuid) -> Result<Option<String>, LedgerError> {
    let rows = tx.rows(WEBHOOK, &[&id]).await?;
    let webhook = rows.first().map(read).transpose()?;
    Ok(webhook.as_ref().map(text_of))
}

/// All but the secret, and where the feed stood.
fn text_of(webhook: &Webhook) -> String {
    json!({
        "url": webhook.url,
        "format": webhook.format,
        "types": types_of(webhook),
        "subject": webhook.subject,
        "enabled": webhook.enabled,
        "disabled_reason": webhook.disabled_reason,
    })
    .to_string()
}

fn types_of(webhook: &Webhook) -> Vec<&'static str> {
    webhook.kinds.iter().map(|kind| kind.as_str()).collect()
}
