//! How much of Redis' memory subjects, pending events and idempotency records take: `used_memory` of `INFO memory` before
//! and after requests to the service, divided by their number. Nothing is written past the service's own scripts.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use headroom::counters::keys;
use headroom::embedded::PostgresServer;

use crate::Failure;
use crate::Plan;
use crate::load::CONNECTIONS;
use crate::load::Load;
use crate::load::Until;
use crate::page;
use crate::stand::Flusher;
use crate::stand::Stand;

const POLL: Duration = Duration::from_millis(50);
const TRIM_WAIT: Duration = Duration::from_mins(2);

/// Bytes of Redis' memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// How many of each there were.
    active: u64,
    /// The service, without a subject.
    empty: u64,
    /// With all subjects, nothing pending.
    full: u64,
    /// Of one active subject with two limits.
    subject: f64,
    /// Of one event that is not in Postgres yet, and what tells that its subject has one.
    event: f64,
    /// Of one idempotency record.
    record: f64,
}

/// Charges every subject once, flushes, and charges each again under a new key.
pub(crate) async fn run(
    dir: &Path,
    postgres: &PostgresServer,
    plan: Plan,
) -> Result<Memory, Failure> {
    let mut stand = Stand::start(dir, postgres, "memory", Flusher::None, plan).await?;
    stand.set("HEADROOM_FLUSHER_TRIM_LAG_S", "0");
    let mut redis = redis::Client::open(stand.redis.url())?.get_connection()?;
    let empty = used(&mut redis)?;
    charge(&mut stand, plan, None).await?;
    let pending = used(&mut redis)?;
    stand.start_flusher().await?;
    trimmed(&stand, &mut redis).await?;
    let full = used(&mut redis)?;
    charge(&mut stand, plan, Some("memory".to_owned())).await?;
    trimmed(&stand, &mut redis).await?;
    let recorded = used(&mut redis)?;
    Ok(Memory {
        active: plan.active,
        empty,
        full,
        subject: each(empty, full, plan.active),
        event: each(full, pending, plan.active),
        record: each(full, recorded, plan.active),
    })
}

/// One accepted request of every subject.
async fn charge(stand: &mut Stand, plan: Plan, key: Option<String>) -> Result<(), Failure> {
    let load = stand.load(plan.active, Until::Count(plan.active));
    let outcome = Load { idempotency: key, ..load }.run().await?;
    stand.accepted += outcome.count();
    Ok(())
}

/// Waits until everything is in Postgres and nothing is left in the outbox.
async fn trimmed(stand: &Stand, redis: &mut redis::Connection) -> Result<(), Failure> {
    stand.wait_flushed().await?;
    let started_at = Instant::now();
    loop {
        let left: u64 = redis::cmd("XLEN").arg(keys::outbox(0)).query(redis)?;
        if left == 0 {
            return Ok(());
        }
        if started_at.elapsed() > TRIM_WAIT {
            return Err(format!("{left} entries stay in the outbox").into());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Bytes that Redis has allocated.
fn used(redis: &mut redis::Connection) -> Result<u64, Failure> {
    let info: String = redis::cmd("INFO").arg("memory").query(redis)?;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.ok_or("an INFO without used_memory")?.trim().parse()?)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn each(before: u64, after: u64, count: u64) -> f64 {
    (after as f64 - before as f64) / count as f64
}

/// The report.
pub(crate) fn text(memory: &Memory) -> String {
    let Memory { active, empty, full, subject, event, record } = memory;
    let mib = |bytes: &u64| bytes >> 20;
    format!(
        "{}. {active} subjects with two limits, {CONNECTIONS} connections.\n\n\
         | in Redis | bytes |\n|---|--:|\n\
         | an active subject | {subject:.0} |\n\
         | a pending event, and what tells that its subject has one | {event:.0} |\n\
         | an idempotency record | {record:.0} |\n\n\
         All of Redis: {} MiB without a subject, {} MiB with {active}.\n",
        page::machine(),
        mib(empty),
        mib(full),
    )
}
