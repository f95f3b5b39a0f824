//! The live feed: follows it for this node's readers.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::quota::Quota;
use crate::quota::QuotaError;

/// A tenth of the second within which readers hear of something.
const PAUSE: Duration = Duration::from_millis(100);

/// Follows until the token is cancelled. Waits for a Postgres that is away.
///
/// # Errors
///
/// [`QuotaError`] when something is wrong that waiting does not mend; the supervisor starts the loop again.
pub async fn run(quota: Arc<Quota>, stop: CancellationToken) -> Result<(), QuotaError> {
    while !stop.is_cancelled() {
        match quota.follow_feed().await {
            Err(QuotaError::Unavailable { .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        let _stopped = tokio::time::timeout(PAUSE, stop.cancelled()).await;
    }
    Ok(())
}
