//! API keys as admins manage them over HTTP.

use crate::domain::NewApiKey;
use crate::ledger::ApiKeyRow;

use super::Actor;
use super::Quota;
use super::error::QuotaError;
use super::keys::KeyError;
use super::keys::KeyRequest;
use super::keys::KeyRing;

impl Quota {
    /// Every key, revoked ones too, the newest first.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn api_keys(&self) -> Result<Vec<ApiKeyRow>, QuotaError> {
        KeyRing::list(&self.ledger).await.map_err(of_keys)
    }

    /// Makes a key, whose text nobody is shown again. This node takes it when this returns, the others within
    /// `auth.refresh_ms`.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away, [`QuotaError::Internal`] when the request was not checked.
    pub async fn create_key(
        &self,
        request: KeyRequest,
        actor: &Actor,
    ) -> Result<NewApiKey, QuotaError> {
        let made = KeyRing::create(&self.ledger, request, &actor.name, self.clock.now()).await;
        let key = made.map_err(of_keys)?;
        self.refresh_keys().await.map_err(of_keys)?;
        Ok(key)
    }

    /// Revokes a key. This node refuses it when this returns, the others within `auth.refresh_ms`.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownKey`] when no such key is in force, and as [`Quota::api_keys`].
    pub async fn revoke_key(&self, id: &str, actor: &Actor) -> Result<(), QuotaError> {
        let revoked = KeyRing::revoke(&self.ledger, id, &actor.name).await.map_err(of_keys)?;
        self.refresh_keys().await.map_err(of_keys)?;
        revoked.then_some(()).ok_or(QuotaError::UnknownKey)
    }
}

fn of_keys(error: KeyError) -> QuotaError {
    match error {
        KeyError::Ledger(error) => QuotaError::of_ledger(error),
        other => QuotaError::Internal(other.into()),
    }
}
