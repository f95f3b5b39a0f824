//! The Redis of a run: one with a replica, two that a sentinel watches, or a cluster of three primaries with a replica each.
//!
//! What differs is how the servers are brought together, how nodes find the one that decides, and how another takes over.
//! Everything else is done to [`Member`]s.

mod cluster;
mod member;
mod sentinel;
mod wall_clock;

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::try_join_all;
use headroom::counters::keys;
use tokio::time::sleep;

use self::member::Member;
use self::sentinel::Sentinel;
use self::wall_clock::WallClock;
use crate::Failure;
use crate::plan::Plan;
use crate::plan::Topology;
use crate::proxy::Proxy;

const POLL: Duration = Duration::from_millis(50);
/// How long the search for the server that decides may take: a failover may be under way.
const SEARCH_WITHIN: Duration = Duration::from_secs(30);
/// A replica whose network swallows everything is to notice it soon.
const SETTINGS: [&str; 6] =
    ["--repl-diskless-sync-delay", "0", "--repl-timeout", "3", "--repl-ping-replica-period", "1"];
/// How long a failover may take. When nobody can take over, the old primary comes back.
const TAKE_OVER_WITHIN: Duration = Duration::from_secs(10);
/// Where a server's clock may go, in seconds from the right time: a step is from one of these to another, ahead or back.
const CLOCKS_S: [i64; 5] = [-30, -2, 4, 3_600, 90_000];
/// In a cluster the servers time each other by these clocks: one that comes back from far ahead finds itself alone for as long.
const CLUSTER_CLOCKS_S: [i64; 2] = [-2, 2];

/// All servers, and how they are found.
pub(crate) struct Redises {
    members: Vec<Member>,
    found_by: FoundBy,
}

/// How the server that decides is found.
enum FoundBy {
    /// The networks of the nodes lead to the one of that number.
    Ways(usize, Vec<Proxy>),
    Sentinel(Sentinel),
    Cluster,
}

impl Redises {
    /// Starts what the plan asks for.
    pub(crate) async fn start(dir: &Path, plan: &Plan) -> Result<Self, Failure> {
        let count = if plan.topology == Topology::Cluster { cluster::MEMBERS } else { 2 };
        let library = WallClock::library(dir).await?;
        let starts = (0..count).map(|number| member(dir, plan, number, library.clone()));
        let members = try_join_all(starts).await?;
        let found_by = match plan.topology {
            Topology::Single => {
                follow(&members[1], Some(&members[0])).await?;
                let port = members[0].port();
                let ways = try_join_all((0..plan.nodes).map(|_| Proxy::start(port))).await?;
                FoundBy::Ways(0, ways)
            }
            Topology::Sentinel => {
                follow(&members[1], Some(&members[0])).await?;
                FoundBy::Sentinel(Sentinel::start(dir, members[0].known_port()).await?)
            }
            Topology::Cluster => {
                cluster::join(&members).await?;
                FoundBy::Cluster
            }
        };
        Ok(Self { members, found_by })
    }

    /// The settings by which a node finds the server that decides, through networks of ours.
    pub(crate) fn settings(&self, node: usize) -> Vec<(&'static str, String)> {
        match &self.found_by {
            FoundBy::Ways(_, ways) => vec![("REDIS_URL", ways[node].url())],
            _ => self.direct_settings(),
        }
    }

    /// The same past the networks of the nodes.
    pub(crate) fn direct_settings(&self) -> Vec<(&'static str, String)> {
        match &self.found_by {
            FoundBy::Ways(primary, _) => vec![("REDIS_URL", self.members[*primary].server.url())],
            FoundBy::Sentinel(sentinel) => sentinel.settings(),
            FoundBy::Cluster => {
                let urls = self.members.iter().map(Member::known_url).collect::<Vec<_>>();
                vec![("HEADROOM_REDIS_CLUSTER_URLS", urls.join(","))]
            }
        }
    }

    /// Whether the servers elect another in the place of one that seems to be gone.
    pub(crate) const fn elects(&self) -> bool {
        !matches!(self.found_by, FoundBy::Ways(..))
    }

    /// How long an old primary may go on beside its successor, in milliseconds: a sentinel waits before it makes it a replica.
    pub(crate) const fn split_ms(&self) -> i64 {
        match self.found_by {
            FoundBy::Ways(..) => 1_000,
            FoundBy::Sentinel(_) | FoundBy::Cluster => 15_000,
        }
    }

    /// The networks between a node and Redis.
    pub(crate) fn ways(&self, node: usize) -> Vec<Proxy> {
        match &self.found_by {
            FoundBy::Ways(_, ways) => vec![ways[node].clone()],
            _ => self.members.iter().filter_map(Member::front).cloned().collect(),
        }
    }

    /// The server that decides for a shard. It is searched for until there is one.
    pub(crate) async fn primary(&mut self, shard: u16) -> Result<&mut Member, Failure> {
        let number = self.number_within(shard, None, SEARCH_WITHIN).await?;
        Ok(&mut self.members[number.ok_or("nobody decides for a shard")?])
    }

    /// The number of the server that decides for a shard, other than `but`; `None` when there is none in time.
    async fn number_within(
        &self,
        shard: u16,
        but: Option<usize>,
        within: Duration,
    ) -> Result<Option<usize>, Failure> {
        let began_at = Instant::now();
        while began_at.elapsed() < within {
            if let Some(number) = self.number(shard, but).await
                && Some(number) != but
            {
                return Ok(Some(number));
            }
            sleep(POLL).await;
        }
        Ok(None)
    }

    /// The same as it is now. Those that do not answer do not decide.
    async fn number(&self, shard: u16, but: Option<usize>) -> Option<usize> {
        match &self.found_by {
            FoundBy::Ways(primary, _) => Some(*primary),
            FoundBy::Sentinel(sentinel) => {
                let port = sentinel.primary().await.ok()?;
                self.members.iter().position(|member| member.known_port() == port)
            }
            FoundBy::Cluster => self.owner(shard, but).await,
        }
    }

    /// The server of the cluster that has the shard's slot. Those that do not have it, or are replicas, send elsewhere.
    async fn owner(&self, shard: u16, but: Option<usize>) -> Option<usize> {
        let words = ["EXISTS", &keys::meta(shard)];
        for (number, member) in self.members.iter().enumerate() {
            if Some(number) != but && member.ask::<u64>(&words).await.is_ok() {
                return Some(number);
            }
        }
        None
    }

    /// Another server takes the primary's place, without the events that it does not have. For a split the old primary goes on
    /// beside it for a while: those that still write to it write what will be forgotten.
    pub(crate) async fn fail_over(
        &mut self,
        shard: u16,
        split: Option<Duration>,
    ) -> Result<(), Failure> {
        if let FoundBy::Ways(..) = self.found_by {
            return self.fail_over_by_hand(split).await;
        }
        let old = self.number_within(shard, None, SEARCH_WITHIN).await?;
        let old = old.ok_or("nobody decides for a shard")?;
        match split {
            None => self.members[old].kill().await?,
            Some(_) => self.members[old].signal("STOP").await?,
        }
        self.number_within(shard, Some(old), TAKE_OVER_WITHIN).await?;
        match split {
            None => self.members[old].revive().await,
            // It wakes up as a primary, until the others tell it what happened.
            Some(_) => self.members[old].signal("CONT").await,
        }
    }

    async fn fail_over_by_hand(&mut self, split: Option<Duration>) -> Result<(), Failure> {
        let FoundBy::Ways(primary, ways) = &mut self.found_by else { return Ok(()) };
        let (old, new) = (*primary, 1 - *primary);
        if split.is_none() {
            self.members[old].kill().await?;
        }
        follow(&self.members[new], None).await?;
        *primary = new;
        let port = self.members[new].port();
        let (first, rest) = ways.split_at(ways.len() / 2);
        for way in first {
            way.retarget(port);
        }
        sleep(split.unwrap_or_default()).await;
        for way in rest {
            way.retarget(port);
        }
        if split.is_none() {
            self.members[old].revive().await?;
        }
        follow(&self.members[old], Some(&self.members[new])).await
    }

    /// Puts the clocks right, and waits until no old primary goes on beside its successor: a sentinel waits ten seconds before it
    /// makes it a replica.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        for member in &mut self.members {
            member.set_clock(0).await?;
        }
        let began_at = Instant::now();
        while began_at.elapsed() < SEARCH_WITHIN {
            let primaries = self.own_primaries().await;
            if primaries.len() == self.primaries() {
                return Ok(());
            }
            if let FoundBy::Sentinel(_) = self.found_by {
                self.demote_all_but_the_named(primaries).await?;
            }
            sleep(POLL).await;
        }
        Err("there are more primaries than there should be, or fewer".into())
    }

    /// What the sentinel would do, without its patience.
    async fn demote_all_but_the_named(&self, primaries: Vec<usize>) -> Result<(), Failure> {
        let Some(named) = self.number(0, None).await else { return Ok(()) };
        for old in primaries.into_iter().filter(|it| *it != named) {
            follow(&self.members[old], Some(&self.members[named])).await?;
        }
        Ok(())
    }

    /// Those that take themselves for primaries.
    async fn own_primaries(&self) -> Vec<usize> {
        let mut primaries = Vec::new();
        for (number, member) in self.members.iter().enumerate() {
            let info: String = member.ask(&["INFO", "replication"]).await.unwrap_or_default();
            if info.contains("role:master") {
                primaries.push(number);
            }
        }
        primaries
    }

    /// Has the clock of the server that decides for a shard go ahead or back. `false` where it cannot.
    pub(crate) async fn step_clock(&mut self, shard: u16, pick: u64) -> Result<bool, Failure> {
        let steps = match self.found_by {
            FoundBy::Cluster => &CLUSTER_CLOCKS_S[..],
            _ => &CLOCKS_S[..],
        };
        let primary = self.primary(shard).await?;
        let others = steps.iter().filter(|ahead_s| **ahead_s != primary.ahead_s());
        let others: Vec<i64> = others.copied().collect();
        let place = usize::try_from(pick % others.len().max(1) as u64)?;
        primary.set_clock(others[place]).await
    }

    const fn primaries(&self) -> usize {
        match self.found_by {
            FoundBy::Cluster => cluster::PRIMARIES,
            _ => 1,
        }
    }

    /// Moves a shard's slot to another primary of the cluster. `false` where there is none.
    pub(crate) async fn move_shard(&mut self, shard: u16, pick: u64) -> Result<bool, Failure> {
        if !matches!(self.found_by, FoundBy::Cluster) {
            return Ok(false);
        }
        let from = self.number_within(shard, None, SEARCH_WITHIN).await?;
        let from = from.ok_or("nobody decides for a shard")?;
        cluster::move_shard(&self.members, shard, from, pick).await
    }
}

/// Starts a server. Where nodes find it by themselves, it names the port of a network in front of it.
async fn member(
    dir: &Path,
    plan: &Plan,
    number: usize,
    library: Option<PathBuf>,
) -> Result<Member, Failure> {
    let dir = dir.join(format!("redis-{number}"));
    std::fs::create_dir_all(&dir)?;
    let sync = if plan.is_synced { "always" } else { "everysec" };
    let mut settings = vec!["--appendfsync", sync];
    settings.extend(SETTINGS);
    let front = match plan.topology {
        Topology::Single => None,
        // It leads nowhere until the server has its port.
        Topology::Sentinel | Topology::Cluster => Some(Proxy::start(0).await?),
    };
    let port = front.as_ref().map(|front| front.port().to_string()).unwrap_or_default();
    match plan.topology {
        Topology::Single => {}
        Topology::Sentinel => settings.extend(sentinel::announce(&port)),
        Topology::Cluster => {
            settings.extend(cluster::SETTINGS);
            settings.extend(cluster::announce(&port));
        }
    }
    Member::start(&dir, settings.into_iter().map(str::to_owned).collect(), front, library).await
}

async fn follow(member: &Member, primary: Option<&Member>) -> Result<(), Failure> {
    match primary {
        Some(primary) => {
            member.tell(&["REPLICAOF", "127.0.0.1", &primary.known_port().to_string()]).await
        }
        None => member.tell(&["REPLICAOF", "NO", "ONE"]).await,
    }
}
