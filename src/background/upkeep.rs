//! What has to be done now and then: partitions, API keys, metrics.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Calls `work` at once and then every `pause`, until the token is cancelled.
///
/// # Errors
///
/// The first error of `work`; the supervisor starts the loop again.
pub async fn every<E, F, W>(pause: Duration, stop: CancellationToken, mut work: W) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
    W: FnMut() -> F,
{
    while !stop.is_cancelled() {
        work().await?;
        let _stopped = tokio::time::timeout(pause, stop.cancelled()).await;
    }
    Ok(())
}
