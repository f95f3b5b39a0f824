//! Webhooks: from the feed into the queue, and from the queue to the receivers.

mod guard;
mod mail;
mod send;
mod sign;
mod under_way;

use std::sync::Arc;
use std::time::Duration;

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
use self::under_way::Sending;
use self::under_way::UnderWay;

/// The pause between two looks at the feed, and at the queue.
const PAUSE: Duration = Duration::from_millis(250);
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
    let sending = Sending::new(&quota, &channels);
    let mut under_way = UnderWay::new(&sending);
    while !stop.is_cancelled() {
        match under_way.look().await {
            Err(QuotaError::Unavailable { .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        let ended = stop.run_until_cancelled(under_way.end_one());
        if let Ok(Some(ended)) = tokio::time::timeout(PAUSE, ended).await {
            ended?;
        }
    }
    under_way.end_all().await
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
