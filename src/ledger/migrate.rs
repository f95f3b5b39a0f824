//! Bringing the schema up to date.

use super::Ledger;
use super::LedgerOptions;
use super::cursors;
use super::error::LedgerError;
use super::settings;
use super::settings::Settings;
use super::tx::Connection;

/// How long to wait for a connection.
const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// How long one statement may run, and how long to wait while another node migrates. Each migration sets limits of
/// its own.
const STATEMENT_TIMEOUT_MS: u64 = 120_000;

// The lock belongs to the session, so it must be taken on a direct connection, not through a pooler that shares sessions.
// It is given up when the connection is closed, whatever happens.
const LOCK_MIGRATIONS: &str = "-- lock_migrations
SET lock_timeout = '120s';
SELECT pg_advisory_lock(hashtextextended('headroom.migrations', 0));
SET lock_timeout = '5s'";

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationReport {
    /// The migrations that were applied now, in order; none when the schema was up to date.
    pub applied: Vec<String>,
    /// What every node must agree on. The number of shards is the one stored first, not the one asked for.
    pub settings: Settings,
}

mod embedded {
    #![allow(missing_docs, reason = "made by the macro")]
    // A new file in `migrations/` is seen when this file is compiled again.
    refinery::embed_migrations!("migrations");
}

impl Ledger {
    /// Brings the schema up to date and, the first time, writes the settings with `shards` shards and a cursor for
    /// each. Any number of nodes may do so at once: one works, the others wait and find nothing to do.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Migration`] when a migration fails or the schema is of another version's making.
    pub async fn migrate(url: &str, shards: u16) -> Result<MigrationReport, LedgerError> {
        let ledger = Self::connect(&LedgerOptions {
            url: url.to_owned(),
            pool_max: 2,
            connect_timeout_ms: CONNECT_TIMEOUT_MS,
            statement_timeout_ms: STATEMENT_TIMEOUT_MS,
        })?;
        let mut connection = ledger.connection().await?;
        connection.run(LOCK_MIGRATIONS).await?;
        let applied = apply(&mut connection).await?;
        let settings = ledger.initialise(shards).await?;
        Ok(MigrationReport { applied, settings })
    }

    async fn initialise(&self, shards: u16) -> Result<Settings, LedgerError> {
        let tx = self.begin().await?;
        let written = async {
            let settings = settings::initialise(&tx, shards).await?;
            cursors::initialise(&tx, settings.shards).await?;
            Ok(settings)
        };
        let outcome = written.await;
        tx.end(outcome).await
    }
}

async fn apply(connection: &mut Connection) -> Result<Vec<String>, LedgerError> {
    let report = embedded::migrations::runner()
        .run_async(connection.client_mut())
        .await
        .map_err(|error| LedgerError::Migration(error.into()))?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}
