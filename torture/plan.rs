//! What will go wrong in a run: a pure function of its seed.

use std::time::Duration;

use crate::dice::Dice;
use crate::proxy::Loss;

/// How Redis is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Topology {
    /// One with a replica, which takes over by hand.
    Single,
    /// One with a replica, which a sentinel promotes.
    Sentinel,
    /// Three primaries with a replica each.
    Cluster,
}

impl Topology {
    /// Each of them.
    pub(crate) const ALL: [Self; 3] = [Self::Single, Self::Sentinel, Self::Cluster];

    /// As it is given on the command line, and called in docs/RELIABILITY.md.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// What the nemesis does to the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StoreFault {
    /// SIGKILL, and a start on its files.
    RedisKilled,
    /// SIGSTOP, and SIGCONT.
    RedisPaused,
    /// `FLUSHALL`.
    RedisFlushed,
    /// `SCRIPT FLUSH`.
    ScriptsForgotten,
    /// `DEL` of half of the subjects' counters.
    CountersDeleted,
    /// `DEL` of the outboxes.
    OutboxDeleted,
    /// `DEL` of the shards' state.
    MetaDeleted,
    /// SIGKILL, and a start on files of a while ago.
    RedisRestored,
    /// SIGKILL, and a start on an append-only file whose end is missing.
    RedisTruncated,
    /// A `maxmemory` that is used up.
    RedisFull,
    /// No room on the disk.
    DiskFull,
    /// The primary is killed, and another Redis takes its place.
    FailedOver,
    /// Another Redis takes the primary's place while some nodes still write to the old one.
    SplitBrain,
    /// A shard's slot moves to another primary of the cluster.
    SlotMoved,
    /// The clock of a Redis goes ahead or back.
    RedisClockStepped,
    /// SIGKILL, and a start.
    PostgresKilled,
    /// SIGSTOP of all its processes, and SIGCONT.
    PostgresPaused,
    /// A start on files of a while ago.
    PostgresRestored,
}

/// What the nemesis does to the nodes and their networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NodeFault {
    /// SIGKILL, and a start.
    Killed,
    /// SIGSTOP, and SIGCONT.
    Paused,
    /// A restart that takes Redis' time for ahead of or behind what others take it for.
    ClockStepped,
    /// The connection to Redis is closed before the next script call.
    ScriptCut,
    /// The next script call is executed and its reply lost.
    ScriptReplyLost,
    /// Every third script call loses its reply.
    ScriptRepliesLost,
    /// Neither requests nor replies of Redis arrive, and nobody is told.
    RedisBlackHole,
    /// Redis cannot be reached.
    RedisRefused,
    /// The connection to Postgres is closed before the next `COMMIT`.
    CommitCut,
    /// The next `COMMIT` is executed and its reply lost.
    CommitReplyLost,
    /// Neither requests nor replies of Postgres arrive, and nobody is told.
    PostgresBlackHole,
    /// SIGKILL of PgBouncer, and a start after a while.
    PoolerKilled,
    /// SIGSTOP of PgBouncer, and SIGCONT.
    PoolerPaused,
}

/// A fault, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step<F> {
    /// The quiet before it.
    pub(crate) after: Duration,
    pub(crate) fault: F,
    /// How long it lasts, where it lasts.
    pub(crate) length: Duration,
    /// Chooses among nodes, amounts and the like.
    pub(crate) pick: u64,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) topology: Topology,
    pub(crate) length: Duration,
    pub(crate) nodes: usize,
    /// Whether the last node alone flushes, and the others alone answer.
    pub(crate) has_own_flusher: bool,
    /// Whether Redis syncs its file before each answer, and not every second.
    pub(crate) is_synced: bool,
    /// How many nodes, the last ones, reach Postgres through PgBouncer.
    pub(crate) pooled: usize,
    /// Whether grants are made and given away. They are in Postgres alone, so Postgres is not taken back then.
    pub(crate) has_gifts: bool,
    /// One after the other.
    pub(crate) stores: Vec<Step<StoreFault>>,
    /// One after the other, beside those of the stores.
    pub(crate) network: Vec<Step<NodeFault>>,
}

const STORE_FAULTS: &[StoreFault] = &[
    StoreFault::RedisKilled,
    StoreFault::RedisPaused,
    StoreFault::RedisFlushed,
    StoreFault::ScriptsForgotten,
    StoreFault::CountersDeleted,
    StoreFault::OutboxDeleted,
    StoreFault::MetaDeleted,
    StoreFault::RedisRestored,
    StoreFault::RedisTruncated,
    StoreFault::RedisFull,
    StoreFault::DiskFull,
    StoreFault::FailedOver,
    StoreFault::SplitBrain,
    StoreFault::SlotMoved,
    StoreFault::RedisClockStepped,
    StoreFault::PostgresKilled,
    StoreFault::PostgresPaused,
    StoreFault::PostgresRestored,
];

const NODE_FAULTS: &[NodeFault] = &[
    NodeFault::Killed,
    NodeFault::Paused,
    NodeFault::ClockStepped,
    NodeFault::ScriptCut,
    NodeFault::ScriptReplyLost,
    NodeFault::ScriptRepliesLost,
    NodeFault::RedisBlackHole,
    NodeFault::RedisRefused,
    NodeFault::CommitCut,
    NodeFault::CommitReplyLost,
    NodeFault::PostgresBlackHole,
    NodeFault::PoolerKilled,
    NodeFault::PoolerPaused,
];

impl Plan {
    /// What happens in `length` by that seed.
    pub(crate) fn of(seed: u64, topology: Topology, length: Duration) -> Self {
        let mut dice = Dice::new(seed);
        let nodes = 2 + usize::from(dice.below(2) == 1);
        let has_own_flusher = nodes == 3 && dice.below(3) == 0;
        let is_synced = dice.below(3) == 0;
        let pooled = dice.choose(&[0, 1, nodes]);
        let has_gifts = dice.below(2) == 0;
        let mut of_stores = STORE_FAULTS.to_vec();
        of_stores.retain(|it| *it != StoreFault::SlotMoved || topology == Topology::Cluster);
        of_stores.retain(|it| *it != StoreFault::PostgresRestored || !has_gifts);
        let mut of_nodes = NODE_FAULTS.to_vec();
        of_nodes.retain(|it| !it.is_of_the_pooler() || pooled > 0);
        let stores = steps(&mut dice, length, &of_stores);
        let network = steps(&mut dice, length, &of_nodes);
        Self {
            seed,
            topology,
            length,
            nodes,
            has_own_flusher,
            is_synced,
            pooled,
            has_gifts,
            stores,
            network,
        }
    }
}

/// As many as fit, as if each took as long as it lasts.
fn steps<F: Copy>(dice: &mut Dice, within: Duration, faults: &[F]) -> Vec<Step<F>> {
    let mut steps = Vec::new();
    let mut left = within;
    loop {
        let after = Duration::from_millis(200 + dice.below(600));
        let length = Duration::from_millis(100 + dice.below(1_400));
        let step = Step { after, fault: dice.choose(faults), length, pick: dice.below(1 << 30) };
        let Some(rest) = left.checked_sub(after + length) else { return steps };
        left = rest;
        steps.push(step);
    }
}

impl StoreFault {
    /// Whether it makes Redis forget something that it had acknowledged.
    pub(crate) const fn is_loss(self) -> bool {
        match self {
            Self::RedisKilled
            | Self::RedisFlushed
            | Self::OutboxDeleted
            | Self::MetaDeleted
            | Self::RedisRestored
            | Self::RedisTruncated
            | Self::FailedOver
            | Self::SplitBrain => true,
            Self::RedisPaused
            | Self::ScriptsForgotten
            | Self::CountersDeleted
            | Self::RedisFull
            | Self::DiskFull
            | Self::SlotMoved
            | Self::RedisClockStepped
            | Self::PostgresKilled
            | Self::PostgresPaused
            | Self::PostgresRestored => false,
        }
    }

    /// Whether a server of Redis may seem to be gone, so that another takes its place where they elect one.
    pub(crate) const fn may_depose(self) -> bool {
        matches!(self, Self::RedisPaused | Self::DiskFull | Self::RedisClockStepped)
    }
}

impl NodeFault {
    /// Whether it is one of PgBouncer.
    const fn is_of_the_pooler(self) -> bool {
        matches!(self, Self::PoolerKilled | Self::PoolerPaused)
    }

    /// What happens to the reply; no fault but those that lose one asks.
    pub(crate) fn loss(pick: u64) -> Loss {
        match pick / 7 % 4 {
            0 => Loss::Closed,
            1 => Loss::Silent,
            2 => Loss::Late(Duration::from_millis(700)),
            _ => Loss::Torn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(15);

    #[test]
    fn a_seed_repeats_its_plan_and_another_has_another() {
        let of = |seed| Plan::of(seed, Topology::Single, LENGTH);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7).stores, of(8).stores);
    }

    #[test]
    fn a_run_of_the_usual_length_has_ten_faults_and_every_fault_comes_up() {
        let of = |seed| [Topology::Single, Topology::Cluster].map(|it| Plan::of(seed, it, LENGTH));
        let plans: Vec<Plan> = (1..=100).flat_map(of).collect();
        assert!(plans.iter().all(|plan| plan.stores.len() + plan.network.len() >= 10));
        for fault in STORE_FAULTS {
            assert!(plans.iter().any(|it| it.stores.iter().any(|step| step.fault == *fault)));
        }
        for fault in NODE_FAULTS {
            assert!(plans.iter().any(|it| it.network.iter().any(|step| step.fault == *fault)));
        }
    }
}
