//! The hand on the stores.

use std::time::Duration;

use headroom::counters::keys;
use tokio::time::sleep;

use super::Journal;
use super::Memory;
use super::Tally;
use super::count;
use crate::Failure;
use crate::archive::Archive;
use crate::plan::Step;
use crate::plan::StoreFault;
use crate::processes::signal_family;
use crate::redises::Redises;

/// The hand on the stores.
pub(crate) struct Stores<'a> {
    pub(crate) redises: &'a mut Redises,
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
        let shard = u16::try_from(step.pick % u64::from(self.shards))?;
        if step.fault.is_loss() {
            self.lose(shard, step).await?;
            return Ok(true);
        }
        if step.fault.may_depose() && self.redises.elects() {
            let memory = self.memory;
            let _held = memory.hold().await;
            let is_done = self.disturb(shard, step).await?;
            memory.refresh().await?;
            return Ok(is_done);
        }
        self.disturb(shard, step).await
    }

    /// What by itself makes no store forget anything.
    async fn disturb(&mut self, shard: u16, step: &Step<StoreFault>) -> Result<bool, Failure> {
        use StoreFault as F;
        match step.fault {
            F::PostgresKilled => self.archive.crash().await?,
            F::PostgresPaused => self.pause_postgres(step.length).await?,
            F::PostgresRestored => return self.restore_postgres(step.length).await,
            F::RedisPaused => self.pause_redis(shard, step.length).await?,
            F::RedisFull => self.fill_redis(shard, step.length).await?,
            F::DiskFull => return self.fill_disk(shard, step.length).await,
            F::CountersDeleted => return self.delete_counters(shard, step.pick).await,
            F::SlotMoved => return self.redises.move_shard(shard, step.pick / 5).await,
            F::RedisClockStepped => return self.redises.step_clock(shard, step.pick / 5).await,
            _ => self.redises.primary(shard).await?.tell(&["SCRIPT", "FLUSH"]).await?,
        }
        Ok(true)
    }

    /// Makes Redis forget something that it had acknowledged.
    async fn lose(&mut self, shard: u16, step: &Step<StoreFault>) -> Result<(), Failure> {
        if step.fault == StoreFault::RedisRestored {
            self.redises.primary(shard).await?.keep().await?;
            sleep(step.length).await;
        }
        let memory = self.memory;
        let _held = memory.hold().await;
        self.forget(shard, step).await?;
        memory.refresh().await
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
        let _held = memory.hold().await;
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
