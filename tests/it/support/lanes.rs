//! The counters alone: one shard on a private Redis, without Postgres.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use chrono::DateTime;
use futures_util::future::join_all;
use headroom::background::Supervisor;
use headroom::clock::Clock;
use headroom::counters::Clearing;
use headroom::counters::Counters;
use headroom::counters::Fault;
use headroom::counters::GroupOptions;
use headroom::counters::Lane;
use headroom::counters::LevelBase;
use headroom::counters::LoadOutcome;
use headroom::counters::Operation;
use headroom::counters::OperationKind;
use headroom::counters::Outcome;
use headroom::counters::PackedSheet;
use headroom::counters::Place;
use headroom::counters::RedisOptions;
use headroom::counters::Settlement;
use headroom::counters::ShardFault;
use headroom::counters::Snapshot;
use headroom::counters::Tampering;
use headroom::domain::Amount;
use headroom::domain::Calendar;
use headroom::domain::Event;
use headroom::domain::Limit;
use headroom::domain::Line;
use headroom::domain::Metric;
use headroom::domain::Period;
use headroom::domain::Sheet;
use headroom::domain::Subject;
use headroom::domain::Units;
use headroom::embedded;
use headroom::embedded::RedisServer;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use uuid::Uuid;

use super::mutant;
use super::orders;
use super::recorder::Recorder;
use super::state::State;
use super::stores;

/// How long the counters of an idle subject stay, in seconds.
pub const IDLE_TTL_S: u64 = 800;

/// One open shard, its lane, and the Redis below.
pub struct Lanes {
    _recorder: Option<Recorder>,
    pub redis: RedisServer,
    pub connection: MultiplexedConnection,
    pub counters: Counters,
    pub clock: Clock,
    _folder: TempDir,
}

/// Counters over a Redis, with lanes that nobody runs yet.
pub fn counters(
    redis: &RedisServer,
    shards: u16,
    clock: &Clock,
    tampering: &Tampering,
) -> (Counters, Vec<Lane>) {
    let second = Duration::from_secs(1);
    let place = Place::Single(redis.url());
    let redis = RedisOptions { place, connect_timeout: second, response_timeout: 5 * second };
    let options = GroupOptions {
        group_max: 64,
        idempotency_ttl: Duration::from_mins(1),
        idle_ttl: Duration::from_secs(IDLE_TTL_S),
        outbox_events_max: 1_000_000,
    };
    Counters::new(&redis, options, shards, clock.clone(), tampering).unwrap()
}

impl Lanes {
    /// A shard in its first epoch.
    pub async fn start() -> Self {
        Self::start_without(&[]).await
    }

    /// The same with guards of the scripts taken away.
    pub async fn start_without(guards: &[&'static str]) -> Self {
        let folder = stores::open_folder();
        let options =
            embedded::RedisOptions { dir: folder.path().to_owned(), ..Default::default() };
        let redis = RedisServer::start(options).await.unwrap();
        let recorder = Recorder::start(&redis);
        let clock = Clock::system();
        let (counters, lanes) = counters(&redis, 1, &clock, &mutant::tampering(guards));
        for lane in lanes {
            Supervisor::new().spawn("lane", lane.run());
        }
        let client = redis::Client::open(redis.url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let lanes =
            Self { _recorder: recorder, redis, connection, counters, clock, _folder: folder };
        lanes.open(&lanes.counters, 1).await;
        lanes
    }

    /// Begins an epoch, as a recovery by these counters does.
    pub async fn open(&self, counters: &Counters, epoch: u64) {
        let fault = Fault { kind: ShardFault::Fenced, epoch, seq: 0 };
        let fenced = counters.fence(0, Uuid::now_v7(), fault).await.unwrap().unwrap();
        assert!(counters.open(0, fenced.token, epoch, Uuid::nil()).await.unwrap());
    }

    /// Loads levels that have used nothing, all of one profile version.
    pub async fn load(&self, paths: &[&str], profile_version: u64) {
        let levels = paths.iter().map(|path| LevelBase { profile_version, ..level(path) });
        self.load_levels(levels.collect()).await;
    }

    /// Loads levels as Postgres would have them before any flush.
    pub async fn load_levels(&self, levels: Vec<LevelBase>) {
        self.load_at(0, levels).await;
    }

    /// Loads levels as Postgres would have them at a cursor.
    pub async fn load_at(&self, cursor_seq: u64, levels: Vec<LevelBase>) {
        let count = levels.len();
        let snapshot = Snapshot { cursor_seq, levels, ..self.snapshot() };
        let outcome = self.counters.load(0, &snapshot).await.unwrap();
        assert_eq!(outcome, LoadOutcome::Loaded(count));
    }

    /// What Postgres would have of no level, before any flush and any profile.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            epoch: self.counters.sight(0).epoch,
            cursor_seq: 0,
            ended_after_ms: 0,
            profile_version: 0,
            levels: Vec::new(),
        }
    }

    /// Redis drops a level, as its idle time-out would.
    pub async fn evict(&self, level: &str) {
        let mut command = redis::cmd("DEL");
        command.arg(headroom::counters::keys::subject(0, level));
        let gone: u64 = command.query_async(&mut self.connection.clone()).await.unwrap();
        assert_eq!(gone, 1, "{level}");
    }

    /// Trims the outbox up to an event, as after a flush of no more than that.
    pub async fn trim(&self, seq: u64) {
        let order = Settlement { shard: 0, epoch: 1, cursor_seq: seq, trim_seq: seq, forget: &[] };
        assert_eq!(self.counters.settle(&order).await.unwrap(), None);
    }

    /// Moves the clock to an instant, RFC 3339.
    pub fn move_to(&self, instant: &str) {
        let at_ms = DateTime::parse_from_rfc3339(instant).unwrap().timestamp_millis();
        self.clock.advance(at_ms - self.clock.now_ms());
    }

    /// Stops the clock and the time of the scripts at a second, for a minute: no script goes back behind an instant that was used.
    pub async fn stop_at(&self, at_s: i64) {
        const BEHIND_MS: i64 = 60_000;
        self.clock.advance(at_s * 1_000 - BEHIND_MS - self.clock.now_ms());
        self.stop_again_at(at_s).await;
    }

    /// The same so many seconds after the clock was stopped.
    pub async fn pass_stopped(&self, seconds: i64) {
        self.clock.advance(seconds * 1_000);
        self.stop_again_at(self.clock.now().timestamp() + seconds).await;
    }

    async fn stop_again_at(&self, at_s: i64) {
        self.clock.stop_at(at_s * 1_000);
        let mut command = redis::cmd("HSET");
        command.arg(headroom::counters::keys::meta(0)).arg("now").arg(at_s * 1_000);
        command.exec_async(&mut self.connection.clone()).await.unwrap();
    }

    /// Moves the clock to a second after the next full hour, so that no window ends soon.
    pub fn move_past_the_hour(&self) {
        const HOUR_MS: i64 = 3_600_000;
        let into_ms = self.clock.now_ms().rem_euclid(HOUR_MS);
        self.clock.advance(HOUR_MS - into_ms + 1_000);
    }

    /// A consume of these lines.
    pub fn consume(subject: &str, lines: Vec<Line>) -> Operation {
        let depth = orders::subject(subject).depth();
        let plan = "test".to_owned();
        let sheet = PackedSheet::charge(Sheet { plan, depth, lines, ..Sheet::default() });
        operation(OperationKind::Consume, subject, Arc::new(sheet))
    }

    /// A check against these lines.
    pub fn check(subject: &str, lines: Vec<Line>) -> Operation {
        Operation { kind: OperationKind::Check, ..Self::consume(subject, lines) }
    }

    /// A set or a decrement of these lines' counters.
    pub fn rewrite(kind: OperationKind, subject: &str, lines: Vec<Line>, amount: u64) -> Operation {
        let amount = Units::new(amount).unwrap();
        Operation { kind, amount, ..Self::consume(subject, lines) }
    }

    /// A reset of the last level's counters.
    pub fn reset(subject: &str, metric: Option<&Metric>, clearings: &[Clearing]) -> Operation {
        let depth = orders::subject(subject).depth();
        let sheet = PackedSheet::reset(depth, metric, clearings);
        operation(OperationKind::Reset, subject, Arc::new(sheet))
    }

    /// A hard limit of the current month on the level at `depth`, with a weight of one.
    pub fn line(&self, depth: u8, metric: &str, max: Option<u64>) -> Line {
        self.line_of(depth, Period::Month, metric, max)
    }

    /// The same of another period.
    pub fn line_of(&self, depth: u8, period: Period, metric: &str, max: Option<u64>) -> Line {
        let max = max.map(|max| Units::new(max).unwrap());
        let limit = Limit::new(orders::metric(metric), period, max);
        Line::at(depth, limit, Amount::ONE, self.clock.now(), &Calendar::UTC)
    }

    /// The same over a trailing minute or hour.
    pub fn sliding(&self, depth: u8, period: Period, metric: &str, max: Option<u64>) -> Line {
        let Line { mut limit, .. } = self.line_of(depth, period, metric, max);
        limit.sliding = true;
        Line::at(depth, limit, Amount::ONE, self.clock.now(), &Calendar::UTC)
    }

    /// The state of a level; panics when it is not loaded.
    pub async fn state(&self, level: &str) -> State {
        let key = headroom::counters::keys::subject(0, level);
        State::read(&self.connection, &key).await.unwrap()
    }

    /// Submits one operation.
    pub async fn submit(&self, operation: Operation) -> Outcome {
        self.counters.submit(Box::new(operation)).await.unwrap().1.unwrap()
    }

    /// Submits all at once, so that they queue while the lane has no turn, and answers their outcomes.
    pub async fn submit_together(&self, operations: Vec<Operation>) -> Vec<Outcome> {
        join_all(operations.into_iter().map(|operation| self.submit(operation))).await
    }

    /// The events in the outbox, oldest first.
    pub async fn events(&self) -> Vec<Event> {
        let entries = self.counters.read_entries(0, None, 1_000).await.unwrap();
        entries.into_iter().flat_map(|entry| entry.events.unwrap()).collect()
    }

    /// How many entries the outbox holds.
    pub async fn outbox_entries(&self) -> u64 {
        let mut connection = self.connection.clone();
        let mut command = redis::cmd("XLEN");
        command.arg(headroom::counters::keys::outbox(0));
        command.query_async(&mut connection).await.unwrap()
    }
}

/// A level that has used nothing, without a profile, as Postgres would have it.
pub fn level(path: &str) -> LevelBase {
    LevelBase {
        path: path.to_owned(),
        profile_version: 0,
        profile: String::new(),
        reset_at_ms: 0,
        counters: Vec::new(),
    }
}

/// An operation against a sheet.
pub fn operation(kind: OperationKind, subject: &str, sheet: Arc<PackedSheet>) -> Operation {
    Operation {
        kind,
        subject: orders::subject(subject),
        sheet,
        event_id: Uuid::now_v7(),
        idempotency: None,
        model: None,
        request_id: "a-test".to_owned(),
        trace_id: None,
        metadata: None,
        amount: Amount::ONE.into(),
        hold: None,
        refunds: None,
        profile_versions: [0; Subject::LEVELS_MAX],
        deadline: Instant::now() + Duration::from_secs(10),
        since_seq: None,
        since_epoch: 0,
    }
}

/// The units that a set, a decrement or a reset added to each counter; panics when it was not done.
pub fn rewritten(outcome: &Outcome) -> Vec<i64> {
    let Outcome::Rewritten { lines, .. } = outcome else { panic!("not rewritten: {outcome:?}") };
    lines.iter().map(|line| line.units).collect()
}

/// The units that an event added to each counter.
pub fn units(event: &Event) -> Vec<i64> {
    event.deltas.lines.iter().map(|delta| delta.units).collect()
}

/// Whether the outcome is an acceptance, and what is used after it; panics when nothing was decided.
pub fn decided(outcome: &Outcome) -> (bool, Vec<u64>) {
    let Outcome::Decided { accepted, used, .. } = outcome else {
        panic!("not decided: {outcome:?}");
    };
    (*accepted, used.iter().map(|units| units.get()).collect())
}
