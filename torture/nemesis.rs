//! Who does what the plan says: one hand on the stores, the other on the nodes and their networks.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use headroom::clock::Clock;
use headroom::counters::keys;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::Failure;
use crate::archive::Archive;
use crate::fleet::Node;
use crate::plan::NodeFault;
use crate::plan::Step;
use crate::plan::StoreFault;
use crate::processes::signal_family;
use crate::proxy::Loss;
use crate::proxy::Network;
use crate::proxy::Proxy;
use crate::redises::Redises;
use crate::usage;

/// How long everybody has at least to notice a loss before a node that remembers it may be killed, and the other way round: how
/// long others have to see what a killed node saw. What nobody remembers cannot be noticed (docs/RELIABILITY.md).
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
    pub(crate) redises: &'a mut Redises,
    pub(crate) archive: &'a mut Archive,
    pub(crate) memory: &'a Memory,
    pub(crate) journal: &'a Journal,
    pub(crate) shards: u16,
    /// Where nodes answer, and their key.
    pub(crate) nodes: Vec<SocketAddr>,
    pub(crate) key: &'static str,
    /// A subject of each shard.
    pub(crate) subjects: Vec<String>,
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
        let shard = u16::try_from(step.pick % u64::from(self.shards))?;
        match step.fault {
            F::PostgresKilled => self.archive.crash().await?,
            F::PostgresPaused => self.pause_postgres(step.length).await?,
            F::PostgresRestored => return self.restore_postgres(step.length).await,
            F::RedisPaused => self.pause_redis(shard, step.length).await?,
            F::RedisFull => self.fill_redis(shard, step.length).await?,
            F::DiskFull => return self.fill_disk(shard, step.length).await,
            F::ScriptsForgotten => self.tell(shard, &["SCRIPT", "FLUSH"]).await?,
            F::CountersDeleted => return self.delete_counters(shard, step.pick).await,
            F::SlotMoved => return self.redises.move_shard(shard, step.pick / 5).await,
            _ => self.lose(shard, step).await?,
        }
        Ok(true)
    }

    /// Makes Redis forget something that it had acknowledged.
    async fn lose(&mut self, shard: u16, step: &Step<StoreFault>) -> Result<(), Failure> {
        use StoreFault as F;
        if step.fault == F::RedisRestored {
            self.redises.primary(shard).await?.keep().await?;
            sleep(step.length).await;
        }
        let memory = self.memory;
        let _held = memory.lock().await;
        self.forget(shard, step).await?;
        sleep(MEMORY).await;
        self.await_decisions().await;
        Ok(())
    }

    async fn forget(&mut self, shard: u16, step: &Step<StoreFault>) -> Result<(), Failure> {
        use StoreFault as F;
        match step.fault {
            F::FailedOver => return self.redises.fail_over(shard, None).await,
            F::SplitBrain => return self.redises.fail_over(shard, Some(step.length / 4)).await,
            _ => {}
        }
        let primary = self.redises.primary(shard).await?;
        match step.fault {
            F::RedisFlushed => primary.tell(&["FLUSHALL"]).await,
            F::OutboxDeleted => primary.tell(&["DEL", &keys::outbox(shard)]).await,
            F::MetaDeleted => primary.tell(&["DEL", &keys::meta(shard)]).await,
            // By now another server may decide, of which nothing was put aside.
            F::RedisRestored => primary.restore().await,
            F::RedisTruncated => primary.truncate(step.pick % 40_000).await,
            _ => primary.crash().await,
        }
    }

    /// Waits until each node that runs has met each shard as it is now.
    async fn await_decisions(&self) {
        let pairs =
            self.nodes.iter().flat_map(|node| self.subjects.iter().map(move |it| (node, it)));
        let asked = pairs.map(|(node, it)| usage::await_decision(*node, self.key, it));
        join_all(asked).await;
    }

    async fn tell(&mut self, shard: u16, words: &[&str]) -> Result<(), Failure> {
        self.redises.primary(shard).await?.tell(words).await
    }

    async fn delete_counters(&mut self, shard: u16, pick: u64) -> Result<bool, Failure> {
        let primary = self.redises.primary(shard).await?;
        let mut keys: Vec<String> = primary.ask(&["KEYS", &keys::subject_pattern(shard)]).await?;
        keys.sort();
        let half = keys.iter().skip(usize::from(pick.is_multiple_of(3))).step_by(2);
        let words: Vec<&str> = ["DEL"].into_iter().chain(half.map(String::as_str)).collect();
        if words.len() == 1 {
            return Ok(false);
        }
        primary.tell(&words).await?;
        Ok(true)
    }

    async fn pause_redis(&mut self, shard: u16, length: Duration) -> Result<(), Failure> {
        // The same one, even if others elect another meanwhile.
        let primary = self.redises.primary(shard).await?;
        primary.signal("STOP").await?;
        sleep(length).await;
        primary.signal("CONT").await
    }

    async fn fill_redis(&mut self, shard: u16, length: Duration) -> Result<(), Failure> {
        let primary = self.redises.primary(shard).await?;
        primary.tell(&["CONFIG", "SET", "maxmemory", "1"]).await?;
        sleep(length).await;
        primary.tell(&["CONFIG", "SET", "maxmemory", "0"]).await
    }

    async fn fill_disk(&mut self, shard: u16, length: Duration) -> Result<bool, Failure> {
        let primary = self.redises.primary(shard).await?;
        if !primary.fill_disk().await? {
            return Ok(false);
        }
        sleep(length).await;
        primary.clear_disk().await?;
        Ok(true)
    }

    async fn pause_postgres(&self, length: Duration) -> Result<(), Failure> {
        signal_family(self.archive.server.pid(), "STOP").await?;
        sleep(length).await;
        signal_family(self.archive.server.pid(), "CONT").await
    }

    /// Takes Postgres back. What was flushed meanwhile is still in the outbox, unless a recovery began a new epoch meanwhile, or
    /// a node told of one: then it is nowhere else, and no promise covers it.
    async fn restore_postgres(&mut self, length: Duration) -> Result<bool, Failure> {
        let memory = self.memory;
        let _held = memory.lock().await;
        self.archive.keep().await?;
        let before = self.archive.recoveries().await?;
        sleep(length).await;
        if self.archive.recoveries().await? != before {
            return Ok(false);
        }
        self.archive.restore().await?;
        Ok(true)
    }
}

/// The hand on the nodes.
pub(crate) struct Nodes<'a> {
    pub(crate) all: &'a mut [Node],
    pub(crate) memory: &'a Memory,
    pub(crate) journal: &'a Journal,
}

impl Nodes<'_> {
    pub(crate) async fn follow(self, steps: &[Step<NodeFault>]) -> Result<Tally, Failure> {
        let mut tally = Tally::new();
        let count_of_nodes = self.all.len() as u64;
        for step in steps {
            sleep(step.after).await;
            let node = &mut self.all[usize::try_from(step.pick % count_of_nodes)?];
            self.journal.note("begins", step)?;
            strike(node, step, self.memory).await?;
            node.redis.iter().for_each(Proxy::heal);
            node.postgres.heal();
            self.journal.note("is over", step)?;
            count(&mut tally, step.fault);
        }
        Ok(tally)
    }
}

async fn strike(node: &mut Node, step: &Step<NodeFault>, memory: &Memory) -> Result<(), Failure> {
    use NodeFault as F;
    let redis = node.redis.clone().into_iter();
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
        F::ScriptCut => redis.for_each(|way| way.cut_next()),
        F::ScriptReplyLost => redis.for_each(|way| way.lose_next(NodeFault::loss(step.pick))),
        F::ScriptRepliesLost => redis.for_each(|way| way.lose_every(3, Loss::Closed)),
        F::RedisBlackHole => redis.for_each(|way| way.set(Network::BlackHole)),
        F::RedisRefused => redis.for_each(|way| way.set(Network::Refusing)),
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
