//! A node: the service's own lane, loader, recoverer and use-cases over the stores of the simulation.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use headroom::clock::Clock;
use headroom::counters::Counters;
use headroom::counters::GroupOptions;
use headroom::counters::Place;
use headroom::counters::RedisOptions;
use headroom::counters::Scripts;
use headroom::domain::Catalogue;
use headroom::domain::StoreAway;
use headroom::domain::Units;
use headroom::ledger::Settings;
use headroom::quota::FlushState;
use headroom::quota::FlushStep;
use headroom::quota::Found;
use headroom::quota::Guards;
use headroom::quota::KeyRing;
use headroom::quota::Quota;
use headroom::quota::QuotaError;
use headroom::quota::QuotaOptions;
use headroom::quota::QuotaParts;
use headroom::quota::TransferPolicy;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::calls::Calls;
use super::calls::LedgerWay;
use super::calls::Way;
use super::tasks::Tasks;

/// Deadlines are by the clock of the machine, which no schedule may depend on: none is ever reached.
const NEVER: Duration = Duration::from_hours(10);
/// Events in one flush: few, so that a backlog takes several.
const BATCH_EVENTS_MAX: usize = 5;
const OUTBOX_EVENTS_MAX: u64 = 100_000;

/// What all nodes of a schedule have in common.
#[derive(Clone)]
pub struct Setup {
    pub catalogue: Catalogue,
    pub scripts: Arc<Scripts>,
    pub guards: Guards,
    pub trim_lag: Duration,
}

/// A node between its start and its death.
pub struct Node {
    /// Another number for each life of a node.
    pub life: u64,
    pub clock: Clock,
    pub quota: Arc<Quota<LedgerWay>>,
    state: Rc<RefCell<FlushState>>,
    found: Rc<RefCell<Found>>,
    /// How the last flush and the last sweep ended.
    pub flushed: Rc<Cell<Option<FlushStep>>>,
    pub swept: Rc<Cell<Option<u64>>>,
}

impl Node {
    /// Starts a node and all that it runs.
    pub fn start(life: u64, setup: &Setup, clock: Clock, calls: &Calls, tasks: &mut Tasks) -> Self {
        let redis = RedisOptions {
            place: Place::InProcess(Arc::new(Way { calls: calls.clone(), life })),
            connect_timeout: NEVER,
            response_timeout: NEVER,
        };
        let options = GroupOptions {
            group_max: 64,
            idempotency_ttl: Duration::from_hours(24),
            idle_ttl: Duration::from_hours(24),
            outbox_events_max: 10_000,
        };
        let scripts = setup.scripts.clone();
        let counters = Counters::with_scripts(&redis, options, 1, clock.clone(), scripts);
        let (counters, lanes) = counters.unwrap();
        let parts = QuotaParts {
            counters: Arc::new(counters),
            ledger: Arc::new(LedgerWay { calls: calls.clone(), life }),
            keys: KeyRing::new("").unwrap(),
            catalogue: setup.catalogue.clone(),
            clock: clock.clone(),
            options: quota_options(setup),
        };
        let settings = Settings { instance: Uuid::from_u128(7), shards: 1, signing_key: [7; 32] };
        let (quota, loader, recoverer) = Quota::over(parts, &settings);
        for lane in lanes {
            tasks.spawn(life, "lane", lane.run());
        }
        tasks.spawn(life, "loader", loader.run());
        tasks.spawn(life, "recoverer", recoverer.run(quota.clone(), CancellationToken::new()));
        let state = Rc::default();
        let found = Rc::default();
        Self { life, clock, quota, state, found, flushed: Rc::default(), swept: Rc::default() }
    }

    /// Begins one pass of the flusher, unless one is under way.
    pub fn flush(&self, tasks: &mut Tasks) {
        if tasks.count("flusher", Some(self.life)) > 0 {
            return;
        }
        let (quota, kept, flushed) = (self.quota.clone(), self.state.clone(), self.flushed.clone());
        flushed.set(None);
        tasks.spawn(self.life, "flusher", async move {
            let mut state = kept.take();
            flushed.set(accept(quota.flush(0, &mut state).await));
            kept.replace(state);
        });
    }

    /// Begins one look for losses, unless one is under way.
    pub fn look_for_losses(&self, tasks: &mut Tasks) {
        if tasks.count("losses", Some(self.life)) > 0 {
            return;
        }
        let (quota, kept) = (self.quota.clone(), self.found.clone());
        tasks.spawn(self.life, "losses", async move {
            let mut found = kept.take();
            accept(quota.look_for_losses(&mut found).await);
            kept.replace(found);
        });
    }

    /// Begins one sweep of lapsed holds, unless one is under way.
    pub fn sweep(&self, tasks: &mut Tasks) {
        if tasks.count("sweeper", Some(self.life)) > 0 {
            return;
        }
        let (quota, swept) = (self.quota.clone(), self.swept.clone());
        swept.set(None);
        let sweep = async move { swept.set(accept(quota.expire_due().await)) };
        tasks.spawn(self.life, "sweeper", sweep);
    }
}

/// The loops may fail because a store is away, and in no other way.
#[track_caller]
fn accept<T>(outcome: Result<T, QuotaError>) -> Option<T> {
    match outcome {
        Ok(done) => Some(done),
        Err(QuotaError::Unavailable { .. }) => None,
        Err(other) => panic!("a loop failed: {other:?}"),
    }
}

fn quota_options(setup: &Setup) -> QuotaOptions {
    QuotaOptions {
        request_timeout: NEVER,
        store_away: StoreAway::Closed,
        batch_events_max: BATCH_EVENTS_MAX,
        outbox_events_max: OUTBOX_EVENTS_MAX,
        trim_lag: setup.trim_lag,
        trim_bytes_max: u64::MAX,
        idempotency_ttl: Duration::from_hours(24),
        feed_keep: NEVER,
        transfers: TransferPolicy {
            sources: Vec::new(),
            amount_min: Units::ZERO,
            daily_max: None,
            giver_rest: NEVER,
            receiver_rest: NEVER,
        },
        guards: setup.guards,
    }
}
