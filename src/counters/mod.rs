//! Redis: the counters, the outbox, and the scripts that change both at once.
//!
//! **Architecture invariant:** only this module names the `redis` crate, and keys are spelled in [`keys`] alone. It knows
//! nothing of Postgres: what a load or a recovery needs from there is handed in.

mod ask;
mod background;
mod cluster;
mod error;
mod field;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod group;
mod inline;
mod inspect;
pub mod keys;
mod lane;
mod line;
mod link;
mod load;
mod moving;
mod opener;
mod operation;
mod outbox;
mod pack;
mod place;
mod probe;
mod profile;
mod recovery;
mod reply;
mod routes;
mod script;
mod sentinel;
mod server;
mod shard;
mod sheet;
mod startup;
mod way;
mod wire;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Instant;

use chrono::DateTime;
use chrono::Utc;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::telemetry::spans;

pub use self::ask::Before;
pub use self::ask::Clearing;
pub use self::ask::Held;
pub use self::ask::KnownHold;
pub use self::ask::Roll;
pub use self::ask::Taken;
pub use self::error::CountersError;
pub use self::field::Field;
pub use self::group::GroupOptions;
pub use self::inspect::SubjectState;
pub use self::lane::Lane;
pub use self::load::LevelBase;
pub use self::load::LoadOutcome;
pub use self::load::Snapshot;
pub use self::operation::Again;
pub use self::operation::Fault;
pub use self::operation::HoldEnd;
pub use self::operation::HoldOf;
pub use self::operation::HoldTold;
pub use self::operation::Idempotency;
pub use self::operation::More;
pub use self::operation::Operation;
pub use self::operation::OperationKind;
pub use self::operation::Outcome;
pub use self::operation::ShardFault;
pub use self::operation::StoredAnswer;
pub use self::outbox::Entry;
pub use self::outbox::OutboxPage;
pub use self::outbox::Settlement;
pub use self::outbox::Undecodable;
pub use self::place::Place;
pub use self::place::RedisOptions;
pub use self::profile::LevelProfile;
pub use self::recovery::Fenced;
#[doc(hidden)]
pub use self::script::Scripts;
pub use self::script::Tampering;
pub use self::script::script_texts;
pub use self::shard::Ended;
pub use self::shard::Own;
pub use self::shard::Sight;
pub use self::sheet::PackedSheet;
pub use self::sheet::StoredLine;
pub use self::startup::Durability;
pub use self::startup::StartupReport;
pub use self::wire::Answer;
pub use self::wire::InProcess;

use self::lane::LaneParts;
use self::lane::Submitted;
use self::lane::Ticket;
use self::routes::Routes;
use self::shard::Shard;

/// Operations that may wait for a shard. At 25,000 a second that is a third of a second.
const QUEUE_MAX: usize = 8_192;

/// The counters of all shards.
pub struct Counters {
    lanes: Arc<LaneParts>,
    shards: Vec<(Arc<Shard>, mpsc::Sender<Ticket>)>,
}

impl Counters {
    /// Prepares `shards` shards and their lanes, without connecting. Each lane has to be run by the caller.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unfit`] when a URL is not one of Redis.
    pub fn new(
        redis: &RedisOptions,
        options: GroupOptions,
        shards: u16,
        clock: Clock,
        tampering: &Tampering,
    ) -> Result<(Self, Vec<Lane>), CountersError> {
        Self::with_scripts(redis, options, shards, clock, Arc::new(Scripts::new(tampering)))
    }

    /// The same with scripts that others have, too: to prepare them takes as long as thousands of calls.
    ///
    /// # Errors
    ///
    /// As [`Counters::new`].
    #[doc(hidden)]
    pub fn with_scripts(
        redis: &RedisOptions,
        options: GroupOptions,
        shards: u16,
        clock: Clock,
        scripts: Arc<Scripts>,
    ) -> Result<(Self, Vec<Lane>), CountersError> {
        let lanes = Arc::new(LaneParts {
            routes: Routes::new(redis, shards)?,
            scripts,
            options,
            clock,
            clock_delta_ms: AtomicI64::new(0),
        });
        let mut tasks = Vec::new();
        let mut entrances = Vec::new();
        for number in 0..shards {
            let shard = Arc::new(Shard::new(number));
            let (entrance, queue) = mpsc::channel(QUEUE_MAX);
            tasks.push(Lane {
                parts: lanes.clone(),
                shard: shard.clone(),
                queue,
                generation: 0,
                answered_at: Instant::now(),
                asked: None,
                moving: None,
                whole_until: Instant::now(),
            });
            entrances.push((shard, entrance));
        }
        Ok((Self { lanes, shards: entrances }, tasks))
    }

    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }

    /// Submits an operation to its shard's lane and waits for the outcome, at most until its deadline and one call.
    ///
    /// # Errors
    ///
    /// [`CountersError::Overloaded`] at once when the lane's queue is full; otherwise why Redis gave no answer.
    pub async fn submit(&self, operation: Box<Operation>) -> Result<Submitted, CountersError> {
        let (_, entrance) = self.shard(operation.subject.shard(self.shard_count()));
        let (answer, waiting) = oneshot::channel();
        let ticket = Ticket { operation, answer, span: spans::current() };
        entrance.try_send(ticket).map_err(|_| CountersError::Overloaded)?;
        waiting.await.map_err(|_| CountersError::Unavailable { ambiguous: true, source: None })
    }

    /// What this node knows of a shard.
    #[must_use]
    pub fn sight(&self, shard: u16) -> Sight {
        self.shard(shard).0.sight()
    }

    /// Redis' time minus the node's, in milliseconds, as of the last answer.
    #[must_use]
    pub fn clock_delta_ms(&self) -> i64 {
        self.lanes.clock_delta_ms.load(Ordering::Relaxed)
    }

    /// Redis' time as this node believes it to be, whose own clock may be wrong by any amount; in Unix milliseconds.
    #[must_use]
    pub fn redis_now_ms(&self) -> i64 {
        self.lanes.clock.now_ms() + self.clock_delta_ms()
    }

    /// As [`Counters::redis_now_ms`]; the node's own time where that is no date.
    #[must_use]
    pub fn redis_now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.redis_now_ms())
            .unwrap_or_else(|| self.lanes.clock.now())
    }

    /// Corrects the node's idea of Redis' time.
    pub fn set_clock_delta_ms(&self, delta_ms: i64) {
        self.lanes.clock_delta_ms.store(delta_ms, Ordering::Relaxed);
    }

    /// Whether Redis answers: one of the servers that decide, since the node can still serve its shards.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when none does.
    pub async fn ping(&self) -> Result<(), CountersError> {
        let answers = self.ask_all::<()>(&redis::cmd("PING")).await?;
        let first_of_them = answers.into_iter().reduce(Result::or);
        first_of_them.unwrap_or(Err(CountersError::away(None)))
    }

    /// Asks whether Redis has another primary than this node believes, where only others can tell: sentinels.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when none of them answers; the node goes on with the primary that it knows.
    pub async fn follow_primary(&self) -> Result<(), CountersError> {
        self.lanes.routes.follow().await
    }

    /// Takes in what was read of a shard by other means than a decision.
    pub fn saw(&self, shard: u16, epoch: u64, seq: u64) {
        self.shard(shard).0.saw(epoch, seq, None);
    }

    /// What was acknowledged to this node in an epoch that ended, until [`Counters::owned_up`].
    #[must_use]
    pub fn ended(&self, shard: u16) -> Option<Ended> {
        self.shard(shard).0.ended()
    }

    /// Held from [`Counters::ended`] to [`Counters::owned_up`], so that a loss is told once.
    pub async fn telling(&self, shard: u16) -> tokio::sync::MutexGuard<'_, ()> {
        self.shard(shard).0.telling.lock().await
    }

    /// Forgets what [`Counters::ended`] answered for the epoch.
    pub fn owned_up(&self, shard: u16, epoch: u64) {
        self.shard(shard).0.owned_up(epoch);
    }

    fn saw_epoch(&self, shard: u16, epoch: u64) {
        self.shard(shard).0.saw(epoch, 0, None);
    }

    fn shard(&self, number: u16) -> &(Arc<Shard>, mpsc::Sender<Ticket>) {
        &self.shards[usize::from(number)]
    }
}
