//! Webhooks: from the feed into the queue, and from the queue to the receivers.

mod guard;
mod send;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::config::WebhooksConfig;
use crate::quota::Quota;
use crate::quota::QuotaError;

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
    config: WebhooksConfig,
    stop: CancellationToken,
) -> Result<(), QuotaError> {
    let sender = Sender::new(&config).map_err(|error| QuotaError::Internal(error.into()))?;
    while !stop.is_cancelled() {
        let sent = match deliver_due(&quota, &sender).await {
            Err(QuotaError::Unavailable { .. }) => 0,
            sent => sent?,
        };
        if sent == 0 {
            let _stopped = tokio::time::timeout(PAUSE, stop.cancelled()).await;
        }
    }
    Ok(())
}

async fn deliver_due(quota: &Quota, sender: &Sender) -> Result<usize, QuotaError> {
    let due = quota.take_deliveries(AT_A_TIME).await?;
    let attempts = due.iter().map(|delivery| async {
        let attempt = sender.send(delivery, quota.clock().now_ms()).await;
        quota.end_attempt(delivery, &attempt).await
    });
    for ended in join_all(attempts).await {
        ended?;
    }
    Ok(due.len())
}
