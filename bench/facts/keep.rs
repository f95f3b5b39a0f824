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
const BATCH: usize = 20_000;
const FOLD_PAUSE: Duration = Duration::from_secs(5);
/// Midnight of 2026-11-01 (UTC).
const START_S: i64 = 1_793_491_200;

/// How long the same rows took to write, over all rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// Rows.
    rows: usize,
    /// Log, counters, rollups and cursor.
    flushing: Duration,
    /// The log alone.
    logging: Duration,
}

impl Kept {
    /// Rows a second with all that a flush keeps.
    pub(crate) fn flushed(&self) -> f64 {
        per_second(self.rows, self.flushing)
    }

    /// Rows a second of the bare insert.
    pub(crate) fn logged(&self) -> f64 {
        per_second(self.rows, self.logging)
    }
}

/// Flushes events of realistic traffic, and in turn logs the same alone, round by round. Folds come when they are due, what is
/// left at the end of a round is folded in the next, and after the last round all is; that time counts, too.
pub(crate) async fn keep(
    postgres: &PostgresServer,
    rounds: usize,
    events: u64,
    subjects: u64,
) -> Result<Kept, Failure> {
    let whole = database(postgres, "whole").await?.ledger;
    let bare = database(postgres, "bare").await?.ledger;
    let mut kept = Kept::default();
    let mut seq = 0;
    for round in 0..rounds {
        let traffic =
            Traffic { seed: round as u64 + 1, events, subjects, start_s: START_S, days: 1 };
        let events: Vec<Event> = traffic.events().collect();
        let flushing = flush_all(&whole, batches(&mut seq, &events)).await?;
        let started_at = Instant::now();
        for part in events.chunks(BATCH) {
            bare.log_alone(part).await?;
        }
        let logging = started_at.elapsed();
        tell(&format!("round {round}"), events.len(), flushing, logging);
        kept.rows += events.len();
        kept.flushing += flushing;
        kept.logging += logging;
    }
    let started_at = Instant::now();
    while whole.fold_rollups().await? > 0 {}
    kept.flushing += started_at.elapsed();
    eprintln!("the last fold took {} ms", started_at.elapsed().as_millis());
    tell("in all", kept.rows, kept.flushing, kept.logging);
    Ok(kept)
}

fn tell(what: &str, rows: usize, flushing: Duration, logging: Duration) {
    let (flushed, logged) = (per_second(rows, flushing), per_second(rows, logging));
    eprintln!("{what}: flushed {flushed:.0} rows/s, logged alone {logged:.0} rows/s");
}

/// Batches as a flusher would have made them of the outbox.
fn batches(seq: &mut u64, events: &[Event]) -> Vec<Batch> {
    let batch = |part: &[Event]| {
        let from_seq = *seq;
        *seq += part.len() as u64;
        let (to_seq, events) = (*seq, part.to_vec());
        Batch { shard: 0, epoch: 1, from_seq, to_seq, events, ..Batch::default() }
    };
    events.chunks(BATCH).map(batch).collect()
}

/// Flushes batches while rollups are folded as nodes would.
async fn flush_all(ledger: &Ledger, batches: Vec<Batch>) -> Result<Duration, Failure> {
    let started_at = Instant::now();
    let done = CancellationToken::new();
    let flushing = async {
        for batch in batches {
            ledger.flush(&batch, FlushGuards::default()).await?;
        }
        done.cancel();
        Ok::<(), Failure>(())
    };
    tokio::try_join!(flushing, fold(ledger, &done))?;
    Ok(started_at.elapsed())
}

/// Folds when it is due, until all is flushed.
async fn fold(ledger: &Ledger, done: &CancellationToken) -> Result<(), Failure> {
    while !done.is_cancelled() {
        let _done = tokio::time::timeout(FOLD_PAUSE, done.cancelled()).await;
        if !done.is_cancelled() && ledger.are_rollups_due().await? {
            while !done.is_cancelled() && ledger.fold_rollups().await? > 0 {}
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
