//! Wiring: which parts there are, in which order they start, and in which they stop.

mod options;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::background::Shutdown;
use crate::background::Supervisor;
use crate::background::denials;
use crate::background::drift;
use crate::background::feed;
use crate::background::flusher;
use crate::background::upkeep;
use crate::background::webhooks;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::RetentionConfig;
use crate::config::Role;
use crate::config::ServerConfig;
use crate::counters::Counters;
use crate::counters::CountersError;
use crate::counters::StartupReport;
use crate::counters::Tampering;
use crate::domain::Catalogue;
use crate::domain::CatalogueError;
use crate::http;
use crate::ledger::Ledger;
use crate::ledger::LedgerError;
use crate::ledger::LedgerOptions;
use crate::quota::Found;
use crate::quota::Guards;
use crate::quota::KeyError;
use crate::quota::KeyRing;
use crate::quota::Quota;
use crate::quota::QuotaError;
use crate::quota::QuotaParts;
use crate::quota::StartError;
use crate::telemetry::take_traces;

use self::options::group_options;
use self::options::quota_options;
use self::options::redis_options;

pub use self::options::ledger_options;

/// The catalogue that is used when the configuration names none.
const CHAT_CATALOGUE: &str = include_str!("../../deploy/catalogues/chat.toml");
/// The pause between two looks at the log's partitions.
const PARTITIONS_PAUSE: Duration = Duration::from_hours(1);
/// The pause between two looks for facts that are older than they are kept.
const RETENTION_PAUSE: Duration = Duration::from_mins(10);
/// The pause between two looks whether what was flushed is to be folded into the rollups of the subjects.
const ROLLUPS_PAUSE: Duration = Duration::from_secs(5);
/// The pause between two looks for rules that are due, which is each every five seconds.
const ALERTS_PAUSE: Duration = Duration::from_secs(1);
/// The pause between two looks for old rows of the feed.
const FEED_PAUSE: Duration = Duration::from_secs(5);
/// The pause between two looks for a new catalogue, new profiles and a new primary: half of the two seconds in which all
/// nodes go by a new catalogue.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);
/// The pause between two looks whether a day has begun whose limits are to be computed.
const RECOMPUTE_PAUSE: Duration = Duration::from_mins(1);
/// The pause between two looks for holds that have lapsed, and for transfers that were left unfinished.
const SWEEP_PAUSE: Duration = Duration::from_millis(500);
/// A body and the decision about it may take `server.request_timeout_ms` each; a request that is not answered after
/// three of them never arrived whole.
const REQUEST_TIMEOUTS_MAX: u32 = 3;
/// The pause between two rounds that keep the metrics' memory bounded.
const METRICS_PAUSE: Duration = Duration::from_secs(5);

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The catalogue's file.
    #[error("the catalogue {path} cannot be read")]
    CatalogueFile {
        /// As the configuration names it.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The catalogue's text.
    #[error("the catalogue is wrong")]
    Catalogue(#[source] CatalogueError),
    /// Redis' configuration.
    #[error("redis cannot be used")]
    Counters(#[source] CountersError),
    /// Postgres' configuration.
    #[error("postgres cannot be used")]
    Ledger(#[source] LedgerError),
    /// The first admin key, or the keys in Postgres.
    #[error("the api keys cannot be used")]
    Keys(#[source] KeyError),
    /// A store at start.
    #[error("the stores are not ready ({places})")]
    Start {
        /// Where they should be, without passwords.
        places: String,
        /// Why.
        #[source]
        source: StartError,
    },
    /// The end users' tokens.
    #[error("the tokens' keys cannot be used")]
    Jwt(#[source] http::JwtError),
    /// The address to listen on.
    #[error("cannot listen on {address}")]
    Listen {
        /// As the configuration has it.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What only tests set: guards that are off, and a clock that moves.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Guards of the use-cases.
    pub guards: Guards,
    /// What is taken out of the scripts, or changed in them.
    pub tampering: Tampering,
    /// The clock; the configured one when `None`.
    pub clock: Option<Clock>,
}

/// The use-cases with their tasks, without an HTTP server.
pub struct Core {
    /// The use-cases.
    pub quota: Arc<Quota>,
    /// Postgres, for the command line.
    pub ledger: Arc<Ledger>,
    /// What was found in Redis.
    pub report: StartupReport,
    supervisor: Supervisor,
}

impl Core {
    /// Connects both stores, checks them, opens the shards and starts the lanes and the loader; no flusher.
    ///
    /// # Errors
    ///
    /// [`AppError`] naming the part that is wrong.
    pub async fn start(config: &Config, hooks: Hooks) -> Result<Self, AppError> {
        let clock = hooks.clock.unwrap_or_else(|| Clock::with_offset_ms(config.clock.offset_ms));
        let redis = redis_options(config);
        let (counters, lanes) = Counters::new(
            &redis,
            group_options(config),
            config.quota.shards,
            clock.clone(),
            &hooks.tampering,
        )
        .map_err(AppError::Counters)?;
        let ledger = ledger(config).map_err(AppError::Ledger)?;
        let supervisor = Supervisor::new();
        for lane in lanes {
            supervisor.spawn("lane", lane.run());
        }
        let ledger = Arc::new(ledger);
        let parts = QuotaParts {
            counters: Arc::new(counters),
            ledger: ledger.clone(),
            keys: KeyRing::new(config.auth.admin_key.expose()).map_err(AppError::Keys)?,
            catalogue: catalogue(config)?,
            clock,
            options: quota_options(config, hooks.guards),
        };
        let failed = |source| AppError::Start { places: config.store_places(), source };
        let started = Quota::start(parts).await.map_err(failed)?;
        let quota = started.quota;
        supervisor.spawn("loader", started.loader.run());
        supervisor.spawn("recovery", started.recoverer.run(quota.clone(), supervisor.token()));
        Ok(Self { quota, ledger, report: started.report, supervisor })
    }

    /// Stops the tasks: at first those that watch the token, then the loader and the lanes, when the last request is done.
    pub async fn stop(self, grace: Duration) -> Shutdown {
        let Self { quota, supervisor, .. } = self;
        drop(quota);
        supervisor.shutdown(grace).await
    }
}

/// The running service.
pub struct App {
    core: Core,
    /// Runs the HTTP server alone, which stops before all else.
    edge: Supervisor,
    /// Sends traces, and stops after all else, of which they tell.
    traces: Supervisor,
    address: SocketAddr,
    grace: Duration,
}

impl App {
    /// Starts everything that the role asks for. Returns when requests are answered.
    ///
    /// # Errors
    ///
    /// [`AppError`] naming the part that is wrong.
    pub async fn start(config: &Config, hooks: Hooks) -> Result<Self, AppError> {
        let core = Core::start(config, hooks).await?;
        core.quota.refresh_keys().await.map_err(AppError::Keys)?;
        let api = http::Api::new(core.quota.clone(), config.server.clone(), &config.jwt);
        let api = api.map_err(AppError::Jwt)?;
        let (listener, address) = listen(&config.server).await?;
        if config.role != Role::Api {
            start_background(&core, config);
        }
        start_upkeep(&core, config);
        let edge = Supervisor::new();
        let stop = edge.token();
        let router = http::router(api);
        edge.spawn("http", async move {
            let served =
                axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "the http server ended");
            }
        });
        let traces = Supervisor::new();
        if let Some(queued) = take_traces() {
            traces.spawn("traces", queued.run(traces.token()));
        }
        warn_of_unused_catalogue(&core.quota, config)?;
        let app = Self { core, edge, traces, address, grace: config.server.shutdown_grace() };
        app.announce();
        Ok(app)
    }

    /// Says where requests are answered, and how much of what is acknowledged survives a crash of Redis.
    fn announce(&self) {
        let report = &self.core.report;
        tracing::info!(
            address = %self.address,
            redis = report.version,
            durability = %report.durability,
            eviction_policy = report.eviction_policy,
            skew_ms = report.skew_ms,
            "serving"
        );
    }

    /// The address that requests are answered on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The use-cases.
    #[must_use]
    pub const fn quota(&self) -> &Arc<Quota> {
        &self.core.quota
    }

    /// Postgres.
    #[must_use]
    pub const fn ledger(&self) -> &Arc<Ledger> {
        &self.core.ledger
    }

    /// What was found in Redis.
    #[must_use]
    pub const fn report(&self) -> &StartupReport {
        &self.core.report
    }

    /// Stops taking requests, answers those that are under way, flushes what the outbox holds, and ends; at most the
    /// configured grace.
    pub async fn stop(self) -> Shutdown {
        let started_at = Instant::now();
        self.core.quota.close_feed();
        // The flushers stop when the outbox is empty, so the last request has to be answered before.
        let edge = self.edge.shutdown(self.grace).await;
        let grace_left = self.grace.saturating_sub(started_at.elapsed());
        let core = self.core.stop(grace_left).await;
        let traces = self.traces.shutdown(self.grace.saturating_sub(started_at.elapsed())).await;
        let parts = [edge.still_running, core.still_running, traces.still_running];
        Shutdown { still_running: parts.concat() }
    }
}

async fn listen(config: &ServerConfig) -> Result<(http::PatientListener, SocketAddr), AppError> {
    let address = config.listen;
    let failed = |source| AppError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let request_max = config.request_timeout() * REQUEST_TIMEOUTS_MAX;
    Ok((http::PatientListener::new(listener, request_max), bound))
}

fn start_background(core: &Core, config: &Config) {
    for shard in 0..core.quota.shard_count() {
        let quota = core.quota.clone();
        let idle_poll = config.flusher.idle_poll();
        core.supervisor
            .spawn_loop("flusher", move |stop| flusher::run(quota.clone(), shard, idle_poll, stop));
    }
    keep_up(core, "partitions", PARTITIONS_PAUSE, |quota| async move {
        quota.ensure_partitions().await?;
        quota.drop_old_denial_writers().await
    });
    if config.retention.months > 0 {
        start_retention(core, &config.retention);
    }
    keep_up(core, "rollups", ROLLUPS_PAUSE, |quota| async move { quota.fold_due_rollups().await });
    start_drift_auditor(core, config.drift.keys_per_s);
    start_sweepers(core);
    start_recomputing(core);
    start_signals(core, config);
}

/// Does `work` at once and then every `pause`.
fn keep_up<F>(core: &Core, name: &'static str, pause: Duration, work: fn(Arc<Quota>) -> F)
where
    F: Future<Output = Result<(), QuotaError>> + Send + 'static,
{
    let quota = core.quota.clone();
    core.supervisor.spawn_loop(name, move |stop| {
        let quota = quota.clone();
        upkeep::every(pause, stop, move || work(quota.clone()))
    });
}

fn start_drift_auditor(core: &Core, keys_per_s: u32) {
    let quota = core.quota.clone();
    if keys_per_s > 0 {
        core.supervisor
            .spawn_loop("drift", move |stop| drift::run(quota.clone(), keys_per_s, stop));
    }
}

/// Who looks at the rules, and who tells receivers.
fn start_signals(core: &Core, config: &Config) {
    keep_up(core, "alerts", ALERTS_PAUSE, |quota| async move { quota.evaluate_alerts().await });
    keep_up(core, "feed_upkeep", FEED_PAUSE, |quota| async move {
        quota.drop_old_feed().await?;
        quota.end_unwanted_deliveries().await?;
        quota.drop_old_deliveries().await
    });
    let quota = core.quota.clone();
    core.supervisor.spawn_loop("webhook_queue", move |stop| webhooks::fan_out(quota.clone(), stop));
    let (quota, channels) = (core.quota.clone(), (config.webhooks.clone(), config.email.clone()));
    core.supervisor.spawn_loop("webhooks", move |stop| {
        webhooks::deliver(quota.clone(), channels.clone(), stop)
    });
}

/// Who computes the limits that follow usage, once a day. Nodes that do so at once find the other's work done.
fn start_recomputing(core: &Core) {
    let quota = core.quota.clone();
    // Outside of the loop, which begins again after an error.
    let done_on = Arc::new(Mutex::new(None));
    core.supervisor.spawn_loop("recompute", move |stop| {
        let (quota, done_on) = (quota.clone(), done_on.clone());
        upkeep::every(RECOMPUTE_PAUSE, stop, move || {
            let (quota, done_on) = (quota.clone(), done_on.clone());
            async move {
                let mut done_on = done_on.lock().await;
                *done_on = quota.recompute_after(*done_on).await?;
                Ok::<(), QuotaError>(())
            }
        })
    });
}

fn start_retention(core: &Core, config: &RetentionConfig) {
    let quota = core.quota.clone();
    let (months, drop_unarchived) = (config.months, config.drop_unarchived);
    core.supervisor.spawn_loop("retention", move |stop| {
        let quota = quota.clone();
        upkeep::every(RETENTION_PAUSE, stop, move || {
            let quota = quota.clone();
            async move { quota.drop_old_facts(months, drop_unarchived).await }
        })
    });
}

/// Who writes down that holds have lapsed, and who ends transfers that were left unfinished.
fn start_sweepers(core: &Core) {
    keep_up(
        core,
        "expiry",
        SWEEP_PAUSE,
        |quota| async move { quota.expire_due().await.map(|_| ()) },
    );
    keep_up(core, "transfers", SWEEP_PAUSE, |quota| async move {
        quota.finish_transfers().await.map(|_| ())
    });
}

fn start_upkeep(core: &Core, config: &Config) {
    let quota = core.quota.clone();
    let pause = config.auth.refresh();
    core.supervisor.spawn_loop("keys", move |stop| {
        let quota = quota.clone();
        upkeep::every(pause, stop, move || {
            let quota = quota.clone();
            async move { quota.refresh_keys().await }
        })
    });
    keep_up(core, "catalogue", FOLLOW_PAUSE, |quota| async move { quota.follow_catalogue().await });
    keep_up(core, "primary", FOLLOW_PAUSE, |quota| async move { quota.follow_primary().await });
    let quota = core.quota.clone();
    // Outside of the loop, which begins again after an error.
    let seen = Arc::new(Mutex::new(0));
    core.supervisor.spawn_loop("profiles", move |stop| {
        let (quota, seen) = (quota.clone(), seen.clone());
        upkeep::every(FOLLOW_PAUSE, stop, move || {
            let (quota, seen) = (quota.clone(), seen.clone());
            async move {
                let mut seen = seen.lock().await;
                *seen = quota.follow_profiles(*seen).await?;
                Ok::<(), QuotaError>(())
            }
        })
    });
    let (quota, found) = (core.quota.clone(), Arc::new(Mutex::new(Found::default())));
    core.supervisor.spawn_loop("losses", move |stop| {
        let (quota, found) = (quota.clone(), found.clone());
        upkeep::every(FOLLOW_PAUSE, stop, move || {
            let (quota, found) = (quota.clone(), found.clone());
            async move { quota.look_for_losses(&mut *found.lock().await).await }
        })
    });
    let quota = core.quota.clone();
    core.supervisor.spawn_loop("denials", move |stop| denials::run(quota.clone(), stop));
    let quota = core.quota.clone();
    core.supervisor.spawn_loop("feed", move |stop| feed::run(quota.clone(), stop));
    core.supervisor.spawn_loop("metrics", |stop| {
        upkeep::every(METRICS_PAUSE, stop, || async {
            crate::telemetry::metrics().run_upkeep();
            Ok::<(), std::convert::Infallible>(())
        })
    });
}

/// The catalogue that the configuration names, or the chat's.
///
/// # Errors
///
/// [`AppError::CatalogueFile`] or [`AppError::Catalogue`].
pub fn catalogue(config: &Config) -> Result<Catalogue, AppError> {
    let path = &config.quota.catalogue;
    if path.is_empty() {
        return Catalogue::parse(CHAT_CATALOGUE).map_err(AppError::Catalogue);
    }
    let failed = |source| AppError::CatalogueFile { path: path.clone(), source };
    let text = std::fs::read_to_string(Path::new(path)).map_err(failed)?;
    Catalogue::parse(&text).map_err(AppError::Catalogue)
}

/// Says so when the configuration names a catalogue and the database goes by another: it is for a database without one.
fn warn_of_unused_catalogue(quota: &Quota, config: &Config) -> Result<(), AppError> {
    let path = &config.quota.catalogue;
    if !path.is_empty() && !quota.goes_by(&catalogue(config)?) {
        tracing::warn!(%path, "the database has another catalogue, which is in force; `headroom apply` changes it");
    }
    Ok(())
}

/// Postgres, with a pool of its own for analysts when that is elsewhere.
fn ledger(config: &Config) -> Result<Ledger, LedgerError> {
    let options = ledger_options(config);
    let ledger = Ledger::connect(&options)?;
    match config.postgres.analysts_url() {
        Some(url) => {
            ledger.with_analysts(&LedgerOptions { url: url.expose().to_owned(), ..options })
        }
        None => Ok(ledger),
    }
}
