//! Who calls, and what they may do: permissions as extractors.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::header;
use axum::http::request::Parts;

use super::error::ApiError;
use super::idempotency::idempotency_key;
use super::request_id::RequestScope;
use super::state::Api;
use crate::domain::Permission;
use crate::domain::Subject;
use crate::quota::Actor;
use crate::quota::KeyGrant;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_REASON: HeaderName = HeaderName::from_static("x-reason");

/// A permission that a route needs.
pub trait Needs: Send + Sync + 'static {
    /// Which.
    const PERMISSION: Permission;
}

/// The route asks for decisions without charging.
#[derive(Debug)]
pub struct Check;
/// The route asks for decisions and charges.
#[derive(Debug)]
pub struct Consume;
/// The route reads. End users may call it, about themselves.
#[derive(Debug)]
pub struct Read;
/// The route changes what others rely on.
#[derive(Debug)]
pub struct Admin;

impl Needs for Check {
    const PERMISSION: Permission = Permission::Check;
}
impl Needs for Consume {
    const PERMISSION: Permission = Permission::Consume;
}
impl Needs for Read {
    const PERMISSION: Permission = Permission::Read;
}
impl Needs for Admin {
    const PERMISSION: Permission = Permission::Admin;
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Identity {
    /// The holder of an API key.
    Key(Arc<KeyGrant>),
    /// An end user with a token: `user:<sub>`.
    EndUser(Subject),
}

/// A caller who has the permission `P`.
#[derive(Debug)]
pub struct Caller<P> {
    /// Who calls.
    pub identity: Identity,
    /// Why, in the words of an admin: the header `X-Reason`.
    reason: Option<String>,
    /// An admin's `Idempotency-Key`, for acts on counters.
    idempotency_key: Option<String>,
    permission: PhantomData<P>,
}

impl<P> Caller<P> {
    /// The caller as the audit log names them.
    #[must_use]
    pub fn actor(&self, scope: &RequestScope) -> Actor {
        let name = match &self.identity {
            Identity::Key(grant) => grant.id.clone(),
            Identity::EndUser(user) => user.as_str().to_owned(),
        };
        let (reason, idempotency_key) = (self.reason.clone(), self.idempotency_key.clone());
        Actor { name, reason, idempotency_key, context: scope.context() }
    }

    /// Lets `subject` through when it lies within the caller's reach: a key's part of the tree, or an end user's
    /// own. Outside of it nothing exists, so that nobody learns which subjects there are.
    ///
    /// # Errors
    ///
    /// [`ApiError::UnknownSubject`] outside of the caller's reach.
    pub fn reach(&self, subject: Subject) -> Result<Subject, ApiError> {
        let is_within = match &self.identity {
            Identity::Key(grant) => grant.reaches(&subject),
            Identity::EndUser(user) => subject.is_within(user.as_str()),
        };
        if is_within { Ok(subject) } else { Err(ApiError::UnknownSubject) }
    }
}

impl<P: Needs> Caller<P> {
    /// Lets through whoever holds an API key: what is about no subject is not for end users.
    ///
    /// # Errors
    ///
    /// [`ApiError::PermissionDenied`] for an end user.
    pub fn holds_key(&self) -> Result<&KeyGrant, ApiError> {
        match &self.identity {
            Identity::Key(grant) => Ok(grant),
            Identity::EndUser(_) => Err(ApiError::PermissionDenied(P::PERMISSION)),
        }
    }

    /// Lets through whoever holds an API key over the whole tree: what is about all subjects is not for a fenced key.
    ///
    /// # Errors
    ///
    /// [`ApiError::Fenced`], and [`ApiError::PermissionDenied`] for an end user.
    pub fn reach_all(&self) -> Result<(), ApiError> {
        let is_whole = self.holds_key()?.subject_prefix.is_none();
        is_whole.then_some(()).ok_or(ApiError::Fenced)
    }
}

impl<P: Needs> FromRequestParts<Arc<Api>> for Caller<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let identity = identify(&parts.headers, api)?;
        let is_allowed = match &identity {
            Identity::Key(grant) => grant.allows(P::PERMISSION),
            Identity::EndUser(_) => P::PERMISSION == Permission::Read,
        };
        if !is_allowed {
            return Err(ApiError::PermissionDenied(P::PERMISSION));
        }
        let is_admin = P::PERMISSION == Permission::Admin;
        let (reason, idempotency_key) = if is_admin {
            (reason(&parts.headers)?, idempotency_key(&parts.headers)?)
        } else {
            (None, None)
        };
        Ok(Self { identity, reason, idempotency_key, permission: PhantomData })
    }
}

/// An admin who changes something, and what the audit log says of them.
#[derive(Debug)]
pub struct Acting {
    /// Who calls.
    pub caller: Caller<Admin>,
    /// The same for the audit log.
    pub actor: Actor,
}

impl FromRequestParts<Arc<Api>> for Acting {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, api).await?;
        let Ok(scope) = RequestScope::from_request_parts(parts, api).await;
        Ok(Self { actor: caller.actor(&scope), caller })
    }
}

/// What an admin says about why: UTF-8 of at most [`Actor::REASON_BYTES_MAX`] bytes.
fn reason(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(X_REASON) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes());
    let text = text.map_err(|_| ApiError::invalid("X-Reason", "must be utf-8"))?;
    if text.len() > Actor::REASON_BYTES_MAX {
        let rule = format_args!("must be at most {} bytes", Actor::REASON_BYTES_MAX);
        return Err(ApiError::invalid("X-Reason", rule));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// Who asks through a gateway: the gateway by its API key, an end user by a token, or both in one request.
#[derive(Debug)]
pub struct Gateway<P> {
    key: Option<Arc<KeyGrant>>,
    user: Option<Subject>,
    permission: PhantomData<P>,
}

impl<P> Gateway<P> {
    /// Whether the request comes from a gateway that holds a key, which vouches for its headers.
    #[must_use]
    pub const fn holds_key(&self) -> bool {
        self.key.is_some()
    }

    /// The end user whose token came along.
    #[must_use]
    pub const fn user(&self) -> Option<&Subject> {
        self.user.as_ref()
    }

    /// Lets `subject` through when it lies within the key's part of the tree and is the token's user, or within.
    ///
    /// # Errors
    ///
    /// [`ApiError::UnknownSubject`] outside of either.
    pub fn reach(&self, subject: Subject) -> Result<Subject, ApiError> {
        let is_within = self.key.as_ref().is_none_or(|grant| grant.reaches(&subject))
            && self.user.as_ref().is_none_or(|user| subject.is_within(user.as_str()));
        if is_within { Ok(subject) } else { Err(ApiError::UnknownSubject) }
    }
}

impl<P: Needs> Gateway<P> {
    /// Reads the key of `X-Api-Key` beside the token of `Authorization: Bearer`, or either of them alone. Beside a key,
    /// an `Authorization` of another scheme is between the gateway and its callers, and so is any while tokens are off.
    ///
    /// # Errors
    ///
    /// [`ApiError::NoCredential`] and [`ApiError::BadCredential`], and [`ApiError::PermissionDenied`] when the key
    /// lacks the permission.
    pub fn of(headers: &HeaderMap, api: &Api) -> Result<Self, ApiError> {
        let (key, user) = match headers.get(X_API_KEY) {
            Some(value) => {
                let text = value.to_str().map_err(|_| ApiError::BadCredential)?;
                let grant = key(text, api).ok_or(ApiError::BadCredential)?;
                (Some(grant), token(headers, api)?)
            }
            None => match identify(headers, api)? {
                Identity::Key(grant) => (Some(grant), None),
                Identity::EndUser(user) => (None, Some(user)),
            },
        };
        if key.as_ref().is_some_and(|grant| !grant.allows(P::PERMISSION)) {
            return Err(ApiError::PermissionDenied(P::PERMISSION));
        }
        Ok(Self { key, user, permission: PhantomData })
    }
}

/// The user of the token beside a gateway's key; `None` without one.
fn token(headers: &HeaderMap, api: &Api) -> Result<Option<Subject>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().ok().and_then(|text| text.split_once(' '));
    let bearer = text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match bearer {
        Some((_, token)) if api.jwt.is_some() => end_user(token.trim(), api).map(Some),
        _ => Ok(None),
    }
}

fn identify(headers: &HeaderMap, api: &Api) -> Result<Identity, ApiError> {
    let presented = credential(headers)?;
    match key(presented, api) {
        Some(grant) => Ok(Identity::Key(grant)),
        None => end_user(presented, api).map(Identity::EndUser),
    }
}

fn key(presented: &str, api: &Api) -> Option<Arc<KeyGrant>> {
    api.quota.keys().authenticate(presented, api.quota.clock().now())
}

fn end_user(presented: &str, api: &Api) -> Result<Subject, ApiError> {
    let verifier = api.jwt.as_ref().ok_or(ApiError::BadCredential)?;
    verifier.verify(presented, api.quota.clock().now()).map_err(|error| {
        tracing::debug!(%error, "token refused");
        ApiError::BadCredential
    })
}

/// The key or token of `Authorization: Bearer`, or else of `X-Api-Key`.
fn credential(headers: &HeaderMap) -> Result<&str, ApiError> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().map_err(|_| ApiError::BadCredential)?;
        let (scheme, rest) = text.split_once(' ').ok_or(ApiError::BadCredential)?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        return is_bearer.then_some(rest.trim()).ok_or(ApiError::BadCredential);
    }
    let key = headers.get(X_API_KEY).ok_or(ApiError::NoCredential)?;
    key.to_str().map_err(|_| ApiError::BadCredential)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_credential_comes_from_either_header() {
        let bearer = headers(&[(header::AUTHORIZATION, "bearer  abc"), (X_API_KEY, "other")]);
        assert_eq!(credential(&bearer).unwrap(), "abc");
        assert_eq!(credential(&headers(&[(X_API_KEY, "abc")])).unwrap(), "abc");
        assert!(matches!(credential(&HeaderMap::new()), Err(ApiError::NoCredential)));
        for bad in ["Basic YTpi", "abc"] {
            let headers = headers(&[(header::AUTHORIZATION, bad)]);
            assert!(matches!(credential(&headers), Err(ApiError::BadCredential)), "{bad}");
        }
    }

    #[test]
    fn an_end_user_reaches_only_themselves() {
        let user = Subject::user("u_1").unwrap();
        let caller = Caller::<Read> {
            identity: Identity::EndUser(user.clone()),
            reason: None,
            idempotency_key: None,
            permission: PhantomData,
        };
        assert!(caller.reach(user).is_ok());
        for other in ["user:u_12", "user:u_2", "org:acme/user:u_1"] {
            let error = caller.reach(Subject::parse(other).unwrap());
            assert!(matches!(error, Err(ApiError::UnknownSubject)), "{other}");
        }
    }
}
