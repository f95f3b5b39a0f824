//! A Redis, a database and the service on them.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use headroom::app::ledger_options;
use headroom::clock::Clock;
use headroom::config::Config;
use headroom::config::SecretUrl;
use headroom::domain::Permission;
use headroom::embedded::PostgresOptions;
use headroom::embedded::PostgresServer;
use headroom::embedded::RedisOptions;
use headroom::embedded::RedisServer;
use headroom::ledger::Ledger;
use headroom::quota::KeyRequest;
use headroom::quota::KeyRing;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::NoTls;

use crate::Failure;
use crate::Plan;
use crate::child::Child;
use crate::load::Load;
use crate::load::Until;
use crate::load::Who;

/// Nothing is refused but callers who have not signed in, who may do nothing: both kinds meet two limits. Teams and their
/// members have six each.
const CATALOGUE: &str = r#"
metrics = ["messages", "premium_messages"]
default_plan = "chat"
anonymous_plan = "nothing"
scope_plans = { team = "six", member = "six" }

[plans.chat]
limits = [
    { metric = "messages", period = "month", max = 1000000000 },
    { metric = "premium_messages", period = "month", max = 1000000000 },
]

[plans.six]
limits = [
    { metric = "messages", period = "hour", max = 1000000000 },
    { metric = "messages", period = "day", max = 1000000000 },
    { metric = "messages", period = "month", max = 1000000000 },
    { metric = "premium_messages", period = "hour", max = 1000000000 },
    { metric = "premium_messages", period = "day", max = 1000000000 },
    { metric = "premium_messages", period = "month", max = 1000000000 },
]

[plans.nothing]
limits = [
    { metric = "messages", period = "month", max = 0 },
    { metric = "premium_messages", period = "month", max = 0 },
]

[[models]]
names = ["claude-*"]
charges = { messages = 1, premium_messages = 1 }
anonymous = true
"#;
const POLL: Duration = Duration::from_millis(5);
const DRAIN_WAIT: Duration = Duration::from_mins(5);

/// Where the flusher runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flusher {
    /// In a second process.
    Elsewhere,
    /// In the process that answers requests.
    Inside,
    /// Nowhere yet.
    None,
}

/// A Redis with an append-only file that is synced every second, and that is not rewritten: on few cores a rewrite's
/// child takes the core of what is measured, and whether one falls into a case is chance.
fn redis_options(dir: &Path) -> RedisOptions {
    let extra = ["--auto-aof-rewrite-percentage", "0"].map(str::to_owned).to_vec();
    RedisOptions { dir: dir.to_owned(), append_only: true, extra, ..RedisOptions::default() }
}

/// A durable Postgres for all stands.
pub(crate) async fn postgres(dir: &Path) -> Result<PostgresServer, Failure> {
    let options =
        PostgresOptions { dir: dir.join("postgres"), durable: true, ..PostgresOptions::default() };
    std::fs::create_dir_all(&options.dir)?;
    Ok(PostgresServer::start(options).await?)
}

/// The service with its own Redis and database.
pub(crate) struct Stand {
    settings: Vec<(&'static str, String)>,
    log: PathBuf,
    pub(crate) key: String,
    pub(crate) api: Child,
    pub(crate) background: Option<Child>,
    pub(crate) redis: RedisServer,
    pub(crate) database: Client,
    /// Events that were accepted since the beginning.
    pub(crate) accepted: u64,
    _connections: JoinSet<()>,
}

impl Stand {
    /// Starts the service under a name that is also its database's.
    pub(crate) async fn start(
        dir: &Path,
        postgres: &PostgresServer,
        name: &str,
        flusher: Flusher,
        plan: Plan,
    ) -> Result<Self, Failure> {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let redis = RedisServer::start(redis_options(&dir)).await?;
        let mut connections = JoinSet::new();
        let owner = connect(&postgres.url("headroom"), &mut connections).await?;
        owner.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let url = postgres.url(name);
        let database = connect(&url, &mut connections).await?;
        let key = prepare(&url, plan.shards).await?;
        let catalogue = dir.join("catalogue.toml");
        std::fs::write(&catalogue, CATALOGUE)?;
        let settings = vec![
            ("REDIS_URL", redis.url()),
            ("DATABASE_URL", url),
            ("HEADROOM_QUOTA_CATALOGUE", catalogue.to_string_lossy().into_owned()),
            ("HEADROOM_LOG_LEVEL", "warn".to_owned()),
            ("HEADROOM_SERVER_WORKER_THREADS", plan.workers.to_string()),
            ("HEADROOM_QUOTA_SHARDS", plan.shards.to_string()),
        ];
        let log = dir.join("headroom.log");
        let role = if flusher == Flusher::Inside { "all" } else { "api" };
        let api = Child::serve(&log, with_role(&settings, role)).await?;
        let (accepted, background) = (0, None);
        let mut stand = Self {
            settings,
            log,
            key,
            api,
            background,
            redis,
            database,
            accepted,
            _connections: connections,
        };
        if flusher == Flusher::Elsewhere {
            stand.start_flusher().await?;
        }
        Ok(stand)
    }

    /// Changes a setting of the processes that are started from now on.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.settings.push((name, value.to_owned()));
    }

    /// Starts the second process, which flushes.
    pub(crate) async fn start_flusher(&mut self) -> Result<(), Failure> {
        let settings = with_role(&self.settings, "background");
        self.background = Some(Child::serve(&self.log, settings).await?);
        Ok(())
    }

    /// A load of accepted requests without idempotency keys.
    pub(crate) fn load(&self, subjects: u64, until: Until) -> Load {
        Load {
            holds: false,
            address: self.api.address,
            key: self.key.clone(),
            who: Who::User,
            subjects,
            idempotency: None,
            status: 200,
            until,
        }
    }

    /// Charges every subject once, so that none has to be loaded from Postgres later.
    pub(crate) async fn warm_up(&mut self, subjects: u64) -> Result<(), Failure> {
        let outcome = self.load(subjects, Until::Count(subjects)).run().await?;
        self.accepted += outcome.count();
        let all = self.load(subjects, Until::Count(subjects));
        Load { who: Who::Anonymous, status: 429, ..all }.run().await?;
        self.wait_flushed().await
    }

    /// The same for the members of teams.
    pub(crate) async fn warm_up_members(&mut self, subjects: u64) -> Result<(), Failure> {
        let members = self.load(subjects, Until::Count(subjects));
        self.accepted += Load { who: Who::Member, ..members }.run().await?.count();
        self.wait_flushed().await
    }

    /// Events that are in Postgres.
    pub(crate) async fn flushed(&self) -> Result<u64, Failure> {
        let sql = "SELECT coalesce(sum(seq), 0)::bigint FROM outbox_cursors";
        Ok(u64::try_from(self.database.query_one(sql, &[]).await?.get::<_, i64>(0))?)
    }

    /// Accepted events that are not in Postgres.
    pub(crate) async fn lag(&self) -> Result<u64, Failure> {
        Ok(self.accepted.saturating_sub(self.flushed().await?))
    }

    /// Waits until the outbox is empty.
    pub(crate) async fn wait_flushed(&self) -> Result<(), Failure> {
        let started_at = Instant::now();
        while self.lag().await? > 0 {
            if started_at.elapsed() > DRAIN_WAIT {
                return Err("the flusher does not come to an end".into());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The processes whose time is a decision's cost.
    pub(crate) fn pids(&self) -> [u32; 2] {
        [self.api.pid(), self.redis.pid()]
    }
}

fn with_role(settings: &[(&'static str, String)], role: &str) -> Vec<(&'static str, String)> {
    [settings, &[("HEADROOM_ROLE", role.to_owned())]].concat()
}

/// Makes the tables and a key that may consume.
async fn prepare(url: &str, shards: u16) -> Result<String, Failure> {
    Ledger::migrate(url, shards).await?;
    let mut config = Config::load(None, Vec::new())?;
    config.postgres.url = SecretUrl::new(url);
    let ledger = Ledger::connect(&ledger_options(&config))?;
    let request = KeyRequest {
        name: "bench".to_owned(),
        permissions: [Permission::Consume].into_iter().collect(),
        subject_prefix: None,
        expires_at: None,
    };
    let key = KeyRing::create(&ledger, request, "cli", Clock::system().now()).await?;
    Ok(key.reveal().to_owned())
}

async fn connect(url: &str, connections: &mut JoinSet<()>) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    connections.spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("a connection to postgres ended: {error}");
        }
    });
    Ok(client)
}
