//! `GET /v1/plans`, and `GET` and `PUT /v1/plans/{name}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use serde::Serialize;

use crate::domain::Limit;
use crate::domain::Plan;
use crate::http::auth::Acting;
use crate::http::auth::Caller;
use crate::http::auth::Read;
use crate::http::body;
use crate::http::body::CatalogueBytes;
use crate::http::documented::CatalogueReadProblems;
use crate::http::documented::CatalogueWriteProblems;
use crate::http::documented::WriteHeaders;
use crate::http::error::ApiError;
use crate::http::fields::undecodable;
use crate::http::precondition::Precondition;
use crate::http::reply::versioned;
use crate::http::state::Api;
use crate::quota::CatalogueChange;
use crate::quota::CatalogueView;
use crate::quota::Expected;

/// All plans.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Plans)]
pub struct PlansBody<'a> {
    /// The catalogue's version, the same as the `ETag`.
    version: u64,
    /// The plans by name.
    #[schema(value_type = BTreeMap<String, Plan>)]
    plans: BTreeMap<&'a str, &'a Plan>,
}

/// One plan.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = NamedPlan)]
pub struct PlanBody<'a> {
    /// The plan's name.
    #[schema(example = "starter")]
    name: &'a str,
    /// The catalogue's version, the same as the `ETag`.
    version: u64,
    /// What people call the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    /// What a month costs, in minor units of the currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<u32>,
    /// Whether the plan may be recommended; absent, whether it has a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    listed: Option<bool>,
    /// Where a subject on this plan can get more.
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_url: Option<&'a str>,
    /// The features that are on.
    features: &'a [String],
    /// The rules. A metric without a rule is unlimited.
    limits: &'a [Limit],
}

/// Read all plans.
///
/// End users see those that are listed.
#[utoipa::path(
    get,
    operation_id = "read_plans",
    path = "/v1/plans",
    tag = "catalogue",
    responses(
        (status = 200, description = "the plans", body = PlansBody,
            headers(("ETag" = String, description = "the catalogue's version, for `If-Match`")),
            example = json!({"version": 3, "plans": {"free": {"limits": [{"metric": "messages", "period": "month", "max": 100}]}}})),
        CatalogueReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
) -> Result<Response, ApiError> {
    let CatalogueView { version, catalogue } = api.quota.newest_catalogue().await?;
    let shown = catalogue.plans.iter().filter(|(_, plan)| is_shown(plan, &caller));
    let plans = shown.map(|(name, plan)| (name.as_str(), plan)).collect();
    Ok(versioned(version, &PlansBody { version, plans }))
}

/// Read a plan.
///
/// For end users only those that are listed exist.
#[utoipa::path(
    get,
    operation_id = "read_plan",
    path = "/v1/plans/{name}",
    tag = "catalogue",
    params(("name" = String, Path, description = "the plan's name", example = "starter")),
    responses(
        (status = 200, description = "the plan", body = PlanBody,
            headers(("ETag" = String, description = "the catalogue's version, for `If-Match`")),
            example = json!({
                "name": "starter", "version": 3, "title": "Starter", "price": 900, "features": ["export"],
                "limits": [{"metric": "messages", "period": "month", "max": 1000, "mode": "soft", "grace": "10%"}]
            })),
        CatalogueReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(name) = path.map_err(|_| undecodable("name"))?;
    let view = api.quota.newest_catalogue().await?;
    let is_hidden = |plan| !is_shown(plan, &caller);
    if view.catalogue.plans.get(&name).is_some_and(is_hidden) {
        return Err(ApiError::UnknownPlan);
    }
    answer(&view, &name)
}

/// End users see what they may change to. Other plans may be made for somebody else.
fn is_shown(plan: &Plan, caller: &Caller<Read>) -> bool {
    plan.is_listed() || caller.holds_key().is_ok()
}

/// Put a plan.
///
/// Replaces the plan of that name, or adds it. This node decides by it from now on, the others within two seconds. An
/// `If-None-Match: *` asks that there be no plan of that name yet.
#[utoipa::path(
    put,
    operation_id = "put_plan",
    path = "/v1/plans/{name}",
    tag = "catalogue",
    params(("name" = String, Path, description = "the plan's name: 1 to 64 letters, digits, _, - and .", example = "starter"), WriteHeaders),
    request_body(content = Plan, example = json!({
        "title": "Starter", "price": 900, "features": ["export"],
        "limits": [{"metric": "messages", "period": "month", "max": 1000}]
    })),
    responses(
        (status = 200, description = "the plan as it is now", body = PlanBody,
            headers(("ETag" = String, description = "the catalogue's new version, for `If-Match`")),
            example = json!({
                "name": "starter", "version": 4, "title": "Starter", "price": 900, "features": ["export"],
                "limits": [{"metric": "messages", "period": "month", "max": 1000}]
            })),
        CatalogueWriteProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Acting { caller, actor }: Acting,
    path: Result<Path<String>, PathRejection>,
    precondition: Precondition,
    bytes: CatalogueBytes,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let Path(name) = path.map_err(|_| undecodable("name"))?;
    let plan: Plan = body::parse(&bytes.0)?;
    let expected = expected(&api, precondition, &name).await?;
    let change = CatalogueChange::Plan(name.clone(), plan);
    let view = api.quota.change_catalogue(change, expected, &actor).await?;
    answer(&view, &name)
}

/// A plan that must not exist yet is missing in some version of the catalogue: the write is based on that one.
async fn expected(api: &Api, precondition: Precondition, name: &str) -> Result<Expected, ApiError> {
    if precondition != Precondition::Absent {
        return Ok(precondition.expected());
    }
    let CatalogueView { version, catalogue } = api.quota.newest_catalogue().await?;
    let is_there = catalogue.plans.contains_key(name);
    if is_there {
        Err(ApiError::StaleWrite { found: version })
    } else {
        Ok(Expected::Version(version))
    }
}

fn answer(view: &CatalogueView, name: &str) -> Result<Response, ApiError> {
    let plan = view.catalogue.plans.get(name).ok_or(ApiError::UnknownPlan)?;
    let Plan { title, price, listed, upgrade_url, features, limits } = plan;
    let body = PlanBody {
        name,
        version: view.version,
        title: title.as_deref(),
        price: *price,
        listed: *listed,
        upgrade_url: upgrade_url.as_deref(),
        features,
        limits,
    };
    Ok(versioned(view.version, &body))
}
