//! The drift auditor: compares both stores, a step a second.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::quota::Quota;
use crate::quota::QuotaError;

/// The pause between two steps. Nodes take turns: a node takes a step when the last one is so old, whoever took it.
const PAUSE: Duration = Duration::from_secs(1);
/// How much earlier a node may be, since its timer and that of Postgres are not one.
const EARLY: Duration = Duration::from_millis(50);

/// Compares about `keys_per_s` keys a second until the token is cancelled. Waits for a store that is away.
///
/// # Errors
///
/// [`QuotaError`] when something is wrong that waiting does not mend; the supervisor starts the loop again.
pub async fn run(
    quota: Arc<Quota>,
    keys_per_s: u32,
    stop: CancellationToken,
) -> Result<(), QuotaError> {
    while !stop.is_cancelled() {
        match quota.audit_drift(keys_per_s, PAUSE - EARLY).await {
            Err(QuotaError::Unavailable { .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        let _stopped = tokio::time::timeout(PAUSE, stop.cancelled()).await;
    }
    Ok(())
}
