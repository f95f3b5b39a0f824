//! `GET` and `PUT /v1/catalogue`: all of it at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use crate::domain::Catalogue;
use crate::domain::Metric;
use crate::domain::ModelRule;
use crate::domain::Plan;
use crate::domain::Scope;
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

/// Everything that decides what a request charges.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = VersionedCatalogue)]
pub struct CatalogueBody<'a> {
    /// The catalogue's version, the same as the `ETag`.
    version: u64,
    /// What can be counted.
    #[schema(value_type = Vec<String>)]
    metrics: &'a [Metric],
    /// What plans and profiles can switch on and off.
    features: &'a [String],
    /// The plan of a path's last level that has no other; `null` gives no access.
    #[schema(required)]
    default_plan: Option<&'a str>,
    /// The same for callers who have not signed in.
    #[schema(required)]
    anonymous_plan: Option<&'a str>,
    /// The plan of a level of that scope whose profile names none.
    #[schema(value_type = BTreeMap<String, String>)]
    scope_plans: &'a BTreeMap<Scope, String>,
    /// Plans by name.
    plans: &'a BTreeMap<String, Plan>,
    /// Model rules, in order.
    models: &'a [ModelRule],
}

/// Read the catalogue.
#[utoipa::path(
    get,
    operation_id = "read_catalogue",
    path = "/v1/catalogue",
    tag = "catalogue",
    responses(
        (status = 200, description = "the catalogue", body = CatalogueBody,
            headers(("ETag" = String, description = "the version, for `If-Match`")),
            example = json!({
                "version": 3, "metrics": ["messages"], "features": ["export"],
                "default_plan": "free", "anonymous_plan": null, "scope_plans": {"org": "team"},
                "plans": {
                    "free": {"limits": [{"metric": "messages", "period": "month", "max": 100}]},
                    "team": {"features": ["export"]}
                },
                "models": [{"names": ["*"], "charges": {"messages": 1}}]
            })),
        CatalogueReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
) -> Result<Response, ApiError> {
    caller.holds_key()?;
    Ok(answer(&api.quota.newest_catalogue().await?))
}

/// Put the catalogue.
///
/// Replaces all of it, at once: no request is decided by parts of two catalogues. This node decides by it from now on, the
/// others within two seconds.
#[utoipa::path(
    put,
    operation_id = "put_catalogue",
    path = "/v1/catalogue",
    tag = "catalogue",
    params(WriteHeaders),
    request_body(content = Catalogue, example = json!({
        "metrics": ["messages"], "default_plan": "free",
        "plans": {"free": {"limits": [{"metric": "messages", "period": "month", "max": 100}]}},
        "models": [{"names": ["*"], "charges": {"messages": 1}}]
    })),
    responses(
        (status = 200, description = "the catalogue as it is now", body = CatalogueBody,
            headers(("ETag" = String, description = "the new version, for `If-Match`")),
            example = json!({
                "version": 4, "metrics": ["messages"], "features": [], "default_plan": "free", "anonymous_plan": null,
                "scope_plans": {}, "plans": {"free": {"limits": [{"metric": "messages", "period": "month", "max": 100}]}},
                "models": [{"names": ["*"], "charges": {"messages": 1}}]
            })),
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
    let catalogue: Catalogue = body::parse(&bytes.0)?;
    let (change, expected) = (CatalogueChange::All(catalogue), precondition.expected());
    let view = api.quota.change_catalogue(change, expected, &actor).await?;
    Ok(answer(&view))
}

fn answer(view: &CatalogueView) -> Response {
    let Catalogue { metrics, features, default_plan, anonymous_plan, scope_plans, plans, models } =
        &view.catalogue;
    let body = CatalogueBody {
        version: view.version,
        metrics,
        features,
        default_plan: default_plan.as_deref(),
        anonymous_plan: anonymous_plan.as_deref(),
        scope_plans,
        plans,
        models,
    };
    versioned(view.version, &body)
}
