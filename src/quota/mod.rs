//! The use-cases: consume, check, usage, reset, flush, load, recover, verify.
//!
//! **Architecture invariant:** only this module knows both stores, and it names neither client library. A charge touches
//! Redis once and Postgres never.

mod actor;
mod alerts;
mod analytics;
mod batch;
mod catalogue;
mod cloud_event;
mod decide;
mod denials;
mod drift;
mod dynamic;
mod effective;
mod error;
mod event_ledger;
mod feed;
mod flush;
mod flushed;
mod forecast;
mod grants;
mod identity;
mod key_acts;
pub mod keys;
mod loader;
mod logs;
mod losses;
mod near_limit;
mod order;
mod outbox_gauges;
mod outcome;
mod person;
mod picture;
mod profiles;
mod recover;
mod refund;
mod reservations;
mod reset_within;
mod resolve;
mod rewrite;
mod rollover;
mod rollups;
mod salvage;
#[cfg(test)]
mod samples;
mod settle;
mod shards;
mod transfers;
mod usage;
pub mod verify;
mod webhooks;
mod within;

use std::sync::Arc;
use std::sync::RwLock;
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Clock;
use crate::counters::Counters;
use crate::counters::CountersError;
use crate::counters::PackedSheet;
use crate::counters::StartupReport;
use crate::domain::Catalogue;
use crate::domain::Metric;
use crate::domain::StoreAway;
use crate::ledger::Ledger;
use crate::ledger::LedgerError;
use crate::ledger::Settings;

pub use self::actor::Actor;
pub use self::alerts::AlertsView;
pub use self::analytics::TrailingDays;
pub use self::catalogue::CatalogueChange;
pub use self::catalogue::CatalogueView;
pub use self::cloud_event::cloud_event;
pub use self::drift::CounterDrift;
pub use self::drift::DriftReport;
pub use self::drift::RepairOrder;
pub use self::drift::RepairPlace;
pub use self::drift::Repaired;
pub use self::dynamic::Recomputation;
pub use self::dynamic::RecomputePlace;
pub use self::dynamic::Recomputed;
pub use self::effective::Effective;
pub use self::error::MissingFeature;
pub use self::error::QuotaError;
pub use self::error::Store;
pub use self::event_ledger::EventLedger;
pub use self::event_ledger::EventRecovery;
pub use self::feed::FeedPlace;
pub use self::feed::FeedReader;
pub use self::feed::is_within;
pub use self::flush::FlushState;
pub use self::flush::FlushStep;
pub use self::forecast::ForecastReport;
pub use self::grants::GrantOrder;
pub use self::grants::GrantRow;
pub use self::grants::GrantState;
pub use self::keys::KeyError;
pub use self::keys::KeyGrant;
pub use self::keys::KeyRequest;
pub use self::keys::KeyRing;
pub use self::loader::Loader;
pub use self::losses::Found;
pub use self::order::Ask;
pub use self::order::Order;
pub use self::order::RequestContext;
pub use self::order::ResetScope;
pub use self::profiles::SubjectView;
pub use self::recover::Recoverer;
pub use self::refund::GivenBack;
pub use self::refund::RefundOrder;
pub use self::refund::Refundable;
pub use self::refund::Refunded;
pub use self::reservations::CommitOrder;
pub use self::reservations::EndOrder;
pub use self::reservations::HoldEnded;
pub use self::reservations::HoldTime;
pub use self::reservations::OpenReservation;
pub use self::reservations::ReservationId;
pub use self::reservations::SigningKey;
pub use self::reset_within::ResetPage;
pub use self::reset_within::ResetWithin;
pub use self::reset_within::SubjectReset;
pub use self::rewrite::NewCount;
pub use self::rewrite::Rewrite;
pub use self::rewrite::RewriteReport;
pub use self::rewrite::Rewritten;
pub use self::rewrite::SetOrder;
pub use self::shards::ShardView;
pub use self::transfers::TransferOrder;
pub use self::transfers::TransferPolicy;
pub use self::transfers::TransferRefusal;
pub use self::transfers::TransferRow;
pub use self::usage::Usage;
pub use self::webhooks::WebhookOrder;
pub use crate::counters::HoldEnd;
pub use crate::ledger::AlertRow;
pub use crate::ledger::ApiKeyRow;
pub use crate::ledger::AuditFilter;
pub use crate::ledger::AuditRow;
pub use crate::ledger::DENIED;
pub use crate::ledger::DeliveryRow;
pub use crate::ledger::DriftRound;
pub use crate::ledger::DriftRow;
pub use crate::ledger::DriftSums;
pub use crate::ledger::Expected;
pub use crate::ledger::FeedItem;
pub use crate::ledger::FeedRow;
pub use crate::ledger::IncidentRow;
pub use crate::ledger::LogFilter;
pub use crate::ledger::LogPage;
pub use crate::ledger::LogPlace;
pub use crate::ledger::LogRow;
pub use crate::ledger::TransferState;

use self::denials::DenialQueue;
use self::feed::Feed;
use self::loader::LoadEntrance;
use self::profiles::Profiles;
use self::recover::RecoveryEntrance;
use self::resolve::Edition;

/// Settings of the use-cases.
#[derive(Clone, Debug)]
pub struct QuotaOptions {
    /// How long a caller waits for a decision.
    pub request_timeout: Duration,
    /// How a decision is answered while Redis is away, unless the limits say otherwise.
    pub store_away: StoreAway,
    /// The most events in one flush.
    pub batch_events_max: usize,
    /// How many events the outbox of a shard may hold.
    pub outbox_events_max: u64,
    /// How long flushed events stay in the outbox, unless it is half full.
    pub trim_lag: Duration,
    /// How many bytes of flushed events stay in the outbox.
    pub trim_bytes_max: u64,
    /// How long an answer is kept under an idempotency key.
    pub idempotency_ttl: Duration,
    /// How long the live feed is kept.
    pub feed_keep: Duration,
    /// What gifts must keep to.
    pub transfers: TransferPolicy,
    /// Guards of the protocol; all on outside tests.
    #[doc(hidden)]
    pub guards: Guards,
}

/// Guards of the protocol that live in this module. Tests take one away to show that it is needed.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each guard is on or off by itself")]
pub struct Guards {
    /// The flusher compares the first event's seq with its cursor's.
    pub seq_check: bool,
    /// A recovery logs what the outbox still holds.
    pub salvage: bool,
    /// Nothing is trimmed before it is committed.
    pub trim_after_commit: bool,
    /// Nothing is decided, loaded or trimmed in a shard while it is recovered.
    pub fence: bool,
    /// Passed on to the ledger.
    pub flush: crate::ledger::FlushGuards,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            seq_check: true,
            salvage: true,
            trim_after_commit: true,
            fence: true,
            flush: crate::ledger::FlushGuards::default(),
        }
    }
}

/// The use-cases, over both stores.
pub struct Quota<L = Ledger> {
    counters: Arc<Counters>,
    ledger: Arc<L>,
    keys: KeyRing,
    edition: RwLock<Arc<Edition>>,
    profiles: Profiles,
    denials: DenialQueue,
    feed: Feed,
    /// The sheet of an operation that is yet to be measured.
    nothing: Arc<PackedSheet>,
    loads: LoadEntrance,
    recoveries: RecoveryEntrance,
    instance: Uuid,
    signing_key: SigningKey,
    clock: Clock,
    options: QuotaOptions,
}

/// Whether each store answers; the text says what is wrong.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// The counters.
    pub redis: Result<(), String>,
    /// The ledger. Its absence does not stop decisions.
    pub postgres: Result<(), String>,
}

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Redis is away or not fit for use.
    #[error("redis")]
    Counters(#[source] CountersError),
    /// Postgres is away or not migrated.
    #[error("postgres")]
    Ledger(#[source] LedgerError),
    /// The catalogue in Postgres.
    #[error("the catalogue")]
    Catalogue(#[source] QuotaError),
    /// The configured shard count is not the one Postgres owns.
    #[error(
        "quota.shards is {configured}, but the database has {found} shards since its first migration, for good"
    )]
    Shards {
        /// In the configuration.
        configured: u16,
        /// In Postgres.
        found: u16,
    },
    /// A shard could not be opened.
    #[error("a shard could not be opened")]
    Recovery(#[source] QuotaError),
}

/// What the use-cases are made of.
pub struct QuotaParts<L = Ledger> {
    /// Redis.
    pub counters: Arc<Counters>,
    /// Postgres.
    pub ledger: Arc<L>,
    /// API keys.
    pub keys: KeyRing,
    /// Plans, limits and models: what a ledger without a catalogue is given.
    pub catalogue: Catalogue,
    /// The one clock.
    pub clock: Clock,
    /// Settings.
    pub options: QuotaOptions,
}

/// The use-cases, and the tasks without which they wait.
pub struct Started {
    /// The use-cases.
    pub quota: Arc<Quota>,
    /// Loads missing subjects.
    pub loader: Loader,
    /// Recovers broken shards.
    pub recoverer: Recoverer,
    /// What was found in Redis.
    pub report: StartupReport,
}

impl Quota {
    /// Checks both stores, opens the shards that are not open, and answers the use-cases with the tasks that the caller
    /// has to run.
    ///
    /// # Errors
    ///
    /// [`StartError`] naming the store and what is wrong with it.
    pub async fn start(parts: QuotaParts) -> Result<Started, StartError> {
        let settings = parts.ledger.settings().await.map_err(StartError::Ledger)?;
        let configured = parts.counters.shard_count();
        if settings.shards != configured {
            return Err(StartError::Shards { configured, found: settings.shards });
        }
        let report =
            parts.counters.check_at_start(settings.instance).await.map_err(StartError::Counters)?;
        let edition = catalogue::first_edition(&parts.ledger, &parts.catalogue).await?;
        let (quota, loader, recoverer) = Self::assemble(parts, &settings, edition);
        for shard in 0..configured {
            quota.open_at_start(shard).await.map_err(StartError::Recovery)?;
        }
        Ok(Started { quota, loader, recoverer, report })
    }

    /// The API keys.
    #[must_use]
    pub const fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// The clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether the catalogue defines the metric.
    #[must_use]
    pub fn has_metric(&self, metric: &Metric) -> bool {
        self.edition().catalogue.has_metric(metric.as_str())
    }

    /// Asks both stores whether they answer, at once. Bounded by their connect time-outs.
    pub async fn readiness(&self) -> Readiness {
        let (redis, postgres) = futures_util::join!(self.counters.ping(), self.ledger.ping());
        Readiness {
            redis: redis.map_err(|error| error.to_string()),
            postgres: postgres.map_err(|error| error.to_string()),
        }
    }

    /// Asks whether Redis has another primary than this node believes. Costs nothing without sentinels.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when no sentinel answers; the node goes on with the primary that it knows.
    pub async fn follow_primary(&self) -> Result<(), QuotaError> {
        self.counters.follow_primary().await.map_err(QuotaError::of_counters)
    }

    /// Makes the log's partitions for the months ahead.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn ensure_partitions(&self) -> Result<(), QuotaError> {
        const MONTHS_AHEAD: u32 = 3;
        self.ledger.ensure_partitions(MONTHS_AHEAD).await.map_err(QuotaError::of_ledger)?;
        Ok(())
    }

    /// Reads the API keys anew.
    ///
    /// # Errors
    ///
    /// [`KeyError::Ledger`] when Postgres is away; the keys stay as they were.
    pub async fn refresh_keys(&self) -> Result<(), KeyError> {
        self.keys.refresh(&self.ledger).await
    }
}

impl<L: EventLedger> Quota<L> {
    /// The use-cases and their tasks over stores that nobody has checked, by the catalogue of the parts: for a simulation.
    #[doc(hidden)]
    pub fn over(parts: QuotaParts<L>, settings: &Settings) -> (Arc<Self>, Loader<L>, Recoverer) {
        let edition = Edition::new(1, parts.catalogue.clone());
        Self::assemble(parts, settings, edition)
    }

    fn assemble(
        parts: QuotaParts<L>,
        settings: &Settings,
        edition: Arc<Edition>,
    ) -> (Arc<Self>, Loader<L>, Recoverer) {
        let (loads, loader) = loader::new(parts.counters.clone(), parts.ledger.clone());
        let (recoveries, recoverer) = recover::new();
        let quota = Arc::new(Self {
            recoveries,
            counters: parts.counters,
            ledger: parts.ledger,
            keys: parts.keys,
            edition: RwLock::new(edition),
            profiles: Profiles::default(),
            denials: DenialQueue::default(),
            feed: Feed::default(),
            nothing: resolve::nothing(1),
            loads,
            instance: settings.instance,
            signing_key: SigningKey::new(settings.signing_key),
            clock: parts.clock,
            options: parts.options,
        });
        (quota, loader, recoverer)
    }

    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> u16 {
        self.counters.shard_count()
    }
}
