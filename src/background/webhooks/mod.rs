//! Webhooks: from the feed into the queue, and from the queue to the receivers.

mod guard;
mod mail;
mod send;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::config::EmailConfig;
use crate::config::WebhooksConfig;
use crate::domain::Attempt;
use crate::domain::Delivery;
use crate::domain::WebhookFormat;
use crate::quota::Quota;
use crate::quota::QuotaError;

use self::mail::Mailer;
use self::send::Sender;

/// The pause between two looks at the feed, and at the queue.
const PAUSE: Duration = Duration::from_millis(250);
/// Deliveries that a node makes at a time. The slowest of them is over after the time-out.
const AT_A_TIME: u32 = 16;
/// Pages of the feed in one look.
const PAGES_MAX: usize = 64;

/// Puts what happens into the queue until the token is cancelled. Waits for a Postgres that is away.
///
/// # Errors
///
/// [`QuotaError`] when something is wrong that waiting does not mend; the supervisor starts the loop again.
pub async fn fan_out(quota: Arc<Quota>, stop: CancellationToken) -> Result<(), QuotaError> {
    while !stop.is_cancelled() {
        for _ in 0..PAGES_MAX {
            match quota.fan_out().await {
                Ok(true) => {}
                Ok(false) | Err(QuotaError::Unavailable { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        let _stopped = tokio::time::timeout(PAUSE, stop.cancelled()).await;
    }
    Ok(())
}

/// Sends what is due until the token is cancelled. Waits for a Postgres that is away.
///
/// # Errors
///
/// As [`fan_out`].
pub async fn deliver(
    quota: Arc<Quota>,
    (webhooks, email): (WebhooksConfig, EmailConfig),
    stop: CancellationToken,
) -> Result<(), QuotaError> {
    let channels = Channels::new(&webhooks, &email)?;
    while !stop.is_cancelled() {
        let sent = match deliver_due(&quota, &channels).await {
            Err(QuotaError::Unavailable { .. }) => 0,
            sent => sent?,
        };
        if sent == 0 {
            let _stopped = tokio::time::timeout(PAUSE, stop.cancelled()).await;
        }
    }
    Ok(())
}

/// The ways that lead to receivers.
struct Channels {
    http: Sender,
    mail: Mailer,
}

impl Channels {
    fn new(webhooks: &WebhooksConfig, email: &EmailConfig) -> Result<Self, QuotaError> {
        let http = Sender::new(webhooks).map_err(|error| QuotaError::Internal(error.into()))?;
        let mail = Mailer::new(email, webhooks.timeout());
        let mail = mail.map_err(|error| QuotaError::Internal(error.into()))?;
        Ok(Self { http, mail })
    }

    async fn send(&self, delivery: &Delivery, now_ms: i64) -> Attempt {
        match delivery.format {
            WebhookFormat::Email => self.mail.send(delivery).await,
            WebhookFormat::Standard | WebhookFormat::Slack | WebhookFormat::Discord => {
                self.http.send(delivery, now_ms).await
            }
        }
    }
}

async fn deliver_due(quota: &Quota, channels: &Channels) -> Result<usize, QuotaError> {
    let due = quota.take_deliveries(AT_A_TIME).await?;
    let attempts = due.iter().map(|delivery| async {
        let attempt = channels.send(delivery, quota.clock().now_ms()).await;
        quota.end_attempt(delivery, &attempt).await
    });
    for ended in join_all(attempts).await {
        ended?;
    }
    Ok(due.len())
}
