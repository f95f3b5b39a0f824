//! The steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use headroom::counters::keys;
use headroom::domain::Amount;
use headroom::domain::Period;
use headroom::quota::Ask;
use headroom::quota::Order;
use headroom::quota::Quota;
use headroom::quota::QuotaError;
use headroom::quota::ResetScope;

use super::dice::Dice;
use super::reference::Expected;
use super::reference::Reference;
use super::reference::check_windows;
use super::reference::said;
use super::reference::used;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::stores::SHARDS;

const CATALOGUE: &str = r#"
metrics = ["messages", "tokens", "images"]
default_plan = "only"
[plans.only]
limits = [
    { metric = "messages", period = "month", max = 40 },
    { metric = "messages", period = "day", max = 12 },
    { metric = "messages", period = "lifetime" },
    { metric = "tokens", period = "hour", max = 5, mode = "soft", grace = 3 },
    { metric = "tokens", period = "week", max = 4, mode = "shadow" },
    { metric = "images", period = "month", max = 0 },
]
[[models]]
names = ["*"]
charges = { messages = 1, tokens = 2 }
"#;

const SUBJECTS: [&str; 4] = ["user:u_1", "user:u_2", "org:acme/user:u_1", "org:acme"];
const METRICS: [&str; 3] = ["messages", "tokens", "images"];
const NODES: usize = 2;
const HOUR_MS: i64 = 3_600_000;

/// Nodes, and what they must answer.
pub struct Walk {
    app: TestApp,
    dice: Dice,
    reference: Reference,
}

impl Walk {
    pub async fn start(seed: u64) -> Self {
        let catalogue = Some(CATALOGUE.to_owned());
        let options = Options { nodes: NODES, catalogue, ..Options::default() };
        let app = TestApp::start_with(options.with("HEADROOM_FLUSHER_TRIM_LAG_S", 0)).await;
        Self { app, dice: Dice::new(seed), reference: Reference::new(CATALOGUE) }
    }

    /// One random step. `place` is named when an answer is wrong.
    pub async fn step(&mut self, place: &str) {
        match self.dice.below(1_000) {
            0..600 => self.order(place).await,
            600..680 => self.look(place).await,
            680..740 => self.reset(place).await,
            740..820 => drop(self.app.flush().await),
            820..940 => self.evict().await,
            940..950 => self.forget_scripts().await,
            950..954 => self.restart().await,
            _ => self.move_clock(),
        }
    }

    /// Flushes, and compares Postgres with the reference.
    pub async fn finish(self) {
        const COUNTERS: &str = "SELECT subject, metric, period,
            extract(epoch FROM window_start)::bigint, used FROM usage_counters WHERE used <> 0";
        self.app.flush().await;
        let postgres = self.app.postgres().await;
        let rows = postgres.query(COUNTERS, &[]).await.unwrap();
        let counters = rows.iter().map(|row| {
            let period = Period::named(row.get(2)).unwrap();
            let used = u64::try_from(row.get::<_, i64>(4)).unwrap();
            ((row.get(0), row.get(1), period, row.get(3)), used)
        });
        assert_eq!(counters.collect::<BTreeMap<_, _>>(), self.reference.counters());
        assert_eq!(self.app.verify().await.events, self.reference.events);
        self.app.finish().await;
    }

    /// The use-cases of some node.
    fn quota(&mut self) -> Arc<Quota> {
        let node = usize::from(self.dice.below(NODES as u64) == 1);
        self.app.quota_of(node).clone()
    }

    /// The levels of the subject that are not in Redis are about to be loaded.
    async fn foresee_a_load(&mut self, subject: &str) {
        let shard = orders::shard_of(subject);
        let mut redis = self.app.redis().await;
        for level in orders::subject(subject).levels() {
            let mut look = redis::pipe();
            look.exists(keys::subject(shard, level)).hget(keys::meta(shard), "floor");
            let (is_there, floor): (bool, Option<u64>) =
                look.query_async(&mut redis).await.unwrap();
            if !is_there {
                self.reference.restore(level, floor.unwrap_or(0));
            }
        }
    }

    /// A consume, with a key or without, or a check.
    async fn order(&mut self, place: &str) {
        let subject = self.dice.choose(&SUBJECTS);
        let metric = self.dice.choose(&METRICS);
        let is_model = self.dice.below(3) == 0;
        let key = (self.dice.below(4) == 0).then(|| format!("key-{}", self.dice.below(30)));
        let order = Order {
            ask: if is_model {
                Ask::Model("any".to_owned())
            } else {
                orders::one(subject, metric).ask
            },
            amount: Amount::new(self.dice.below(4)).unwrap(),
            idempotency_key: key,
            ..orders::one(subject, metric)
        };
        let is_check = self.dice.below(6) == 0;
        let quota = self.quota();
        self.foresee_a_load(subject).await;

        let answer = if is_check {
            quota.check(order.clone()).await
        } else {
            quota.consume(order.clone()).await
        };

        let (answer, at_ms) = match answer {
            Ok(decision) => (said(&decision), decision.decided_at_ms),
            Err(QuotaError::IdempotencyMismatch) => (Expected::Mismatch, 0),
            Err(error) => panic!("{place}: {order:?}: {error}"),
        };
        let expected = self.reference.decide(&order, is_check, at_ms);
        assert_eq!(answer, expected, "{place}: {order:?}");
    }

    async fn look(&mut self, place: &str) {
        let subject = self.dice.choose(&SUBJECTS);
        let quota = self.quota();
        self.foresee_a_load(subject).await;

        let usage = quota.usage(&orders::subject(subject)).await.unwrap();

        check_windows(&usage.limits, usage.decided_at_ms);
        assert_eq!(used(&usage.limits), self.reference.usage(&usage), "{place}: {subject}");
    }

    async fn reset(&mut self, place: &str) {
        let subject = self.dice.choose(&SUBJECTS);
        let metric = (self.dice.below(2) == 0).then(|| self.dice.choose(&METRICS));
        let period = (self.dice.below(2) == 0).then(|| self.dice.choose(&Period::ALL));
        let scope = ResetScope { metric: metric.map(orders::metric), period };
        let quota = self.quota();
        self.foresee_a_load(subject).await;

        let report =
            quota.reset(&orders::subject(subject), scope.clone(), &orders::actor()).await.unwrap();

        let at_ms = report.usage.last_reset_at.unwrap().timestamp_millis();
        let cleared = self.reference.reset(subject, &scope, at_ms);
        assert_eq!(report.counters, cleared, "{place}: {subject} {scope:?}");
        assert_eq!(used(&report.usage.limits), self.reference.usage(&report.usage), "{place}");
    }

    /// Redis drops a subject.
    async fn evict(&mut self) {
        let subject = self.dice.choose(&SUBJECTS);
        let shard = orders::subject(subject).shard(SHARDS);
        let mut redis = self.app.redis().await;
        let mut command = redis::cmd("DEL");
        let _: u64 =
            command.arg(keys::subject(shard, subject)).query_async(&mut redis).await.unwrap();
    }

    async fn forget_scripts(&mut self) {
        let mut redis = self.app.redis().await;
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut redis).await.unwrap();
    }

    async fn restart(&mut self) {
        self.app.stop_nodes().await;
        for _ in 0..NODES {
            self.app.add_node().await;
        }
    }

    /// On by minutes, hours or days, and now and then back.
    fn move_clock(&mut self) {
        let hours = self.dice.choose(&[1, 1, 1, 5, 24, 24, 200]);
        let is_back = self.dice.below(5) == 0;
        self.app.clock.advance(if is_back { -HOUR_MS } else { hours * HOUR_MS });
    }
}
