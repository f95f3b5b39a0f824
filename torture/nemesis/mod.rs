//! Who does what the plan says: one hand on the stores, the other on the nodes and their networks.

mod nodes;
mod stores;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::try_join_all;
use headroom::clock::Clock;
use tokio::sync::Mutex;
use tokio::sync::MutexGuard;
use tokio::time::sleep;

use crate::Failure;
use crate::plan::Step;
use crate::usage;

pub(crate) use nodes::Nodes;
pub(crate) use stores::Stores;

/// How long everybody has at least to notice a loss before a node that remembers it may be killed. What nobody remembers cannot be
/// noticed (docs/RELIABILITY.md).
const NOTICE: Duration = Duration::from_millis(800);
/// The same where servers are elected: nodes ask once a second who decides.
const NOTICE_WHERE_ELECTED: Duration = Duration::from_millis(1_500);
/// The other way round: how long others have to see what a killed node saw.
const SIGHT: Duration = Duration::from_millis(400);

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

fn count<F: Debug>(tally: &mut Tally, fault: F) {
    *tally.entry(format!("{fault:?}")).or_default() += 1;
}

/// What nodes remember of a Redis that loses something.
pub(crate) struct Memory {
    held: Mutex<()>,
    /// Where nodes answer, and their key.
    nodes: Vec<SocketAddr>,
    key: &'static str,
    shards: u16,
    is_elected: bool,
}

impl Memory {
    /// What those nodes remember of Redises that do, or do not, elect another in the place of one that cannot be reached.
    pub(crate) fn new(
        nodes: Vec<SocketAddr>,
        key: &'static str,
        shards: u16,
        is_elected: bool,
    ) -> Self {
        Self { held: Mutex::default(), nodes, key, shards, is_elected }
    }

    /// Held while Redis loses something, and while a node that may know of it is killed.
    async fn hold(&self) -> MutexGuard<'_, ()> {
        self.held.lock().await
    }

    /// Held while a node is killed. Where servers elect others by themselves, which a busy machine is enough for, whatever was
    /// lost so far is noticed before.
    async fn hold_for_a_kill(&self) -> Result<MutexGuard<'_, ()>, Failure> {
        let held = self.hold().await;
        if self.is_elected {
            self.refresh().await?;
        }
        Ok(held)
    }

    /// Waits until each node that runs has met each shard as it is now, and told what it remembers of it as it was.
    async fn refresh(&self) -> Result<(), Failure> {
        sleep(if self.is_elected { NOTICE_WHERE_ELECTED } else { NOTICE }).await;
        let told = self.nodes.iter().map(|node| usage::await_telling(*node, self.key, self.shards));
        try_join_all(told).await.map(drop)
    }
}
