//! The flusher: moves the outbox of each shard into Postgres, for as long as the service runs.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::quota::FlushState;
use crate::quota::FlushStep;
use crate::quota::Quota;
use crate::quota::QuotaError;

/// Passes after the stop signal, so that a graceful stop leaves the outbox empty when it can.
const LAST_PASSES_MAX: usize = 100;

/// Flushes one shard until the token is cancelled, then as far as [`LAST_PASSES_MAX`] passes reach.
///
/// # Errors
///
/// [`QuotaError`] when a store is away; the supervisor starts the loop again.
pub async fn run(
    quota: Arc<Quota>,
    shard: u16,
    idle_poll: Duration,
    stop: CancellationToken,
) -> Result<(), QuotaError> {
    let mut state = FlushState::default();
    while !stop.is_cancelled() {
        if quota.flush(shard, &mut state).await? == FlushStep::Idle {
            let _stopped = tokio::time::timeout(idle_poll, stop.cancelled()).await;
        }
    }
    for _ in 0..LAST_PASSES_MAX {
        if quota.flush(shard, &mut state).await? == FlushStep::Idle {
            break;
        }
    }
    Ok(())
}
