//! Who does what the plan says: one hand on the stores, the other on the nodes and their networks.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use headroom::clock::Clock;
use headroom::counters::keys;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::Failure;
use crate::archive::Archive;
use crate::fleet::Node;
use crate::pair::Pair;
use crate::plan::NodeFault;
use crate::plan::Step;
use crate::plan::StoreFault;
use crate::processes::signal;
use crate::processes::signal_family;
use crate::proxy::Loss;
use crate::proxy::Network;

/// How long everybody has to notice a loss before a node that remembers it may be killed, and the other way round: how long
/// others have to see what a killed node saw. What nobody remembers cannot be noticed (docs/RELIABILITY.md).
const MEMORY: Duration = Duration::from_millis(800);
/// The steps of a clock, in milliseconds: back a little, ahead a little, past the hour and past the day.
const CLOCK_STEPS_MS: [i64; 4] = [-2_000, 5_000, 3_600_000, 93_600_000];

/// How often each fault happened.
pub(crate) type Tally = BTreeMap<String, u64>;

/// What was done when, a line a fault, for whoever looks for the cause of a breach.
pub(crate) struct Journal(PathBuf);

impl Journal {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.join("nemesis.log"))
    }

    fn note<F: Debug>(&self, what: &str, step: &Step<F>) -> Result<(), Failure> {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.0)?;
        Ok(writeln!(file, "{} {what} {step:?}", Clock::system().now().to_rfc3339())?)
    }
}

/// Held while Redis loses something, and while a node that may know of it is killed.
pub(crate) type Memory = Mutex<()>;

fn count<F: Debug>(tally: &mut Tally, fault: F) {
    *tally.entry(format!("{fault:?}")).or_default() += 1;
}

/// The hand on the stores.
pub(crate) struct Stores<'a> {
    pub(crate) pair: &'a mut Pair,
    pub(crate) archive: &'a mut Archive,
    pub(crate) memory: &'a Memory,
    pub(crate) journal: &'a Journal,
    pub(crate) shards: u16,
}

impl Stores<'_> {
    pub(crate) async fn follow(mut self, steps: &[Step<StoreFault>]) -> Result<Tally, Failure> {
        let mut tally = Tally::new();
        for step in steps {
            sleep(step.after).await;
            self.journal.note("begins", step)?;
            if self.strike(step).await? {
                count(&mut tally, step.fault);
                self.journal.note("is over", step)?;
            }
        }
        Ok(tally)
    }

    /// `false` when the fault cannot be had here, or now.
    async fn strike(&mut self, step: &Step<StoreFault>) -> Result<bool, Failure> {
        use StoreFault as F;
        match step.fault {
            F::PostgresKilled => self.archive.crash().await.map(|()| true),
            F::PostgresPaused => self.pause_postgres(step.length).await.map(|()| true),
            F::PostgresRestored => self.restore_postgres(step.length).await,
            F::RedisPaused => self.pause_redis(step.length).await.map(|()| true),
            F::RedisFull => self.fill_redis(step.length).await.map(|()| true),
            F::DiskFull => self.fill_disk(step.length).await,
            F::ScriptsForgotten => self.command(&["SCRIPT", "FLUSH"]).await.map(|()| true),
            F::CountersDeleted => self.delete_counters(step.pick).await,
            _ => self.lose(step).await.map(|()| true),
        }
    }

    /// Makes Redis forget something that it had acknowledged.
    async fn lose(&mut self, step: &Step<StoreFault>) -> Result<(), Failure> {
        use StoreFault as F;
        if step.fault == F::RedisRestored {
            self.pair.keep().await?;
            sleep(step.length).await;
        }
        let memory = self.memory;
        let _held = memory.lock().await;
        match step.fault {
            F::RedisFlushed => self.command(&["FLUSHALL"]).await?,
            F::OutboxDeleted => self.delete(keys::outbox).await?,
            F::MetaDeleted => self.delete(keys::meta).await?,
            F::RedisRestored => self.pair.restore().await?,
            F::RedisTruncated => self.pair.truncate(step.pick % 40_000).await?,
            F::FailedOver => self.pair.fail_over(None).await?,
            F::SplitBrain => self.pair.fail_over(Some(step.length / 4)).await?,
            _ => self.pair.crash().await?,
        }
        sleep(MEMORY).await;
        Ok(())
    }

    async fn command(&self, words: &[&str]) -> Result<(), Failure> {
        let mut connection = self.pair.connect().await?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        Ok(command.exec_async(&mut connection).await?)
    }

    async fn delete(&self, key: fn(u16) -> String) -> Result<(), Failure> {
        let keys: Vec<String> = (0..self.shards).map(key).collect();
        let words: Vec<&str> = ["DEL"].into_iter().chain(keys.iter().map(String::as_str)).collect();
        self.command(&words).await
    }

    async fn delete_counters(&self, pick: u64) -> Result<bool, Failure> {
        let mut connection = self.pair.connect().await?;
        let shard = u16::try_from(pick % u64::from(self.shards))?;
        let pattern = keys::subject_pattern(shard);
        let mut keys: Vec<String> =
            redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await?;
        keys.sort();
        let half = keys.into_iter().skip(usize::from(pick.is_multiple_of(3))).step_by(2);
        let half: Vec<String> = half.collect();
        if half.is_empty() {
            return Ok(false);
        }
        redis::cmd("DEL").arg(half).exec_async(&mut connection).await?;
        Ok(true)
    }

    async fn pause_redis(&self, length: Duration) -> Result<(), Failure> {
        signal(self.pair.pid(), "STOP").await?;
        sleep(length).await;
        signal(self.pair.pid(), "CONT").await
    }

    async fn fill_redis(&self, length: Duration) -> Result<(), Failure> {
        self.command(&["CONFIG", "SET", "maxmemory", "1"]).await?;
        sleep(length).await;
        self.command(&["CONFIG", "SET", "maxmemory", "0"]).await
    }

    /// A Redis that syncs before each answer ends when it cannot write; it is started again when there is room.
    async fn fill_disk(&mut self, length: Duration) -> Result<bool, Failure> {
        let Some(disk) = self.pair.disk() else { return Ok(false) };
        disk.fill().await?;
        sleep(length).await;
        disk.clear()?;
        if self.command(&["PING"]).await.is_err() {
            self.pair.revive().await?;
        }
        Ok(true)
    }

    async fn pause_postgres(&self, length: Duration) -> Result<(), Failure> {
        signal_family(self.archive.server.pid(), "STOP").await?;
        sleep(length).await;
        signal_family(self.archive.server.pid(), "CONT").await
    }

    /// Takes Postgres back. What was flushed meanwhile is still in the outbox, unless the epoch ended meanwhile: then it is
    /// nowhere else, and no promise covers it.
    async fn restore_postgres(&mut self, length: Duration) -> Result<bool, Failure> {
        let memory = self.memory;
        let _held = memory.lock().await;
        self.archive.keep().await?;
        let before = self.archive.epochs().await?;
        sleep(length).await;
        if self.archive.epochs().await? != before {
            return Ok(false);
        }
        self.archive.restore().await?;
        Ok(true)
    }
}

/// The hand on the nodes.
pub(crate) struct Nodes<'a> {
    pub(crate) nodes: &'a mut [Node],
    pub(crate) memory: &'a Memory,
    pub(crate) journal: &'a Journal,
}

impl Nodes<'_> {
    pub(crate) async fn follow(self, steps: &[Step<NodeFault>]) -> Result<Tally, Failure> {
        let mut tally = Tally::new();
        let count_of_nodes = self.nodes.len() as u64;
        for step in steps {
            sleep(step.after).await;
            let node = &mut self.nodes[usize::try_from(step.pick % count_of_nodes)?];
            self.journal.note("begins", step)?;
            strike(node, step, self.memory).await?;
            node.redis.heal();
            node.postgres.heal();
            self.journal.note("is over", step)?;
            count(&mut tally, step.fault);
        }
        Ok(tally)
    }
}

async fn strike(node: &mut Node, step: &Step<NodeFault>, memory: &Memory) -> Result<(), Failure> {
    use NodeFault as F;
    match step.fault {
        F::Killed => return restart(node, memory).await,
        F::ClockStepped => {
            let place = usize::try_from(step.pick / 11 % CLOCK_STEPS_MS.len() as u64)?;
            node.offset_ms += CLOCK_STEPS_MS[place];
            return restart(node, memory).await;
        }
        F::Paused => {
            // Now and then longer than any deadline.
            let times = if step.pick.is_multiple_of(3) { 3 } else { 1 };
            node.signal("STOP").await?;
            sleep(step.length * times).await;
            return node.signal("CONT").await;
        }
        F::ScriptCut => node.redis.cut_next(),
        F::ScriptReplyLost => node.redis.lose_next(NodeFault::loss(step.pick)),
        F::ScriptRepliesLost => node.redis.lose_every(3, Loss::Closed),
        F::RedisBlackHole => node.redis.set(Network::BlackHole),
        F::RedisRefused => node.redis.set(Network::Refusing),
        F::CommitCut => node.postgres.cut_next(),
        F::CommitReplyLost => node.postgres.lose_next(NodeFault::loss(step.pick)),
        F::PostgresBlackHole => node.postgres.set(Network::BlackHole),
    }
    sleep(step.length).await;
    Ok(())
}

/// A node must not be the only one that knows of what Redis is losing when it is killed.
async fn restart(node: &mut Node, memory: &Memory) -> Result<(), Failure> {
    let held = memory.lock().await;
    node.kill().await?;
    sleep(MEMORY / 2).await;
    drop(held);
    node.start().await
}
