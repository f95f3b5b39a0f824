//! The hand on the nodes, their networks, and PgBouncer.

use tokio::time::sleep;

use super::Journal;
use super::Memory;
use super::SIGHT;
use super::Tally;
use super::count;
use crate::Failure;
use crate::fleet::Node;
use crate::plan::NodeFault;
use crate::plan::Step;
use crate::pooler::Pooler;
use crate::proxy::Loss;
use crate::proxy::Network;
use crate::proxy::Proxy;

/// The steps of a node's clock, in milliseconds: back a little, ahead a little, past the hour and past the day.
const CLOCK_STEPS_MS: [i64; 4] = [-2_000, 5_000, 3_600_000, 93_600_000];

/// The hand on the nodes.
pub(crate) struct Nodes<'a> {
    pub(crate) all: &'a mut [Node],
    pub(crate) pooler: &'a mut Option<Pooler>,
    pub(crate) memory: &'a Memory,
    pub(crate) journal: &'a Journal,
    /// Whether servers of Redis elect another in the place of one that cannot be reached.
    pub(crate) is_elected: bool,
}

impl Nodes<'_> {
    pub(crate) async fn follow(mut self, steps: &[Step<NodeFault>]) -> Result<Tally, Failure> {
        let mut tally = Tally::new();
        let count_of_nodes = self.all.len() as u64;
        for step in steps {
            sleep(step.after).await;
            let node = usize::try_from(step.pick % count_of_nodes)?;
            self.journal.note("begins", step)?;
            let is_done = self.strike(node, step).await?;
            self.all[node].redis.iter().for_each(Proxy::heal);
            self.all[node].postgres.heal();
            if is_done {
                count(&mut tally, step.fault);
                self.journal.note("is over", step)?;
            }
        }
        Ok(tally)
    }

    /// `false` when the fault cannot be had here.
    async fn strike(&mut self, node: usize, step: &Step<NodeFault>) -> Result<bool, Failure> {
        use NodeFault as F;
        match step.fault {
            F::Killed | F::ClockStepped | F::Paused => {
                strike_process(&mut self.all[node], step, self.memory).await?;
            }
            F::RedisBlackHole => self.cut_off(node, step, Network::BlackHole).await?,
            F::RedisRefused => self.cut_off(node, step, Network::Refusing).await?,
            F::PoolerKilled | F::PoolerPaused => return self.strike_pooler(step).await,
            _ => strike_requests(&self.all[node], step).await,
        }
        Ok(true)
    }

    /// Cuts a way to Redis off that is used. Where others are elected meanwhile, nobody may be killed until all know.
    async fn cut_off(
        &self,
        node: usize,
        step: &Step<NodeFault>,
        network: Network,
    ) -> Result<(), Failure> {
        let ways = self.all[node].redis.iter().map(|way| (way.take_seen(), way));
        let ways: Vec<_> = ways.collect();
        let most = ways.iter().map(|(seen, _)| *seen).max().unwrap_or(0);
        let used: Vec<&Proxy> =
            ways.iter().filter(|(seen, _)| seen * 4 >= most).map(|(_, way)| *way).collect();
        let place = usize::try_from(step.pick / 13).unwrap_or(0) % used.len().max(1);
        let Some(way) = used.get(place) else { return Ok(()) };
        if !self.is_elected {
            way.set(network);
            sleep(step.length).await;
            return Ok(());
        }
        let _held = self.memory.hold().await;
        way.set(network);
        sleep(step.length).await;
        way.heal();
        // Replicas would otherwise wait for what was lost, and a failover within that time would forget seconds.
        way.close();
        self.memory.refresh().await
    }

    async fn strike_pooler(&mut self, step: &Step<NodeFault>) -> Result<bool, Failure> {
        let Some(pooler) = self.pooler else { return Ok(false) };
        if step.fault == NodeFault::PoolerPaused {
            pooler.signal("STOP").await?;
            sleep(step.length).await;
            pooler.signal("CONT").await?;
        } else {
            pooler.kill().await?;
            sleep(step.length).await;
            pooler.revive().await?;
        }
        Ok(true)
    }
}

async fn strike_process(
    node: &mut Node,
    step: &Step<NodeFault>,
    memory: &Memory,
) -> Result<(), Failure> {
    match step.fault {
        NodeFault::Killed => restart(node, memory).await,
        NodeFault::ClockStepped => {
            let place = usize::try_from(step.pick / 11 % CLOCK_STEPS_MS.len() as u64)?;
            node.offset_ms += CLOCK_STEPS_MS[place];
            restart(node, memory).await
        }
        _ => {
            // Now and then longer than any deadline.
            let times = if step.pick.is_multiple_of(3) { 3 } else { 1 };
            node.signal("STOP").await?;
            sleep(step.length * times).await;
            node.signal("CONT").await
        }
    }
}

/// Strikes the requests that matter while it lasts.
async fn strike_requests(node: &Node, step: &Step<NodeFault>) {
    let redis = node.redis.iter();
    match step.fault {
        NodeFault::ScriptCut => redis.for_each(Proxy::cut_next),
        NodeFault::ScriptReplyLost => {
            redis.for_each(|way| way.lose_next(NodeFault::loss(step.pick)));
        }
        NodeFault::ScriptRepliesLost => redis.for_each(|way| way.lose_every(3, Loss::Closed)),
        NodeFault::CommitCut => node.postgres.cut_next(),
        NodeFault::CommitReplyLost => node.postgres.lose_next(NodeFault::loss(step.pick)),
        _ => node.postgres.set(Network::BlackHole),
    }
    sleep(step.length).await;
}

/// A node must not be the only one that knows of what Redis is losing when it is killed.
async fn restart(node: &mut Node, memory: &Memory) -> Result<(), Failure> {
    let held = memory.hold_for_a_kill().await?;
    node.kill().await?;
    sleep(SIGHT).await;
    drop(held);
    node.start().await
}
