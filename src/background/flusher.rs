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
/// The pause after a pass that found a store away.
const AWAY_PAUSE: Duration = Duration::from_millis(200);

/// Flushes one shard until the token is cancelled, then as far as [`LAST_PASSES_MAX`] passes reach.
///
/// # Errors
///
/// [`QuotaError`] when something is wrong that waiting for a store does not mend; the supervisor starts the loop again.
pub async fn run(
    quota: Arc<Quota>,
    shard: u16,
    idle_poll: Duration,
    stop: CancellationToken,
) -> Result<(), QuotaError> {
    let mut state = FlushState::default();
    flush_until_stopped(&quota, shard, idle_poll, (&mut state, &stop)).await?;
    for _ in 0..LAST_PASSES_MAX {
        if quota.flush(shard, &mut state).await? == FlushStep::Idle {
            break;
        }
    }
    Ok(())
}

async fn flush_until_stopped(
    quota: &Quota,
    shard: u16,
    idle_poll: Duration,
    (state, stop): (&mut FlushState, &CancellationToken),
) -> Result<(), QuotaError> {
    let mut was_away = false;
    while !stop.is_cancelled() {
        let flushed = quota.flush(shard, state).await;
        let away = flushed.as_ref().err().map(ToString::to_string);
        let pause = pause_after(flushed, idle_poll)?;
        if let Some(error) = away.as_ref().filter(|_| !was_away) {
            // Said once, not five times a second.
            tracing::warn!(shard, error, "the flusher waits for a store");
        }
        was_away = away.is_some();
        if !pause.is_zero() {
            let _stopped = tokio::time::timeout(pause, stop.cancelled()).await;
        }
    }
    Ok(())
}

fn pause_after(
    step: Result<FlushStep, QuotaError>,
    idle_poll: Duration,
) -> Result<Duration, QuotaError> {
    match step {
        Ok(FlushStep::Flushed(_) | FlushStep::Again) => Ok(Duration::ZERO),
        Ok(FlushStep::Idle) => Ok(idle_poll),
        Err(QuotaError::Unavailable { .. }) => Ok(AWAY_PAUSE),
        Err(error) => Err(error),
    }
}
