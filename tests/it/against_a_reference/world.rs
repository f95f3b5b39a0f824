//! The system: two nodes on one Redis and one Postgres, for all cases. Each case has subjects of its own.

use std::cell::Cell;
use std::collections::BTreeMap;

use headroom::counters::Fault;
use headroom::counters::ShardFault;
use headroom::counters::keys;
use headroom::domain::Catalogue;
use headroom::domain::Period;
use headroom::quota::CatalogueChange;
use headroom::quota::Expected;
use headroom::quota::Quota;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::reference::Count;
use super::reference::Counter;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::flush_all;
use crate::support::orders;
use crate::support::orders::actor;
use crate::support::stores::SHARDS;

const NODES: usize = 2;
/// The clock of Redis itself stands behind the instant that Redis remembers, and so does not move it on; by so much.
const BEHIND_MS: i64 = 3_600_000;

/// The servers and nodes.
pub struct World {
    pub app: TestApp,
    pub runtime: Runtime,
    cases: Cell<usize>,
    /// Commands so far.
    pub steps: Cell<u64>,
    /// When the world was made, by the clock on the wall.
    started_ms: i64,
}

impl World {
    pub fn start() -> Self {
        // What the nodes warn of is shown with a failure. Another test may have been first.
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_test_writer();
        let _ = log.try_init();
        let runtime = Runtime::new().unwrap();
        let options = Options { nodes: NODES, ..Options::default() }.patient();
        // What a load needs of counters of minutes and hours stays in the outbox.
        let options = options.with("HEADROOM_FLUSHER_TRIM_LAG_S", 86_400);
        let app = runtime.block_on(TestApp::start_with(options));
        let started_ms = app.clock.now_ms();
        let world = Self { app, runtime, cases: Cell::new(0), steps: Cell::new(0), started_ms };
        world.runtime.block_on(world.begin());
        world
    }

    /// Stops the clocks; and every subject is known for longer than any case goes back.
    async fn begin(&self) {
        const KNOWN_FOR_LONG: &str = "CREATE FUNCTION known_for_long() RETURNS trigger AS
                $$ BEGIN NEW.created_at := '2020-01-01'; RETURN NEW; END $$ LANGUAGE plpgsql;
            CREATE TRIGGER known_for_long BEFORE INSERT OR UPDATE ON subjects
                FOR EACH ROW EXECUTE FUNCTION known_for_long()";
        self.app.postgres().await.batch_execute(KNOWN_FOR_LONG).await.unwrap();
        self.set_time(self.started_ms).await;
        for node in 0..NODES {
            // Its answer, whatever it is, tells the node what time it is in Redis.
            drop(self.quota(node).usage(&orders::subject("user:nobody")).await);
        }
    }

    /// The prefix of another case.
    pub fn next_prefix(&self) -> String {
        self.cases.set(self.cases.get() + 1);
        format!("c{}_", self.cases.get())
    }

    pub fn cases(&self) -> usize {
        self.cases.get()
    }

    pub fn quota(&self, node: usize) -> &Quota {
        self.app.quota_of(node)
    }

    /// Puts the scripts' time at an instant, where it stands still.
    pub async fn set_time(&self, at_ms: i64) {
        let mut redis = self.app.redis().await;
        for shard in 0..SHARDS {
            let mut command = redis::cmd("HSET");
            command.arg(keys::meta(shard)).arg("now").arg(at_ms);
            command.exec_async(&mut redis).await.unwrap();
        }
        let clock = &self.app.clock;
        clock.advance(at_ms - BEHIND_MS - self.started_ms - clock.offset_ms());
        clock.stop_at(at_ms);
    }

    /// Replaces the catalogue, in force on both nodes when this returns.
    pub async fn replace(&self, node: usize, catalogue: Catalogue) {
        let change = CatalogueChange::All(catalogue);
        self.quota(node).change_catalogue(change, Expected::Any, &actor()).await.unwrap();
        self.quota(1 - node).follow_catalogue().await.unwrap();
    }

    /// Redis drops a level, and its profile perhaps.
    pub async fn evict(&self, path: &str, with_profile: bool) {
        let shard = orders::shard_of(path);
        let mut command = redis::cmd("DEL");
        command.arg(keys::subject(shard, path));
        if with_profile {
            command.arg(keys::profile(shard, path));
        }
        command.exec_async(&mut self.app.redis().await).await.unwrap();
    }

    /// Redis drops all levels. Time may go back after this: nothing knows a later one.
    pub async fn evict_all(&self) {
        let mut redis = self.app.redis().await;
        for shard in 0..SHARDS {
            let mut find = redis::cmd("KEYS");
            find.arg(keys::subject_pattern(shard));
            let found: Vec<Vec<u8>> = find.query_async(&mut redis).await.unwrap();
            if !found.is_empty() {
                redis::cmd("DEL").arg(found).exec_async(&mut redis).await.unwrap();
            }
        }
    }

    pub async fn forget_scripts(&self) {
        let mut command = redis::cmd("SCRIPT");
        command.arg("FLUSH").exec_async(&mut self.app.redis().await).await.unwrap();
    }

    /// Makes every shard suspect, and has a node's flusher recover it.
    pub async fn recover(&self, node: usize) {
        for shard in 0..SHARDS {
            let cursor = self.app.ledger().cursor(shard).await.unwrap();
            let fault = Fault { kind: ShardFault::Gap, epoch: cursor.epoch, seq: cursor.seq };
            self.app.counters().fence(shard, Uuid::now_v7(), fault).await.unwrap().unwrap();
        }
        flush_all(self.quota(node)).await;
    }

    /// What Postgres counts for a case's subjects, whose prefix is taken off.
    pub async fn counters(&self, prefix: &str) -> BTreeMap<Counter, Count> {
        const COUNTERS: &str = "SELECT subject, metric, period,
                extract(epoch FROM window_start)::bigint, extract(epoch FROM window_end)::bigint,
                used, (extract(epoch FROM reset_at) * 1000)::bigint, CASE WHEN rolled_over THEN carried END,
                refunded
            FROM usage_counters WHERE subject ~ $1";
        let postgres = self.app.postgres().await;
        let rows = postgres.query(COUNTERS, &[&format!("^[a-z]+:{prefix}")]).await.unwrap();
        let counters = rows.iter().map(|row| {
            let path = row.get::<_, String>(0).replacen(prefix, "", 1);
            let period = Period::named(row.get(2)).unwrap();
            let used = u64::try_from(row.get::<_, i64>(5)).unwrap();
            let units = |units: i64| u64::try_from(units).unwrap();
            let count = Count {
                end_s: row.get(4),
                used,
                carried: row.get::<_, Option<i64>>(7).map(units),
                refunded: units(row.get(8)),
                reset_at_ms: row.get(6),
            };
            ((path, row.get(1), period, false, row.get(3)), count)
        });
        counters.collect()
    }

    /// How many events the log has of a case's subjects, and their acts on counters in the order of the audit log.
    pub async fn logged(&self, prefix: &str) -> (i64, Vec<String>) {
        let postgres = self.app.postgres().await;
        let pattern = format!("^[a-z]+:{prefix}");
        let events = "SELECT count(*) FROM message_logs WHERE subject ~ $1";
        let events = postgres.query_one(events, &[&pattern]).await.unwrap().get(0);
        let acts = "SELECT action FROM audit_log
            WHERE target ~ $1 AND action LIKE 'usage.%' ORDER BY action";
        let acts = postgres.query(acts, &[&pattern]).await.unwrap();
        (events, acts.iter().map(|row| row.get(0)).collect())
    }
}
