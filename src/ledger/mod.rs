//! The ledger: everything that is in Postgres. Start at [`Ledger`].
//!
//! One file a table; a file that changes several tables in one transaction is named after what it does (`flush`,
//! `load`, `previous`, `recover`, `verify`, `within`).
//!
//! **Architecture invariant:** nothing else in the crate names Postgres, a connection, a row or SQL; nothing here names
//! Redis. Every wait has an end.

mod alerts;
mod analytics;
mod api_keys;
mod archives;
mod audit_log;
mod catalogues;
mod charges;
mod convert;
mod crossings;
mod cursors;
mod dead_letters;
mod denials;
mod drift;
mod error;
mod feed;
mod flush;
mod grants;
mod incidents;
mod lines;
mod load;
mod logged_event;
mod logs;
mod message_logs;
mod migrate;
mod other_months;
mod partitions;
mod persons;
mod pool;
mod previous;
mod recover;
mod reservations;
mod restraints;
mod rollups;
mod settings;
mod subjects;
mod transfers;
mod tx;
mod usage_counters;
mod verify;
mod webhooks;
mod within;

use std::time::Duration;

pub use alerts::AlertRow;
pub use alerts::Evaluated;
pub use analytics::DayTotal;
pub use analytics::DenialTotals;
pub use analytics::HourTotal;
pub use analytics::MonthTotal;
pub use analytics::OpenCounter;
pub use analytics::SubjectDay;
pub use api_keys::ApiKeyRow;
pub use audit_log::Act;
pub use audit_log::Action;
pub use audit_log::AuditFilter;
pub use audit_log::AuditRow;
pub use catalogues::CatalogueRow;
pub use catalogues::Replaced;
pub use cursors::Cursor;
pub use dead_letters::DeadLetter;
pub use denials::DenialBatch;
pub use drift::DriftLook;
pub use drift::DriftRound;
pub use drift::DriftRow;
pub use drift::DriftStep;
pub use drift::DriftSums;
pub use drift::NewDrift;
pub use error::Cause;
pub use error::LedgerError;
pub use feed::FeedDropped;
pub use feed::FeedItem;
pub use feed::FeedRow;
pub use feed::FeedSeen;
pub use flush::Batch;
pub use flush::FlushGuards;
pub use flush::Flushed;
pub use grants::GrantChange;
pub use grants::GrantOutcome;
pub use grants::GrantRow;
pub use grants::NewGrant;
pub use incidents::Incident;
pub use incidents::IncidentRow;
pub use incidents::OwnCall;
#[doc(hidden)]
pub use load::BASE;
pub use load::Base;
pub use load::Counter;
pub use load::GrantUsed;
pub use load::HeldCounter;
pub use load::LevelProfile;
pub use logged_event::LoggedEvent;
pub use logs::DENIED;
pub use logs::LogFilter;
pub use logs::LogPage;
pub use logs::LogPlace;
pub use logs::LogRow;
pub use migrate::MigrationReport;
pub use other_months::OtherMonths;
pub use persons::Erased;
pub use pool::LedgerOptions;
pub use previous::Previous;
pub use previous::PreviousCounter;
pub use recover::RecoveryTx;
pub use reservations::ReservationRow;
pub use reservations::ReservationState;
pub use restraints::RestraintChange;
pub use settings::Settings;
pub use subjects::DeleteOutcome;
pub use subjects::Expected;
pub use subjects::PutOutcome;
pub use subjects::SubjectRow;
pub use transfers::BeginOutcome;
pub use transfers::Completed;
pub use transfers::NewTransfer;
pub use transfers::RefusedIn;
pub use transfers::TransferRefusal;
pub use transfers::TransferRow;
pub use transfers::TransferRules;
pub use transfers::TransferState;
pub use verify::Difference;
pub use verify::Disagreement;
pub use verify::Totals;
pub use webhooks::DeliveryRow;
pub use webhooks::NewDelivery;
pub use webhooks::WebhookFan;
#[doc(hidden)]
pub use within::SUBJECTS_WITHIN;

use tx::Connection;
use tx::Tx;

/// The ledger in Postgres. Clones share one pool of connections.
///
/// Every call waits at most for a connection (`connect_timeout_ms`) and then, for each statement, `statement_timeout_ms`
/// and a second; a call that is dropped half-way writes nothing.
#[derive(Clone)]
pub struct Ledger {
    pool: deadpool_postgres::Pool,
    /// Where analysts' questions go: a replica, or the same pool.
    analysts: deadpool_postgres::Pool,
    /// How long one statement may go unanswered before the connection is given up.
    answer_within: Duration,
}

impl Ledger {
    /// Prepares the pool. Nothing is connected until the first call.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadUrl`] when the connection string cannot be read.
    pub fn connect(options: &LedgerOptions) -> Result<Self, LedgerError> {
        let pool = pool::open(options)?;
        let analysts = pool.clone();
        Ok(Self { pool, analysts, answer_within: pool::answer_within(options) })
    }

    /// The same ledger, whose analysts' questions go elsewhere: to a replica, which may lag behind.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadUrl`] when the connection string cannot be read.
    pub fn with_analysts(self, options: &LedgerOptions) -> Result<Self, LedgerError> {
        Ok(Self { analysts: pool::open(options)?, ..self })
    }

    /// Asks Postgres for an answer.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] when there is none.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        self.connection().await?.row("-- ping\nSELECT 1", &[]).await?;
        Ok(())
    }

    async fn connection(&self) -> Result<Connection, LedgerError> {
        Connection::take(&self.pool, self.answer_within).await
    }

    /// A connection for analysts' questions, which write nothing.
    async fn analyst(&self) -> Result<Connection, LedgerError> {
        Connection::take(&self.analysts, self.answer_within).await
    }

    async fn begin(&self) -> Result<Tx, LedgerError> {
        Tx::begin(self.connection().await?, "-- begin\nBEGIN").await
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("answer_within", &self.answer_within).finish_non_exhaustive()
    }
}
