//! The table `catalogues`: every version of the catalogue.

use serde_json::json;

use super::Ledger;
use super::audit_log;
use super::audit_log::Act;
use super::convert;
use super::convert::signed;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::Tx;
use super::tx::column;

/// The catalogue in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueRow {
    /// Number of the version, from 1.
    pub version: u64,
    /// The catalogue: JSON text, an object.
    pub document: String,
}

/// What became of a new catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It is in force.
    Done {
        /// Its version: the one after the expected.
        version: u64,
    },
    /// Another version than the expected one is in force, and stays so.
    Stale {
        /// The version in force; 0 when there is none.
        found: u64,
    },
}

const CATALOGUE: &str = "-- catalogue
SELECT version, document::text AS document FROM catalogues ORDER BY version DESC LIMIT 1";

const CATALOGUE_VERSION: &str = "-- catalogue_version
SELECT max(version) AS version FROM catalogues";

const SEED_CATALOGUE: &str = "-- seed_catalogue
INSERT INTO catalogues (version, document, actor)
SELECT 1, $1, 'bootstrap' WHERE NOT EXISTS (SELECT FROM catalogues)
ON CONFLICT (version) DO NOTHING";

// Of two writers that saw the same version one waits for the other's row, and then inserts nothing.
const REPLACE_CATALOGUE: &str = "-- replace_catalogue
INSERT INTO catalogues (version, document, actor, reason)
SELECT $1::bigint + 1, $2, $3, $4
WHERE $1 = (SELECT coalesce(max(version), 0) FROM catalogues)
ON CONFLICT (version) DO NOTHING";

impl Ledger {
    /// The catalogue in force; none before the first.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn catalogue(&self) -> Result<Option<CatalogueRow>, LedgerError> {
        let rows = self.connection().await?.rows(CATALOGUE, &[]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let version = unsigned(column(row, "version")?)?;
        Ok(Some(CatalogueRow { version, document: column(row, "document")? }))
    }

    /// The version of the catalogue in force; none before the first. One look into an index, cheap enough to be asked
    /// for every second.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn catalogue_version(&self) -> Result<Option<u64>, LedgerError> {
        let row = self.connection().await?.row(CATALOGUE_VERSION, &[]).await?;
        column::<Option<i64>>(&row, "version")?.map(unsigned).transpose()
    }

    /// Makes `document`, JSON text, the first version. Answers `false`, and changes nothing, when there is a catalogue.
    /// Nobody did it, so the audit log says nothing of it.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when the document is no JSON object or above 1 MiB.
    pub async fn seed_catalogue(&self, document: &str) -> Result<bool, LedgerError> {
        let document = convert::json(document)?;
        Ok(self.connection().await?.execute(SEED_CATALOGUE, &[&document]).await? == 1)
    }

    /// Makes `document`, JSON text, the version after `expected_version`, if that is the one in force; 0 is none. The act
    /// is recorded with both versions, which hold the documents.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when the document is no JSON object or above 1 MiB, or the act is out of its bounds.
    pub async fn replace_catalogue(
        &self,
        expected_version: u64,
        document: &str,
        act: &Act<'_>,
    ) -> Result<Replaced, LedgerError> {
        let tx = self.begin().await?;
        let outcome = replace(&tx, expected_version, document, act).await;
        tx.end(outcome).await
    }
}

async fn replace(
    tx: &Tx,
    expected_version: u64,
    document: &str,
    act: &Act<'_>,
) -> Result<Replaced, LedgerError> {
    let (expected, document) = (signed(expected_version)?, convert::json(document)?);
    let inserted =
        tx.execute(REPLACE_CATALOGUE, &[&expected, &document, &act.actor, &act.reason]).await?;
    if inserted == 0 {
        let found: Option<i64> = column(&tx.row(CATALOGUE_VERSION, &[]).await?, "version")?;
        return Ok(Replaced::Stale { found: unsigned(found.unwrap_or(0))? });
    }
    let version = expected_version + 1;
    let before = (expected_version > 0).then(|| json!({ "version": expected_version }).to_string());
    let after = json!({ "version": version }).to_string();
    audit_log::insert(tx, act, before.as_deref(), Some(&after)).await?;
    Ok(Replaced::Done { version })
}
