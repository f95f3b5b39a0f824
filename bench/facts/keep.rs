//! How fast the flusher keeps rollups, beside the bare insert of the same rows.

use std::time::Duration;
use std::time::Instant;

use headroom::domain::Event;
use headroom::embedded::PostgresServer;
use headroom::ledger::Batch;
use headroom::ledger::FlushGuards;
use headroom::ledger::Ledger;
use tokio_util::sync::CancellationToken;

use super::database;
use crate::Failure;
use crate::traffic::Traffic;

/// As many events as `flusher.batch_events_max` by default.
const BATCH: usize = 5_000;
const FOLD_PAUSE: Duration = Duration::from_secs(5);
/// Midnight of 2026-11-01 (UTC).
const START_S: i64 = 1_793_491_200;

/// How fast the same rows are written, in rows a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// Log, counters, rollups and cursor.
    pub(crate) flushed: f64,
    /// The log alone.
    pub(crate) logged: f64,
}

/// Flushes events of realistic traffic, and in turn logs the same alone, round by round.
pub(crate) async fn keep(
    postgres: &PostgresServer,
    rounds: usize,
    events: u64,
    subjects: u64,
) -> Result<Vec<Kept>, Failure> {
    let whole = database(postgres, "whole").await?.ledger;
    let bare = database(postgres, "bare").await?.ledger;
    let mut all = Vec::new();
    let mut seq = 0;
    for round in 0..rounds {
        let traffic =
            Traffic { seed: round as u64 + 1, events, subjects, start_s: START_S, days: 1 };
        let events: Vec<Event> = traffic.events().collect();
        let started_at = Instant::now();
        let done = CancellationToken::new();
        let flushing = async {
            for part in events.chunks(BATCH) {
                seq = flush(&whole, seq, part.to_vec()).await?;
            }
            done.cancel();
            Ok::<(), Failure>(())
        };
        let folding = fold(&whole, &done);
        tokio::try_join!(flushing, folding)?;
        let flushed = per_second(events.len(), started_at.elapsed());
        let started_at = Instant::now();
        for part in events.chunks(BATCH) {
            bare.log_alone(part).await?;
        }
        let logged = per_second(events.len(), started_at.elapsed());
        eprintln!("round {round} flushed {flushed:.0} rows/s, logged alone {logged:.0} rows/s");
        all.push(Kept { flushed, logged });
    }
    Ok(all)
}

async fn flush(ledger: &Ledger, from_seq: u64, events: Vec<Event>) -> Result<u64, Failure> {
    let to_seq = from_seq + events.len() as u64;
    let batch = Batch { shard: 0, epoch: 1, from_seq, to_seq, events, ..Batch::default() };
    ledger.flush(&batch, FlushGuards::default()).await?;
    Ok(to_seq)
}

/// Folds when it is due as nodes do, and at the end what is left.
async fn fold(ledger: &Ledger, done: &CancellationToken) -> Result<(), Failure> {
    while !done.is_cancelled() {
        let _done = tokio::time::timeout(FOLD_PAUSE, done.cancelled()).await;
        if done.is_cancelled() || ledger.are_rollups_due().await? {
            while ledger.fold_rollups().await? > 0 {}
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
