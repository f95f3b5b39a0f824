//! What tests share: private stores, nodes in this process, callers.

pub mod advance;
pub mod caller;
pub mod forward;
pub mod gate;
pub mod image;
pub mod lanes;
pub mod mutant;
pub mod openapi;
pub mod orders;
pub mod poll;
pub mod process;
pub mod program;
#[allow(dead_code, reason = "headroom-torture uses more of it")]
#[path = "../../../torture/proxy.rs"]
pub mod proxy;
pub mod raw;
pub mod recorder;
pub mod state;
pub mod stores;

use std::net::SocketAddr;
use std::sync::Arc;

use headroom::app::App;
use headroom::app::Core;
use headroom::app::Hooks;
use headroom::clock::Clock;
use headroom::config::Config;
use headroom::counters::Counters;
use headroom::ledger::Ledger;
use headroom::quota::FlushState;
use headroom::quota::FlushStep;
use headroom::quota::Guards;
use headroom::quota::Quota;
use headroom::quota::verify::Report;

use self::caller::Caller;
use self::proxy::Proxy;
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

/// The settings of a service that waits long for its stores and its answers.
pub const PATIENT: [(&str, &str); 4] = [
    ("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", "30000"),
    ("HEADROOM_POSTGRES_CONNECT_TIMEOUT_MS", "30000"),
    ("HEADROOM_REDIS_CONNECT_TIMEOUT_MS", "10000"),
    ("HEADROOM_REDIS_RESPONSE_TIMEOUT_MS", "10000"),
];

impl Options {
    /// Waits long for the stores and for answers, so that a busy machine changes nothing.
    #[must_use]
    pub fn patient(self) -> Self {
        PATIENT.into_iter().fold(self, |options, (name, value)| options.with(name, value))
    }

    /// Adds a setting by the name of its environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
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
    /// Nodes as the options say, which reach Redis through a network that can fail.
    pub async fn start_behind_proxy(options: Options) -> (Self, Proxy) {
        let nodes = options.nodes;
        let mut app = Self::start_with(Options { nodes: 0, ..options }).await;
        let proxy = Proxy::start(app.stores.redis.port()).await.unwrap();
        app.set("REDIS_URL", proxy.url());
        for _ in 0..nodes {
            app.add_node().await;
        }
        (app, proxy)
    }

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
        self.add_node_with_clock(self.clock.clone()).await;
    }

    /// Starts another node whose clock is its own.
    pub async fn add_node_with_clock(&mut self, clock: Clock) {
        let hooks = Hooks { clock: Some(clock), ..self.hooks() };
        self.apps.push(App::start(&self.config(), hooks).await.unwrap());
    }

    /// Changes a setting of the nodes that are started from now on.
    pub fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        self.options.settings.retain(|(known, _)| known != name);
        self.options.settings.push((name.to_owned(), value.to_string()));
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
            // On a machine that runs all tests at once a connection may take its time.
            ("HEADROOM_POSTGRES_CONNECT_TIMEOUT_MS".to_owned(), "10000".to_owned()),
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
            tampering: mutant::tampering(&self.options.scripts_off),
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

    /// The ledger of the first node.
    pub fn ledger(&self) -> &Arc<Ledger> {
        self.apps[0].ledger()
    }

    /// The counters without a node, for the steps of flushers, loads and recoveries one by one.
    pub fn counters(&self) -> Counters {
        let tampering = mutant::tampering(&self.options.scripts_off);
        lanes::counters(&self.stores.redis, stores::SHARDS, &self.clock, &tampering).0
    }

    /// Where the first node answers.
    pub fn address(&self) -> SocketAddr {
        self.apps[0].address()
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
        self.stores.remove_database().await;
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
