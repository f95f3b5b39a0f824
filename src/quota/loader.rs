//! Loading missing subjects: one load of a subject at a time in this node, many subjects in one round trip.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use chrono::DateTime;
use chrono::Utc;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::counters::Counters;
use crate::counters::LevelBase;
use crate::counters::LoadOutcome;
use crate::counters::Operation;
use crate::counters::ShardFault;
use crate::counters::Snapshot;
use crate::domain::Period;
use crate::ledger::Base;
use crate::ledger::Ledger;
use crate::telemetry::names;

use super::error::QuotaError;
use super::error::Store;

/// Loads that may wait; each is a request that waits for it.
const QUEUE_MAX: usize = 4_096;
/// Requests in one round trip.
const BATCH_MAX: usize = 64;
/// Snapshots that are taken before a load gives up because the outbox is trimmed ahead of each.
const SNAPSHOTS_MAX: usize = 8;
/// Counters whose windows ended longer ago than this, by Redis' time as this node believes it to be, are left out. The
/// script refuses the load when its time is earlier still, and the node then knows better.
const ENDED_MARGIN: Duration = Duration::from_mins(1);

/// A load that is asked for.
struct LoadOrder {
    shard: u16,
    levels: Vec<String>,
    answer: oneshot::Sender<Loaded>,
}

/// `None`: the levels are there. `Some`: the shard has to be recovered first.
type Loaded = Result<Option<ShardFault>, LoadFailure>;

/// Why levels could not be loaded.
#[derive(Clone, Copy, Debug)]
enum LoadFailure {
    Away(Store),
    TooManyPending,
}

/// Where loads are asked for.
pub(super) struct LoadEntrance(mpsc::Sender<LoadOrder>);

/// The task that loads.
pub struct Loader {
    counters: Arc<Counters>,
    ledger: Arc<Ledger>,
    clock: Clock,
    queue: mpsc::Receiver<LoadOrder>,
}

pub(super) fn new(
    counters: Arc<Counters>,
    ledger: Arc<Ledger>,
    clock: Clock,
) -> (LoadEntrance, Loader) {
    let (entrance, queue) = mpsc::channel(QUEUE_MAX);
    (LoadEntrance(entrance), Loader { counters, ledger, clock, queue })
}

impl LoadEntrance {
    /// Waits until the levels that the operation touches are there, at most until its deadline.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away or the subject has too many pending events.
    pub(super) async fn load(
        &self,
        operation: &Operation,
        shard: u16,
    ) -> Result<Option<ShardFault>, QuotaError> {
        let levels = operation.touched_levels().map(str::to_owned).collect();
        let (answer, waiting) = oneshot::channel();
        let order = LoadOrder { shard, levels, answer };
        self.0.try_send(order).map_err(|_| QuotaError::Overloaded)?;
        let late = |_| QuotaError::away(Store::Postgres);
        let loaded =
            tokio::time::timeout_at(operation.deadline.into(), waiting).await.map_err(late)?;
        loaded.map_err(|_| QuotaError::away(Store::Postgres))?.map_err(|failure| match failure {
            LoadFailure::Away(store) => QuotaError::away(store),
            LoadFailure::TooManyPending => QuotaError::away(Store::Postgres),
        })
    }
}

impl Loader {
    /// Loads until every asker is gone.
    pub async fn run(mut self) {
        let mut waiting = Vec::new();
        while let Some(order) = self.next(&mut waiting).await {
            waiting.push(order);
            self.take_queued(&mut waiting);
            let shard = waiting[0].shard;
            let levels = distinct_levels(shard, &waiting);
            let started_at = Instant::now();
            let loaded = self.load(shard, &levels).await;
            tracing::debug!(shard, levels = levels.len(), elapsed = ?started_at.elapsed(), "loaded");
            // Whoever asked for the same meanwhile is answered too: one load, however many ask.
            self.take_queued(&mut waiting);
            waiting = answer(waiting, shard, &levels, loaded);
        }
    }

    /// An order left over from the last round, or the next of the queue.
    async fn next(&mut self, left_over: &mut Vec<LoadOrder>) -> Option<LoadOrder> {
        match left_over.pop() {
            Some(order) => Some(order),
            None => self.queue.recv().await,
        }
    }

    fn take_queued(&mut self, waiting: &mut Vec<LoadOrder>) {
        while waiting.len() < QUEUE_MAX
            && let Ok(order) = self.queue.try_recv()
        {
            waiting.push(order);
        }
    }

    /// Redis' time as this node believes it to be: its own clock may be ahead by any amount.
    fn redis_now(&self) -> DateTime<Utc> {
        let now_ms = self.clock.now_ms() + self.counters.clock_delta_ms();
        DateTime::from_timestamp_millis(now_ms).unwrap_or_else(|| self.clock.now())
    }

    async fn load(&self, shard: u16, levels: &[String]) -> Loaded {
        for _ in 0..SNAPSHOTS_MAX {
            let ended_after = self.redis_now() - ENDED_MARGIN;
            let names: Vec<&str> = levels.iter().map(String::as_str).collect();
            let base = self.ledger.base(shard, &names, ended_after).await.map_err(|error| {
                tracing::warn!(shard, %error, "a load found no postgres");
                LoadFailure::Away(Store::Postgres)
            })?;
            let snapshot = snapshot(&base, levels, ended_after);
            match self.counters.load(shard, &snapshot).await {
                Ok(LoadOutcome::Loaded(count)) => {
                    metrics::counter!(names::LOADS_TOTAL).increment(count as u64);
                    return Ok(None);
                }
                Ok(LoadOutcome::ReadAgain) => {}
                Ok(LoadOutcome::TooManyPending) => return Err(LoadFailure::TooManyPending),
                Ok(LoadOutcome::Fault(fault)) => return Ok(Some(fault)),
                Err(error) => {
                    tracing::warn!(shard, %error, "a load found no redis");
                    return Err(LoadFailure::Away(Store::Redis));
                }
            }
        }
        Err(LoadFailure::TooManyPending)
    }
}

/// The levels that the first requests of the shard ask for, each once.
fn distinct_levels(shard: u16, waiting: &[LoadOrder]) -> Vec<String> {
    let of_shard = waiting.iter().filter(|order| order.shard == shard).take(BATCH_MAX);
    let mut levels: Vec<String> = of_shard.flat_map(|order| order.levels.iter().cloned()).collect();
    levels.sort_unstable();
    levels.dedup();
    levels
}

/// Answers those whose levels were loaded, and keeps the others.
fn answer(
    waiting: Vec<LoadOrder>,
    shard: u16,
    levels: &[String],
    loaded: Loaded,
) -> Vec<LoadOrder> {
    let is_done = |order: &LoadOrder| {
        order.shard == shard && order.levels.iter().all(|level| levels.binary_search(level).is_ok())
    };
    let (done, left): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_done);
    for order in done {
        // An asker that stopped waiting has no use for its answer.
        let _ = order.answer.send(loaded);
    }
    left
}

fn snapshot(base: &Base, levels: &[String], ended_after: DateTime<Utc>) -> Snapshot {
    let of_level = |path: &String| {
        let counters = base.counters.iter().filter(|counter| counter.subject == *path);
        let reset_at_ms = counters.clone().filter_map(|counter| counter.reset_at_ms).max();
        let counters = counters.filter_map(|counter| {
            let period = Period::named(&counter.period)?;
            Some((counter.metric.clone(), period, counter.window_start_s, counter.used))
        });
        LevelBase {
            path: path.clone(),
            profile_version: 0,
            reset_at_ms: reset_at_ms.unwrap_or(0),
            counters: counters.collect(),
        }
    };
    Snapshot {
        epoch: base.epoch,
        cursor_seq: base.seq,
        ended_after_ms: ended_after.timestamp_millis(),
        levels: levels.iter().map(of_level).collect(),
    }
}
