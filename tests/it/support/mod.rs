//! What tests share: private stores, nodes in this process, callers.

pub mod caller;
pub mod poll;
pub mod process;
pub mod stores;

use std::sync::Arc;

use headroom::app::App;
use headroom::app::Core;
use headroom::app::Hooks;
use headroom::clock::Clock;
use headroom::config::Config;
use headroom::counters::GuardsOff;
use headroom::quota::FlushState;
use headroom::quota::FlushStep;
use headroom::quota::Guards;
use headroom::quota::Quota;
use headroom::quota::verify::Report;

use self::caller::Caller;
use self::stores::Stores;

/// The bootstrap key of every node under test.
pub const ADMIN_KEY: &str = "the-admin-key-of-the-tests";

/// How a test wants its nodes.
#[derive(Clone)]
pub struct Options {
    /// Nodes in this process, on the same stores.
    pub nodes: usize,
    /// Whether each node flushes by itself. Without, [`TestApp::flush`] does, when the test says so.
    pub flushers: bool,
    /// Settings by the names of environment variables, on top of the tests' own.
    pub settings: Vec<(String, String)>,
    /// The catalogue's text; the chat's when `None`.
    pub catalogue: Option<String>,
    /// A Postgres of the test's own, which it may stop and kill.
    pub own_postgres: bool,
    /// Guards of the scripts that are off.
    pub scripts_off: Vec<&'static str>,
    /// Guards of the use-cases.
    pub guards: Guards,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 1,
            flushers: false,
            settings: Vec::new(),
            catalogue: None,
            own_postgres: false,
            scripts_off: Vec::new(),
            guards: Guards::default(),
        }
    }
}

impl Options {
    /// Adds a setting by the name of its environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }
}

/// Nodes in this process, on stores of their own.
pub struct TestApp {
    /// The private stores.
    pub stores: Stores,
    /// The clock of all nodes: moving it moves the time that the scripts see.
    pub clock: Clock,
    options: Options,
    apps: Vec<App>,
}

impl TestApp {
    /// One node on the chat catalogue, without a flusher.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Nodes as the options say.
    pub async fn start_with(options: Options) -> Self {
        let stores = Stores::start(options.own_postgres).await;
        let mut app = Self { stores, clock: Clock::system(), options, apps: Vec::new() };
        for _ in 0..app.options.nodes {
            app.add_node().await;
        }
        app
    }

    /// Starts another node on the same stores.
    pub async fn add_node(&mut self) {
        let hooks = self.hooks();
        self.apps.push(App::start(&self.config(), hooks).await.unwrap());
    }

    /// Stops and drops all nodes, as a restart of the service does first.
    pub async fn stop_nodes(&mut self) {
        for app in self.apps.drain(..) {
            assert!(app.stop().await.is_clean());
        }
    }

    /// The settings of the nodes.
    pub fn config(&self) -> Config {
        let role = if self.options.flushers { "all" } else { "api" };
        let mut settings = vec![
            ("DATABASE_URL".to_owned(), self.stores.postgres_url.clone()),
            ("REDIS_URL".to_owned(), self.stores.redis.url()),
            ("HEADROOM_ROLE".to_owned(), role.to_owned()),
            ("HEADROOM_QUOTA_SHARDS".to_owned(), stores::SHARDS.to_string()),
            ("HEADROOM_SERVER_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("HEADROOM_AUTH_ADMIN_KEY".to_owned(), ADMIN_KEY.to_owned()),
        ];
        if let Some(catalogue) = &self.options.catalogue {
            let file = self.stores.folder().join("catalogue.toml");
            std::fs::write(&file, catalogue).unwrap();
            settings.push(("HEADROOM_QUOTA_CATALOGUE".to_owned(), file.display().to_string()));
        }
        settings.retain(|(name, _)| self.options.settings.iter().all(|(own, _)| own != name));
        settings.extend(self.options.settings.iter().cloned());
        Config::load(None, settings).unwrap()
    }

    fn hooks(&self) -> Hooks {
        Hooks {
            guards: self.options.guards,
            guards_off: GuardsOff(self.options.scripts_off.clone()),
            clock: Some(self.clock.clone()),
        }
    }

    /// The use-cases of the first node.
    pub fn quota(&self) -> &Arc<Quota> {
        self.apps[0].quota()
    }

    /// The use-cases of a node.
    pub fn quota_of(&self, node: usize) -> &Arc<Quota> {
        self.apps[node].quota()
    }

    /// An admin who calls the first node over HTTP.
    pub fn caller(&self) -> Caller {
        self.caller_of(0)
    }

    /// An admin who calls a node over HTTP.
    pub fn caller_of(&self, node: usize) -> Caller {
        Caller::new(&format!("http://{}", self.apps[node].address()), ADMIN_KEY)
    }

    /// Flushes until nothing is left, and answers how many events that were.
    pub async fn flush(&self) -> u64 {
        flush_all(self.quota()).await
    }

    /// Reads both stores and checks every invariant.
    pub async fn verify(&self) -> Report {
        self.quota().verify().await.unwrap()
    }

    /// A connection to Redis, for looking and for breaking things.
    pub async fn redis(&self) -> redis::aio::MultiplexedConnection {
        self.stores.redis_connection().await
    }

    /// A client of Postgres, for looking and for breaking things.
    pub async fn postgres(&self) -> stores::PostgresClient {
        self.stores.postgres_client().await
    }

    /// The use-cases without a node, as the command line has them.
    pub async fn core(&self) -> Core {
        Core::start(&self.config(), self.hooks()).await.unwrap()
    }

    /// Flushes, checks I1–I8, and stops the nodes.
    pub async fn finish(mut self) {
        self.flush().await;
        let report = self.verify().await;
        assert!(report.is_clean(), "{}", serde_json::to_string_pretty(&report).unwrap());
        assert_eq!(report.pending, 0, "everything is in postgres");
        self.stop_nodes().await;
    }
}

/// Flushes every shard until nothing is left, and answers how many events that were.
pub async fn flush_all(quota: &Quota) -> u64 {
    let mut events = 0;
    for shard in 0..quota.shard_count() {
        let mut state = FlushState::default();
        loop {
            match quota.flush(shard, &mut state).await.unwrap() {
                FlushStep::Flushed(count) => events += count,
                FlushStep::Again => {}
                FlushStep::Idle => break,
            }
        }
    }
    events
}
