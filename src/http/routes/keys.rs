//! `/v1/keys`: who may call, and what for.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::domain::Permission;
use crate::domain::Permissions;
use crate::domain::Subject;
use crate::http::auth::Acting;
use crate::http::auth::Admin;
use crate::http::auth::Caller;
use crate::http::body::JsonBytes;
use crate::http::body::parse;
use crate::http::documented::KeyProblems;
use crate::http::error::ApiError;
use crate::http::fields::undecodable;
use crate::http::reply::no_content;
use crate::http::reply::reply;
use crate::http::state::Api;
use crate::quota::ApiKeyRow;
use crate::quota::KeyRequest;

const NAME_CHARS_MAX: usize = 100;

/// What a new key is to be good for.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey)]
pub struct NewKeyBody {
    /// What people call it: 1 to 100 characters.
    #[schema(example = "chat backend", min_length = 1, max_length = 100)]
    name: String,
    /// At least one of `check`, `consume`, `read` and `admin`.
    #[schema(example = json!(["check", "consume", "read"]))]
    permissions: Vec<String>,
    /// Fences the key into this subject and what lies below it; without, it reaches all.
    #[schema(example = "org:acme")]
    subject_prefix: Option<String>,
    /// From when on it is refused; without, never.
    expires_at: Option<DateTime<Utc>>,
}

/// A key, without its text.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Key)]
pub struct KeyBody {
    /// Its public part, which the audit log names.
    #[schema(example = "U92mOE2pLV5R")]
    id: String,
    /// What people call it.
    name: String,
    /// What it allows.
    permissions: Vec<String>,
    /// The part of the tree that it is fenced into; `null` is all of it.
    #[schema(required)]
    subject_prefix: Option<String>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// From when on it is refused; `null` is never.
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
    /// When it was revoked; `null` is not.
    #[schema(required)]
    revoked_at: Option<DateTime<Utc>>,
}

/// All keys.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Keys)]
pub struct KeysBody {
    /// The keys, the newest first, revoked ones too.
    keys: Vec<KeyBody>,
}

/// A key that was made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = MadeKey)]
pub struct MadeKeyBody<'a> {
    /// Its public part, which the audit log names.
    #[schema(example = "U92mOE2pLV5R")]
    id: &'a str,
    /// Its text; shown now and never again.
    #[schema(example = "hr_live_…")]
    key: &'a str,
}

impl From<ApiKeyRow> for KeyBody {
    fn from(row: ApiKeyRow) -> Self {
        let ApiKeyRow { id, name, permissions, subject_prefix, .. } = row;
        let ApiKeyRow { created_at, expires_at, revoked_at, .. } = row;
        Self { id, name, permissions, subject_prefix, created_at, expires_at, revoked_at }
    }
}

impl NewKeyBody {
    fn request(self, now: DateTime<Utc>) -> Result<KeyRequest, ApiError> {
        let Self { name, permissions, subject_prefix, expires_at } = self;
        if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) {
            return Err(ApiError::invalid("name", "must be 1 to 100 characters"));
        }
        let permissions = permissions_of(&permissions)?;
        if let Some(prefix) = &subject_prefix {
            Subject::parse(prefix).map_err(|error| ApiError::invalid("subject_prefix", error))?;
        }
        if expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(ApiError::invalid("expires_at", "must be in the future"));
        }
        Ok(KeyRequest { name, permissions, subject_prefix, expires_at })
    }
}

fn permissions_of(names: &[String]) -> Result<Permissions, ApiError> {
    let known: Option<Permissions> = names.iter().map(|name| Permission::named(name)).collect();
    let given = known.filter(|permissions| !permissions.is_empty());
    let rule = "must be at least one of check, consume, read and admin";
    given.ok_or_else(|| ApiError::invalid("permissions", rule))
}

/// List keys.
///
/// Revoked ones too; nobody is shown a key's text again.
#[utoipa::path(
    get,
    operation_id = "list_keys",
    path = "/v1/keys",
    tag = "keys",
    responses((status = 200, description = "the keys", body = KeysBody), KeyProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let keys = api.quota.api_keys().await?;
    Ok(reply(&KeysBody { keys: keys.into_iter().map(Into::into).collect() }))
}

/// Make a key.
///
/// The answer has its text, which is never shown again. This node takes it from now on, the others within seconds.
#[utoipa::path(
    post,
    operation_id = "create_key",
    path = "/v1/keys",
    tag = "keys",
    request_body = NewKeyBody,
    responses((status = 201, description = "the key, with its text", body = MadeKeyBody), KeyProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Acting { caller, actor }: Acting,
    bytes: JsonBytes,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let request = parse::<NewKeyBody>(&bytes.0)?.request(api.quota.clock().now())?;
    let key = api.quota.create_key(request, &actor).await?;
    let mut response = reply(&MadeKeyBody { id: key.as_key().id(), key: key.reveal() });
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Revoke a key.
///
/// For good. This node refuses it from now on, the others within seconds.
#[utoipa::path(
    delete,
    operation_id = "revoke_key",
    path = "/v1/keys/{id}",
    tag = "keys",
    params(("id" = String, Path, description = "its id", example = "U92mOE2pLV5R")),
    responses((status = 204, description = "it is revoked"), KeyProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn revoke(
    State(api): State<Arc<Api>>,
    Acting { caller, actor }: Acting,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let Path(id) = path.map_err(|_| undecodable("id"))?;
    api.quota.revoke_key(&id, &actor).await?;
    Ok(no_content())
}
