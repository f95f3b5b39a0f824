//! How fast the flusher empties a full outbox, beside `COPY` of the same rows into a table with the same indexes.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use futures_util::SinkExt;
use futures_util::StreamExt;
use headroom::embedded::PostgresServer;

use crate::Failure;
use crate::Plan;
use crate::load::Until;
use crate::stand::Flusher;
use crate::stand::Stand;

const POLL: Duration = Duration::from_millis(2);

/// One round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// Events a second from the outbox into the log and the counters.
    pub(crate) flushed: f64,
    /// The same rows by `COPY … (FORMAT binary)`, without counters.
    pub(crate) copied: f64,
}

/// Fills an outbox and drains it, round by round.
pub(crate) async fn run(
    dir: &Path,
    postgres: &PostgresServer,
    plan: Plan,
) -> Result<Vec<Drain>, Failure> {
    if plan.drain_rounds == 0 {
        return Ok(Vec::new());
    }
    let mut stand = Stand::start(dir, postgres, "drain", Flusher::None, plan).await?;
    let table = "CREATE TABLE copied (LIKE message_logs INCLUDING ALL)";
    stand.database.batch_execute(table).await?;
    let mut drains = Vec::new();
    for round in 1..=plan.drain_rounds {
        let from = stand.accepted;
        let load = stand.load(plan.subjects, Until::Count(plan.drain_events));
        stand.accepted += load.run().await?.count();
        let flushed = flush(&mut stand).await?;
        let copied = copy(&stand, from).await?;
        eprintln!("round {round} flushed {flushed:.0} rows/s, COPY {copied:.0} rows/s");
        drains.push(Drain { flushed, copied });
    }
    Ok(drains)
}

/// Starts the flusher and times it from its first batch on, so that the start of the process does not count.
async fn flush(stand: &mut Stand) -> Result<f64, Failure> {
    let before = stand.flushed().await?;
    stand.start_flusher().await?;
    let mut first = stand.flushed().await?;
    while first == before {
        tokio::time::sleep(POLL).await;
        first = stand.flushed().await?;
    }
    let started_at = Instant::now();
    stand.wait_flushed().await?;
    let elapsed = started_at.elapsed();
    if let Some(flusher) = stand.background.take() {
        flusher.kill().await?;
    }
    Ok(per_second(stand.accepted - first, elapsed))
}

async fn copy(stand: &Stand, from: u64) -> Result<f64, Failure> {
    let select = format!(
        "COPY (SELECT * FROM message_logs WHERE seq > {from} ORDER BY seq) TO STDOUT (FORMAT binary)"
    );
    let rows: Vec<_> = stand.database.copy_out(&select).await?.collect().await;
    let count = stand.accepted - from;
    let started_at = Instant::now();
    let sink = stand.database.copy_in("COPY copied FROM STDIN (FORMAT binary)").await?;
    let mut sink = std::pin::pin!(sink);
    for row in rows {
        sink.feed(row?).await?;
    }
    let copied = sink.finish().await?;
    if copied != count {
        return Err(format!("copied {copied} rows of {count}").into());
    }
    Ok(per_second(count, started_at.elapsed()))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
