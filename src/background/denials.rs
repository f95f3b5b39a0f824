//! Refusals: moves what a node has refused into Postgres, several times a second.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::quota::Quota;
use crate::quota::QuotaError;

/// A quarter of the second within which a refusal is in Postgres.
const PAUSE: Duration = Duration::from_millis(250);

/// Writes until the token is cancelled, and then once more. Waits for a Postgres that is away; what does not fit into the
/// queue meanwhile is dropped and counted.
///
/// # Errors
///
/// [`QuotaError`] when something is wrong that waiting does not mend; the supervisor starts the loop again.
pub async fn run(quota: Arc<Quota>, stop: CancellationToken) -> Result<(), QuotaError> {
    while !stop.is_cancelled() {
        write(&quota).await?;
        let _stopped = tokio::time::timeout(PAUSE, stop.cancelled()).await;
    }
    write(&quota).await
}

async fn write(quota: &Quota) -> Result<(), QuotaError> {
    match quota.write_denials().await {
        Err(QuotaError::Unavailable { .. }) => Ok(()),
        outcome => outcome,
    }
}
