//! Loading missing subjects: one load of a subject at a time in this node, many subjects in one round trip.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use chrono::DateTime;
use chrono::Utc;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::counters::Counters;
use crate::counters::Fault;
use crate::counters::Field;
use crate::counters::LevelBase;
use crate::counters::LoadOutcome;
use crate::counters::Operation;
use crate::counters::Snapshot;
use crate::domain::Period;
use crate::domain::Tally;
use crate::domain::Window;
use crate::ledger::Base;
use crate::ledger::Counter;
use crate::ledger::HeldCounter;
use crate::ledger::Ledger;
use crate::ledger::LedgerError;
use crate::telemetry::names;

use super::error::QuotaError;
use super::error::Store;
use super::event_ledger::EventLedger;
use super::recover;

/// Loads that may wait; each is a request that waits for it.
const QUEUE_MAX: usize = 4_096;
/// Requests in one round trip.
const BATCH_MAX: usize = 64;
/// Snapshots that are taken before a load gives up because the outbox is trimmed ahead of each.
const SNAPSHOTS_MAX: usize = 8;
/// Counters whose windows ended longer ago than this, by Redis' time as this node believes it to be, are left out. The
/// script refuses the load when its time is earlier still, and the node then knows better.
pub(super) const ENDED_MARGIN: Duration = Duration::from_mins(1);

/// A load that is asked for.
struct LoadOrder {
    shard: u16,
    levels: Vec<String>,
    answer: oneshot::Sender<Answer>,
}

/// What an asker is told. `None`: its levels are there. `Some`: the shard has to be recovered first. An error: the store
/// that it waits for, which is Postgres when the flusher has to catch up first.
type Answer = Result<Option<Fault>, Store>;

/// What became of a load of several levels.
enum Loaded {
    /// All are there but these.
    But(Vec<String>),
    Fault(Fault),
    Away(Store),
}

/// Where loads are asked for.
pub(super) struct LoadEntrance(mpsc::Sender<LoadOrder>);

/// The task that loads.
pub struct Loader<L = Ledger> {
    counters: Arc<Counters>,
    ledger: Arc<L>,
    queue: mpsc::Receiver<LoadOrder>,
}

pub(super) fn new<L: EventLedger>(
    counters: Arc<Counters>,
    ledger: Arc<L>,
) -> (LoadEntrance, Loader<L>) {
    let (entrance, queue) = mpsc::channel(QUEUE_MAX);
    (LoadEntrance(entrance), Loader { counters, ledger, queue })
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
    ) -> Result<Option<Fault>, QuotaError> {
        let levels = operation.subject.levels().map(str::to_owned).collect();
        let (answer, waiting) = oneshot::channel();
        let order = LoadOrder { shard, levels, answer };
        self.0.try_send(order).map_err(|_| QuotaError::Overloaded)?;
        let late = |_| QuotaError::away(Store::Postgres);
        let loaded =
            tokio::time::timeout_at(operation.deadline.into(), waiting).await.map_err(late)?;
        loaded.map_err(|_| QuotaError::away(Store::Postgres))?.map_err(QuotaError::away)
    }
}

impl<L: EventLedger> Loader<L> {
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
            metrics::histogram!(names::LOAD_SECONDS).record(started_at.elapsed());
            tracing::debug!(shard, levels = levels.len(), elapsed = ?started_at.elapsed(), "loaded");
            // Whoever asked for the same meanwhile is answered too: one load, however many ask.
            self.take_queued(&mut waiting);
            waiting = answer(waiting, shard, &levels, &loaded);
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

    async fn load(&self, shard: u16, levels: &[String]) -> Loaded {
        if let Err(error) = recover::own_up(&self.counters, &*self.ledger, shard).await {
            return no_postgres(shard, &error);
        }
        for _ in 0..SNAPSHOTS_MAX {
            if let Some(loaded) = self.load_once(shard, levels).await {
                return loaded;
            }
        }
        Loaded::Away(Store::Postgres)
    }

    /// One snapshot and one call; `None` when another snapshot is needed.
    async fn load_once(&self, shard: u16, levels: &[String]) -> Option<Loaded> {
        let ended_after = self.counters.redis_now() - ENDED_MARGIN;
        let names: Vec<&str> = levels.iter().map(String::as_str).collect();
        // A counter's window may have another end by the calendar that is in force now than it has in Postgres.
        let read_after = ended_after - Window::ENDS_APART_MAX;
        let base = match self.ledger.base(shard, &names, read_after).await {
            Ok(base) => base,
            Err(error) => return Some(no_postgres(shard, &error)),
        };
        match self.counters.load(shard, &snapshot(&base, levels, ended_after)).await {
            Ok(LoadOutcome::Loaded(set)) => Some(loaded_but(set, Vec::new())),
            Ok(LoadOutcome::LoadedBut(set, places)) => {
                let left_out = places.into_iter().filter_map(|place| levels.get(place));
                Some(loaded_but(set, left_out.cloned().collect()))
            }
            Ok(LoadOutcome::ReadAgain) => None,
            Ok(LoadOutcome::Fault(fault)) => Some(Loaded::Fault(fault)),
            Err(error) => {
                tracing::warn!(shard, %error, "a load found no redis");
                Some(Loaded::Away(Store::Redis))
            }
        }
    }
}

fn loaded_but(set: usize, left_out: Vec<String>) -> Loaded {
    metrics::counter!(names::LOADS_TOTAL).increment(set as u64);
    Loaded::But(left_out)
}

fn no_postgres(shard: u16, error: &LedgerError) -> Loaded {
    tracing::warn!(shard, %error, "a load found no postgres");
    Loaded::Away(Store::Postgres)
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
    loaded: &Loaded,
) -> Vec<LoadOrder> {
    let is_done = |order: &LoadOrder| {
        order.shard == shard && order.levels.iter().all(|level| levels.binary_search(level).is_ok())
    };
    let (done, left): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_done);
    for order in done {
        let answer = match loaded {
            // One level that cannot be loaded must not fail those that were asked for with it.
            Loaded::But(left_out) if order.levels.iter().any(|it| left_out.contains(it)) => {
                Err(Store::Postgres)
            }
            Loaded::But(_) => Ok(None),
            Loaded::Fault(fault) => Ok(Some(*fault)),
            Loaded::Away(store) => Err(*store),
        };
        // An asker that stopped waiting has no use for its answer.
        let _ = order.answer.send(answer);
    }
    left
}

/// What a load sets, by what Postgres holds of the levels.
pub(super) fn snapshot(base: &Base, levels: &[String], ended_after: DateTime<Utc>) -> Snapshot {
    let of_level = |path: &String| {
        let profile = base.profiles.iter().find(|profile| profile.subject == *path);
        let counters = base.counters.iter().filter(|counter| counter.subject == *path);
        let reset_at_ms = counters.filter_map(|counter| counter.reset_at_ms).max();
        LevelBase {
            path: path.clone(),
            profile_version: profile.map_or(0, |it| it.version),
            profile: profile.map_or_else(String::new, |it| it.profile.clone()),
            reset_at_ms: reset_at_ms.unwrap_or(0),
            counters: counts(base, path, ended_after.timestamp()),
        }
    };
    Snapshot {
        epoch: base.epoch,
        cursor_seq: base.seq,
        ended_after_ms: ended_after.timestamp_millis(),
        profile_version: base.profile_version,
        levels: levels.iter().map(of_level).collect(),
    }
}

/// What Postgres counts for a level, each count by its name in Redis. Holds that lapsed by `ended_after_s` are left out.
pub(super) fn counts(base: &Base, path: &str, ended_after_s: i64) -> Vec<(Field, i64)> {
    let counters = base.counters.iter().filter(|counter| counter.subject == path);
    let held = base.held.iter().filter(|hold| hold.subject == path);
    let grants = base.grants.iter().filter(|grant| grant.subject == path);
    let mut counts: Vec<(Field, i64)> = counters.flat_map(of_counter).collect();
    counts.extend(held.filter(|hold| hold.until_s > ended_after_s).filter_map(of_hold));
    counts.extend(grants.map(|it| (Field::of_grant(&it.metric, it.id, it.end_s), it.used)));
    counts
}

/// What is used in a window and, where there is such a count, carried into it and given back in it.
fn of_counter(counter: &Counter) -> Vec<(Field, i64)> {
    let Some(period) = Period::named(&counter.period) else { return Vec::new() };
    let used = Field::used(&counter.metric, period, false, counter.window_start_s);
    let of = |tally| Field { tally, ..used.clone() };
    let carried = counter.carried.map(|units| (of(Tally::Carried), units));
    let refunded = (counter.refunded != 0).then(|| (of(Tally::Refunded), counter.refunded));
    let counts = [Some((used.clone(), counter.used)), carried, refunded];
    counts.into_iter().flatten().collect()
}

fn of_hold(hold: &HeldCounter) -> Option<(Field, i64)> {
    let period = Period::named(&hold.period)?;
    let of_limit = Field::used(&hold.metric, period, false, hold.window_start_s);
    let of_grant = |grant| Field::of_grant(&hold.metric, grant, hold.window_end_s);
    let field = hold.grant.map_or(of_limit, of_grant);
    Some((Field { tally: Tally::Held { until_s: hold.until_s }, ..field }, hold.units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::GrantUsed;

    const LEVEL: &str = "org:acme";

    fn counter(carried: Option<i64>, refunded: i64) -> Counter {
        Counter {
            subject: LEVEL.to_owned(),
            metric: "messages".to_owned(),
            period: "day".to_owned(),
            window_start_s: 86_400,
            window_end_s: 172_800,
            used: 5,
            carried,
            refunded,
            reset_at_ms: None,
        }
    }

    fn hold(grant: Option<u64>, until_s: i64) -> HeldCounter {
        let Counter { subject, metric, period, window_start_s, window_end_s, .. } =
            counter(None, 0);
        let units = 2;
        HeldCounter { subject, metric, period, window_start_s, window_end_s, grant, until_s, units }
    }

    fn names(counters: Vec<Counter>, held: Vec<HeldCounter>) -> Vec<(String, i64)> {
        let used = GrantUsed {
            subject: LEVEL.to_owned(),
            metric: "messages".to_owned(),
            id: 7,
            end_s: 172_800,
            used: 3,
        };
        let other = GrantUsed { subject: "org:other".to_owned(), ..used.clone() };
        let (profiles, grants) = (Vec::new(), vec![used, other]);
        let base = Base { epoch: 1, seq: 0, counters, held, grants, profile_version: 0, profiles };
        let counts = counts(&base, LEVEL, 100_000);
        counts.into_iter().map(|(field, count)| (field.to_string(), count)).collect()
    }

    #[test]
    fn each_count_of_the_ledger_has_its_name_in_redis() {
        let all =
            names(vec![counter(Some(0), 1)], vec![hold(None, 100_001), hold(Some(7), 100_001)]);
        let wanted = [
            ("messages:d:86400", 5),
            ("messages:d:86400+", 0),
            ("messages:d:86400-", 1),
            ("messages:d:86400@100001", 2),
            ("messages:g:172800#7@100001", 2),
            ("messages:g:172800#7", 3),
        ];
        assert_eq!(all, wanted.map(|(name, count)| (name.to_owned(), count)));
    }

    #[test]
    fn what_was_not_carried_or_refunded_or_has_lapsed_has_none() {
        let few = names(vec![counter(None, 0)], vec![hold(None, 100_000)]);
        let wanted = [("messages:d:86400", 5), ("messages:g:172800#7", 3)];
        assert_eq!(few, wanted.map(|(name, count)| (name.to_owned(), count)));
    }

    #[test]
    fn each_level_has_its_own_last_reset() {
        let other = |subject: &str, reset_at_ms| Counter {
            subject: subject.to_owned(),
            reset_at_ms: Some(reset_at_ms),
            ..counter(None, 0)
        };
        let counters = vec![other(LEVEL, 5), other(LEVEL, 7), other("org:other", 9)];
        let (held, grants, profiles) = (Vec::new(), Vec::new(), Vec::new());
        let base = Base { epoch: 1, seq: 0, counters, held, grants, profile_version: 0, profiles };
        let levels = [LEVEL, "org:other", "org:none"].map(str::to_owned);

        let snapshot = snapshot(&base, &levels, DateTime::UNIX_EPOCH);

        let resets: Vec<i64> = snapshot.levels.iter().map(|level| level.reset_at_ms).collect();
        assert_eq!(resets, [7, 9, 0]);
    }

    /// Who asks for which levels, and what they hear.
    struct Asked {
        orders: Vec<LoadOrder>,
        answers: Vec<oneshot::Receiver<Answer>>,
    }

    fn asked(orders: &[(u16, &[&str])]) -> Asked {
        let mut asked = Asked { orders: Vec::new(), answers: Vec::new() };
        for (shard, levels) in orders {
            let (answer, heard) = oneshot::channel();
            let levels = levels.iter().map(|level| (*level).to_owned()).collect();
            asked.orders.push(LoadOrder { shard: *shard, levels, answer });
            asked.answers.push(heard);
        }
        asked
    }

    /// Guards that one load answers all whom it served, each by what became of its own levels, and nobody else.
    #[test]
    fn whoever_is_served_is_answered_and_the_others_go_on_waiting() {
        let mut asked = asked(&[(1, &["a"]), (1, &["a", "b"]), (1, &["a", "c"]), (2, &["a"])]);
        let loaded = Loaded::But(vec!["b".to_owned()]);

        let left = answer(asked.orders, 1, &["a", "b"].map(str::to_owned), &loaded);

        let heard = asked.answers.iter_mut().map(oneshot::Receiver::try_recv);
        let heard: Vec<_> = heard.map(Result::ok).collect();
        assert!(matches!(heard[..], [Some(Ok(None)), Some(Err(Store::Postgres)), None, None]));
        let left: Vec<_> = left.iter().map(|order| (order.shard, order.levels.len())).collect();
        assert_eq!(left, [(1, 2), (2, 1)]);
    }
}
