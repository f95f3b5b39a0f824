//! The table `settings`: what every node must agree on.

use std::fmt;

use tokio_postgres::Row;
use uuid::Uuid;

use super::Ledger;
use super::convert::small;
use super::error::LedgerError;
use super::tx::Tx;
use super::tx::column;

/// What every node must agree on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Identity of the ledger, which Redis carries too.
    pub instance: Uuid,
    /// Number of shards, at least 1.
    pub shards: u16,
    /// Signs the ids of reservations. Never shown.
    pub signing_key: [u8; 32],
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, shards, .. } = self;
        f.debug_struct("Settings")
            .field("instance", instance)
            .field("shards", shards)
            .finish_non_exhaustive()
    }
}

const SETTINGS: &str = "-- settings
SELECT instance, shards, signing_key FROM settings";

const INITIALISE_SETTINGS: &str = "-- initialise_settings
INSERT INTO settings (shards) VALUES ($1) ON CONFLICT DO NOTHING";

impl Ledger {
    /// What every node must agree on.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Migration`] before [`Ledger::migrate`] has run to its end.
    pub async fn settings(&self) -> Result<Settings, LedgerError> {
        let rows = self.connection().await?.rows(SETTINGS, &[]).await?;
        let row = rows.first().ok_or_else(|| LedgerError::Migration("no settings yet".into()))?;
        settings(row)
    }
}

/// Writes the row if there is none; a number of shards that is already there stays.
pub(super) async fn initialise(tx: &Tx, shards: u16) -> Result<Settings, LedgerError> {
    tx.execute(INITIALISE_SETTINGS, &[&i64::from(shards)]).await?;
    let row = tx.row(SETTINGS, &[]).await?;
    settings(&row)
}

fn settings(row: &Row) -> Result<Settings, LedgerError> {
    let key: Vec<u8> = column(row, "signing_key")?;
    let no_key = |_| LedgerError::Internal("the signing key must have 32 bytes".into());
    Ok(Settings {
        instance: column(row, "instance")?,
        shards: small(column(row, "shards")?)?,
        signing_key: key.try_into().map_err(no_key)?,
    })
}

/// The number of shards.
pub(super) async fn shards(tx: &Tx) -> Result<u16, LedgerError> {
    small(column(&tx.row(SETTINGS, &[]).await?, "shards")?)
}
