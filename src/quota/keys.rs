//! Who holds a key, and what the key is good for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use chrono::DateTime;
use chrono::Utc;

use crate::domain::ApiKey;
use crate::domain::NewApiKey;
use crate::domain::Permission;
use crate::domain::Permissions;
use crate::domain::SecretDigest;
use crate::domain::Subject;
use crate::domain::SubjectError;
use crate::ledger::Act;
use crate::ledger::Action;
use crate::ledger::ApiKeyRow;
use crate::ledger::Ledger;
use crate::ledger::LedgerError;

/// What a key is good for.
#[derive(Clone, Debug)]
pub struct KeyGrant {
    /// The key's public id; [`KeyRing::BOOTSTRAP_ID`] for the one from the configuration.
    pub id: String,
    /// What the key may be used for.
    pub permissions: Permissions,
    /// The part of the tree that the key is fenced into; `None` is the whole tree.
    pub subject_prefix: Option<String>,
    /// From when on the key is refused; `None` is never.
    pub expires_at: Option<DateTime<Utc>>,
    digest: SecretDigest,
}

impl KeyGrant {
    /// Whether the key may be used for `permission`.
    #[must_use]
    pub const fn allows(&self, permission: Permission) -> bool {
        self.permissions.allow(permission)
    }

    /// Whether `subject` lies in the part of the tree that the key is fenced into.
    #[must_use]
    pub fn reaches(&self, subject: &Subject) -> bool {
        self.subject_prefix.as_deref().is_none_or(|prefix| subject.is_within(prefix))
    }
}

/// What a new key is to be good for.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// A name for people, 1–100 characters.
    pub name: String,
    /// At least one permission.
    pub permissions: Permissions,
    /// The part of the tree to fence the key into; `None` is the whole tree.
    pub subject_prefix: Option<String>,
    /// From when on the key is refused; `None` is never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Why keys could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The bootstrap key is too easy to guess.
    #[error("the admin key must be at least 24 visible ascii characters")]
    WeakBootstrapKey,
    /// The name is empty or too long.
    #[error("the name must be 1 to 100 characters")]
    BadName,
    /// A key without permissions would be good for nothing.
    #[error("at least one permission is needed")]
    NoPermissions,
    /// The prefix is not a subject.
    #[error("the subject prefix is not a subject")]
    BadSubjectPrefix(#[source] SubjectError),
    /// The key would never be good for anything.
    #[error("a key's end must be in the future")]
    AlreadyExpired,
    /// Another key has the id that was drawn. Trying again draws another.
    #[error("the id is taken, try again")]
    IdTaken,
    /// The operating system gave no random numbers.
    #[error("no random numbers")]
    Random(#[source] getrandom::Error),
    /// Postgres did not answer as it should.
    #[error("the keys could not be read or stored")]
    Ledger(#[source] LedgerError),
}

/// All usable keys, in memory: a decision never waits for Postgres to know its caller.
pub struct KeyRing {
    /// By id. Readers hold the lock for one look-up; a refresh replaces the map and holds it for a swap.
    grants: RwLock<HashMap<String, Arc<KeyGrant>>>,
    bootstrap: Option<Arc<KeyGrant>>,
}

impl KeyRing {
    /// The id of the key that comes from the configuration.
    pub const BOOTSTRAP_ID: &str = "bootstrap";
    /// The least characters of a bootstrap key.
    pub const BOOTSTRAP_CHARS_MIN: usize = 24;

    /// A ring with the bootstrap key alone. An empty `bootstrap` is none.
    ///
    /// # Errors
    ///
    /// [`KeyError::WeakBootstrapKey`] when it is shorter than 24 characters or has invisible ones.
    pub fn new(bootstrap: &str) -> Result<Self, KeyError> {
        let is_strong = bootstrap.len() >= Self::BOOTSTRAP_CHARS_MIN
            && bootstrap.bytes().all(|byte| byte.is_ascii_graphic());
        if !bootstrap.is_empty() && !is_strong {
            return Err(KeyError::WeakBootstrapKey);
        }
        let bootstrap = is_strong.then(|| {
            Arc::new(KeyGrant {
                id: Self::BOOTSTRAP_ID.to_owned(),
                permissions: [Permission::Admin].into_iter().collect(),
                subject_prefix: None,
                expires_at: None,
                digest: SecretDigest::of(bootstrap),
            })
        });
        Ok(Self { grants: RwLock::new(HashMap::new()), bootstrap })
    }

    /// The grant of a presented key, or `None` when it is unknown, wrong, expired or revoked. Costs one SHA-256 and
    /// one look-up for a stored key; the digests are compared in constant time.
    #[must_use]
    pub fn authenticate(&self, presented: &str, now: DateTime<Utc>) -> Option<Arc<KeyGrant>> {
        self.stored(presented, now).or_else(|| {
            let bootstrap = self.bootstrap.as_ref()?;
            bootstrap.digest.matches(&SecretDigest::of(presented)).then(|| Arc::clone(bootstrap))
        })
    }

    /// Replaces all stored keys by `rows`, without the revoked ones.
    pub fn replace(&self, rows: Vec<ApiKeyRow>) {
        let usable = rows.into_iter().filter(|row| row.revoked_at.is_none());
        let fresh: HashMap<_, _> =
            usable.map(|row| (row.id.clone(), Arc::new(grant_of(row)))).collect();
        let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
        *grants = fresh;
    }

    /// Reads all keys anew. The supervisor calls it every `auth.refresh_ms`; after a failure the keys stay as they
    /// were, so that decisions go on while Postgres is away.
    ///
    /// # Errors
    ///
    /// [`KeyError::Ledger`] when Postgres did not answer.
    pub async fn refresh(&self, ledger: &Ledger) -> Result<(), KeyError> {
        self.replace(ledger.keys().await.map_err(KeyError::Ledger)?);
        Ok(())
    }

    /// Makes a key, stores its digest and records that `actor`, the id of a key or `cli`, made it. The answer holds the
    /// only copy of the key's text.
    ///
    /// # Errors
    ///
    /// [`KeyError`] naming what is wrong with the request, or that Postgres did not store it.
    pub async fn create(
        ledger: &Ledger,
        request: KeyRequest,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<NewApiKey, KeyError> {
        let key = NewApiKey::generate().map_err(KeyError::Random)?;
        let row = row_of(&key, request, now)?;
        let act = act(actor, Action::KeyCreate, &row.id);
        if ledger.insert_key(&row, &act).await.map_err(KeyError::Ledger)? {
            Ok(key)
        } else {
            Err(KeyError::IdTaken)
        }
    }

    /// Every key, revoked ones too.
    ///
    /// # Errors
    ///
    /// [`KeyError::Ledger`] when Postgres did not answer.
    pub async fn list(ledger: &Ledger) -> Result<Vec<ApiKeyRow>, KeyError> {
        ledger.keys().await.map_err(KeyError::Ledger)
    }

    /// Revokes a key and records that `actor`, the id of a key or `cli`, revoked it; every node refuses it after its next
    /// refresh. `false` when no such key was in force.
    ///
    /// # Errors
    ///
    /// [`KeyError::Ledger`] when Postgres did not answer.
    pub async fn revoke(ledger: &Ledger, id: &str, actor: &str) -> Result<bool, KeyError> {
        ledger.revoke_key(id, &act(actor, Action::KeyRevoke, id)).await.map_err(KeyError::Ledger)
    }

    fn stored(&self, presented: &str, now: DateTime<Utc>) -> Option<Arc<KeyGrant>> {
        let key = ApiKey::parse(presented).ok()?;
        let digest = key.secret_digest();
        let grant = {
            let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(grants.get(key.id())?)
        };
        let is_current = grant.expires_at.is_none_or(|expires_at| now < expires_at);
        (grant.digest.matches(&digest) && is_current).then_some(grant)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.grants.read().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("KeyRing").field("keys", &count).finish_non_exhaustive()
    }
}

const fn act<'a>(actor: &'a str, action: Action, id: &'a str) -> Act<'a> {
    Act { actor, action, target: id, reason: None, request_id: None }
}

fn row_of(key: &NewApiKey, request: KeyRequest, now: DateTime<Utc>) -> Result<ApiKeyRow, KeyError> {
    if !(1..=100).contains(&request.name.chars().count()) {
        return Err(KeyError::BadName);
    }
    if request.permissions.is_empty() {
        return Err(KeyError::NoPermissions);
    }
    if let Some(prefix) = &request.subject_prefix {
        Subject::parse(prefix).map_err(KeyError::BadSubjectPrefix)?;
    }
    if request.expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(KeyError::AlreadyExpired);
    }
    let permissions = request.permissions.iter().map(|permission| permission.as_str().to_owned());
    Ok(ApiKeyRow {
        id: key.as_key().id().to_owned(),
        secret_sha256: *key.as_key().secret_digest().as_bytes(),
        name: request.name,
        permissions: permissions.collect(),
        subject_prefix: request.subject_prefix,
        created_at: now,
        expires_at: request.expires_at,
        revoked_at: None,
    })
}

/// A permission that this version does not know gives nothing.
fn grant_of(row: ApiKeyRow) -> KeyGrant {
    let known = row.permissions.iter().filter_map(|name| Permission::named(name));
    KeyGrant {
        permissions: known.collect(),
        digest: SecretDigest::from_bytes(row.secret_sha256),
        id: row.id,
        subject_prefix: row.subject_prefix,
        expires_at: row.expires_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTSTRAP: &str = "a-long-enough-admin-key-0";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn request(subject_prefix: Option<&str>) -> KeyRequest {
        KeyRequest {
            name: "chat backend".to_owned(),
            permissions: [Permission::Consume].into_iter().collect(),
            subject_prefix: subject_prefix.map(str::to_owned),
            expires_at: Some(at("2027-01-01T00:00:00Z")),
        }
    }

    fn stored_key() -> (NewApiKey, ApiKeyRow) {
        let key = NewApiKey::generate().unwrap();
        let row = row_of(&key, request(Some("org:acme")), at("2026-11-22T00:00:00Z")).unwrap();
        (key, row)
    }

    #[test]
    fn a_stored_key_is_good_for_what_its_row_says_until_it_expires() {
        let (key, row) = stored_key();
        let ring = KeyRing::new("").unwrap();
        ring.replace(vec![row]);

        let grant = ring.authenticate(key.reveal(), at("2026-12-31T23:59:59Z")).unwrap();

        assert!(grant.allows(Permission::Consume) && !grant.allows(Permission::Read));
        assert!(grant.reaches(&Subject::parse("org:acme/user:u_1").unwrap()));
        assert!(!grant.reaches(&Subject::parse("org:acm").unwrap()));
        assert!(ring.authenticate(key.reveal(), at("2027-01-01T00:00:00Z")).is_none());
    }

    #[test]
    fn a_key_with_a_known_id_and_another_secret_is_refused() {
        let (key, mut row) = stored_key();
        row.secret_sha256 = *SecretDigest::of("another").as_bytes();
        let ring = KeyRing::new(BOOTSTRAP).unwrap();
        ring.replace(vec![row]);
        assert!(ring.authenticate(key.reveal(), at("2026-12-01T00:00:00Z")).is_none());
    }

    #[test]
    fn a_revoked_key_is_refused_after_the_next_refresh() {
        let (key, row) = stored_key();
        let ring = KeyRing::new("").unwrap();
        let now = at("2026-12-01T00:00:00Z");
        ring.replace(vec![row.clone()]);
        assert!(ring.authenticate(key.reveal(), now).is_some());
        ring.replace(vec![ApiKeyRow { revoked_at: Some(now), ..row }]);
        assert!(ring.authenticate(key.reveal(), now).is_none());
    }

    #[test]
    fn a_bootstrap_key_is_long_and_visible_and_may_do_everything() {
        let now = at("2026-12-01T00:00:00Z");
        for weak in ["short", "twenty four with a space", "x\u{7f}xxxxxxxxxxxxxxxxxxxxxxxxxx"] {
            assert!(matches!(KeyRing::new(weak), Err(KeyError::WeakBootstrapKey)), "{weak}");
        }
        let ring = KeyRing::new(BOOTSTRAP).unwrap();
        assert!(ring.authenticate(BOOTSTRAP, now).unwrap().allows(Permission::Admin));
        assert!(ring.authenticate("", now).is_none());
        assert!(KeyRing::new("").unwrap().authenticate("", now).is_none());
        let key = NewApiKey::generate().unwrap();
        let ring = KeyRing::new(key.reveal()).unwrap();
        assert!(ring.authenticate(key.reveal(), now).is_some());
    }

    #[test]
    fn a_key_that_would_be_good_for_nothing_is_not_made() {
        let key = NewApiKey::generate().unwrap();
        let now = at("2026-12-01T00:00:00Z");
        let none = KeyRequest { permissions: Permissions::default(), ..request(None) };
        assert!(matches!(row_of(&key, none, now), Err(KeyError::NoPermissions)));
        let fenced = request(Some("acme"));
        assert!(matches!(row_of(&key, fenced, now), Err(KeyError::BadSubjectPrefix(_))));
    }
}
