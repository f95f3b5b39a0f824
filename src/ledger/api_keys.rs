//! The table `api_keys`: who may call.

use std::fmt;

use chrono::DateTime;
use chrono::Utc;
use serde_json::json;
use tokio_postgres::Row;

use super::Ledger;
use super::audit_log;
use super::audit_log::Act;
use super::error::LedgerError;
use super::tx::Tx;
use super::tx::column;

/// An API key without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// The public part of the key.
    pub id: String,
    /// SHA-256 of the secret part.
    pub secret_sha256: [u8; 32],
    /// What people call the key.
    pub name: String,
    /// Some of `check`, `consume`, `read` and `admin`.
    pub permissions: Vec<String>,
    /// The only part of the subject tree that the key reaches; none for all of it.
    pub subject_prefix: Option<String>,
    /// When the key was made.
    pub created_at: DateTime<Utc>,
    /// When the key stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the key was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl fmt::Debug for ApiKeyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyRow")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("permissions", &self.permissions)
            .field("subject_prefix", &self.subject_prefix)
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .field("revoked_at", &self.revoked_at)
            .finish_non_exhaustive()
    }
}

// Newest first, and more than any installation has: a ring of keys is held in memory by every node.
const KEYS: &str = "-- keys
SELECT
    id, secret_sha256, name, permissions, subject_prefix, created_at, expires_at, revoked_at
FROM api_keys ORDER BY created_at DESC, id LIMIT 100000";

const INSERT_KEY: &str = "-- insert_key
INSERT INTO api_keys (
    id, secret_sha256, name, permissions, subject_prefix, created_at, expires_at, revoked_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING";

const REVOKE_KEY: &str = "-- revoke_key
UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL";

impl Ledger {
    /// Keeps a key and records the act. Answers `false`, and changes nothing, when the id is taken.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when a permission is unknown or the act is out of its bounds.
    pub async fn insert_key(&self, key: &ApiKeyRow, act: &Act<'_>) -> Result<bool, LedgerError> {
        let tx = self.begin().await?;
        let outcome = insert(&tx, key, act).await;
        tx.end(outcome).await
    }

    /// Every key, revoked and expired ones too, the newest first; at most 100,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn keys(&self) -> Result<Vec<ApiKeyRow>, LedgerError> {
        let rows = self.connection().await?.rows(KEYS, &[]).await?;
        rows.iter().map(read).collect()
    }

    /// Revokes a key and records the act. Answers `false`, and changes nothing, when there is none with that id or it
    /// was revoked before.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when the act is out of its bounds.
    pub async fn revoke_key(&self, id: &str, act: &Act<'_>) -> Result<bool, LedgerError> {
        let tx = self.begin().await?;
        let outcome = revoke(&tx, id, act).await;
        tx.end(outcome).await
    }
}

async fn insert(tx: &Tx, key: &ApiKeyRow, act: &Act<'_>) -> Result<bool, LedgerError> {
    let inserted = tx
        .execute(
            INSERT_KEY,
            &[
                &key.id,
                &key.secret_sha256.as_slice(),
                &key.name,
                &key.permissions,
                &key.subject_prefix,
                &key.created_at,
                &key.expires_at,
                &key.revoked_at,
            ],
        )
        .await?;
    if inserted == 1 {
        audit_log::insert(tx, act, None, Some(&description(key))).await?;
    }
    Ok(inserted == 1)
}

async fn revoke(tx: &Tx, id: &str, act: &Act<'_>) -> Result<bool, LedgerError> {
    let revoked = tx.execute(REVOKE_KEY, &[&id]).await? == 1;
    if revoked {
        audit_log::insert(tx, act, None, None).await?;
    }
    Ok(revoked)
}

/// What the audit log says of a key: what it is good for, and nothing of its secret.
fn description(key: &ApiKeyRow) -> String {
    json!({
        "name": key.name,
        "permissions": key.permissions,
        "subject_prefix": key.subject_prefix,
        "expires_at": key.expires_at,
    })
    .to_string()
}

fn read(row: &Row) -> Result<ApiKeyRow, LedgerError> {
    let secret: Vec<u8> = column(row, "secret_sha256")?;
    Ok(ApiKeyRow {
        id: column(row, "id")?,
        secret_sha256: secret
            .try_into()
            .map_err(|_| LedgerError::Internal("a hash is not of 32 bytes".into()))?,
        name: column(row, "name")?,
        permissions: column(row, "permissions")?,
        subject_prefix: column(row, "subject_prefix")?,
        created_at: column(row, "created_at")?,
        expires_at: column(row, "expires_at")?,
        revoked_at: column(row, "revoked_at")?,
    })
}
