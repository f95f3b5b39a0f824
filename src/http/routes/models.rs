//! `GET` and `PUT /v1/models`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde::Serialize;

use crate::domain::ModelRule;
use crate::http::auth::Acting;
use crate::http::auth::Caller;
use crate::http::auth::Read;
use crate::http::body;
use crate::http::body::CatalogueBytes;
use crate::http::documented::CatalogueReadProblems;
use crate::http::documented::CatalogueWriteProblems;
use crate::http::documented::WriteHeaders;
use crate::http::error::ApiError;
use crate::http::precondition::Precondition;
use crate::http::reply::versioned;
use crate::http::state::Api;
use crate::quota::CatalogueChange;
use crate::quota::CatalogueView;

/// All model rules, in order.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Models)]
pub struct ModelsBody<'a> {
    /// The catalogue's version, the same as the `ETag`.
    version: u64,
    /// The rules, most particular first: an exact name wins over a glob, an earlier rule over a later one.
    models: &'a [ModelRule],
}

/// The model rules that there are to be.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewModels)]
pub struct NewModelsBody {
    /// The rules, in order; at most 1,000, and as many names.
    models: Vec<ModelRule>,
}

/// Read all models.
///
/// End users may, too: they choose among them.
#[utoipa::path(
    get,
    operation_id = "read_models",
    path = "/v1/models",
    tag = "catalogue",
    responses(
        (status = 200, description = "the model rules, in order", body = ModelsBody,
            headers(("ETag" = String, description = "the catalogue's version, for `If-Match`")),
            example = json!({"version": 3, "models": [
                {"names": ["gemini-2.0-flash"], "charges": {"messages": 1}, "anonymous": true},
                {"names": ["claude-*"], "charges": {"messages": 1, "premium_messages": 1}},
            ]})),
        CatalogueReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    _caller: Caller<Read>,
) -> Result<Response, ApiError> {
    Ok(answer(&api.quota.newest_catalogue().await?))
}

/// Put all models.
///
/// Replaces the whole list. This node decides by it from now on, the others within two seconds.
#[utoipa::path(
    put,
    operation_id = "put_models",
    path = "/v1/models",
    tag = "catalogue",
    params(WriteHeaders),
    request_body(content = NewModelsBody, example = json!({"models": [
        {"names": ["claude-*"], "charges": {"messages": 1, "premium_messages": 1}, "feature": "premium"},
        {"names": ["*"], "charges": {"messages": 1}},
    ]})),
    responses(
        (status = 200, description = "the model rules as they are now", body = ModelsBody,
            headers(("ETag" = String, description = "the catalogue's new version, for `If-Match`")),
            example = json!({"version": 4, "models": [
                {"names": ["claude-*"], "charges": {"messages": 1, "premium_messages": 1}, "feature": "premium"},
                {"names": ["*"], "charges": {"messages": 1}},
            ]})),
        CatalogueWriteProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Acting { caller, actor }: Acting,
    precondition: Precondition,
    bytes: CatalogueBytes,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let NewModelsBody { models } = body::parse(&bytes.0)?;
    let (change, expected) = (CatalogueChange::Models(models), precondition.expected());
    let view = api.quota.change_catalogue(change, expected, &actor).await?;
    Ok(answer(&view))
}

fn answer(view: &CatalogueView) -> Response {
    let CatalogueView { version, catalogue } = view;
    versioned(*version, &ModelsBody { version: *version, models: &catalogue.models })
}
