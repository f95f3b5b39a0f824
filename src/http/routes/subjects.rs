//! `GET`, `PUT` and `DELETE /v1/subjects/{subject}`: what is configured for a subject.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use chrono::DateTime;
use chrono::Utc;
use serde::Serialize;

use crate::domain::Limit;
use crate::domain::Profile;
use crate::domain::ProfileError;
use crate::domain::Restraint;
use crate::http::auth::Acting;
use crate::http::auth::Caller;
use crate::http::auth::Read;
use crate::http::body;
use crate::http::body::JsonBytes;
use crate::http::documented::ReadProblems;
use crate::http::documented::WriteHeaders;
use crate::http::documented::WriteProblems;
use crate::http::error::ApiError;
use crate::http::fields::subject;
use crate::http::precondition::Precondition;
use crate::http::reply::no_content;
use crate::http::reply::versioned;
use crate::http::state::Api;
use crate::http::subject_path::SubjectPath;
use crate::quota::QuotaError;
use crate::quota::SubjectView;

/// What is configured for a subject, and what that comes to.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Subject)]
pub struct SubjectBody<'a> {
    /// Who.
    #[schema(example = "user:u_1")]
    subject: &'a str,
    /// The profile's version, the same as the `ETag`; 0 when nothing is configured.
    version: u64,
    /// When the profile was first put; `null` when nothing is configured.
    #[schema(required)]
    created_at: Option<DateTime<Utc>>,
    /// The subject's own plan; `null` takes that of its scope, or of the catalogue.
    #[schema(required)]
    plan: Option<&'a str>,
    /// Limits of its own, which replace the plan's with the same metric, period and `each`.
    limits: &'a [Limit],
    /// Features that are on or off whatever the plans say.
    features: &'a BTreeMap<String, bool>,
    /// The zone whose local dates count.
    #[schema(example = "Europe/Berlin")]
    time_zone: &'static str,
    /// The day on which months begin.
    anchor_day: u8,
    /// Whether every request is refused.
    blocked: bool,
    /// What rules have put on the subject for a while.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    restraints: &'a [Restraint],
    /// What the subject has by all its levels.
    effective: EffectiveBody<'a>,
}

/// What a subject has by the plans and profiles of all its levels.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Effective)]
pub struct EffectiveBody<'a> {
    /// The plan of the deepest level that has one; `null` without.
    #[schema(required)]
    plan: Option<&'a str>,
    /// Where the subject can get more.
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_url: Option<&'a str>,
    /// Every feature of the catalogue: whether the subject has it.
    features: &'a BTreeMap<String, bool>,
}

/// Read a subject.
///
/// What is configured for it, or the defaults when it has access without. End users may read themselves.
#[utoipa::path(
    get,
    operation_id = "read_subject",
    path = "/v1/subjects/{subject}",
    tag = "subjects",
    params(SubjectPath),
    responses(
        (status = 200, description = "the subject", body = SubjectBody,
            headers(("ETag" = String, description = "the version, for `If-Match`")),
            example = json!({
                "subject": "user:u_1", "version": 7, "created_at": "2026-11-20T09:30:00.125Z",
                "plan": "starter", "limits": [{"metric": "messages", "period": "day", "max": 500}],
                "features": {"export": true}, "time_zone": "Europe/Berlin", "anchor_day": 15, "blocked": false,
                "effective": {"plan": "starter", "upgrade_url": "https://app.example/billing/upgrade", "features": {"export": true}}
            })),
        ReadProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let subject = caller.reach(subject(path)?)?;
    let view = api.quota.subject(&subject).await?;
    if view.version == 0 && !view.effective.has_access {
        return Err(ApiError::UnknownSubject);
    }
    Ok(versioned(view.version, &SubjectBody::of(&view)))
}

/// Configure a subject.
///
/// Replaces all that is configured for it. When this answers, no node decides by what was configured before.
#[utoipa::path(
    put,
    operation_id = "put_subject",
    path = "/v1/subjects/{subject}",
    tag = "subjects",
    params(SubjectPath, WriteHeaders),
    request_body(content = Profile, example = json!({
        "plan": "starter", "limits": [{"metric": "messages", "period": "day", "max": 500}],
        "features": {"export": true}, "time_zone": "Europe/Berlin", "anchor_day": 15
    })),
    responses(
        (status = 200, description = "the subject as it is now", body = SubjectBody,
            headers(("ETag" = String, description = "the new version, for `If-Match`")),
            example = json!({
                "subject": "user:u_1", "version": 8, "created_at": "2026-11-20T09:30:00.125Z",
                "plan": "starter", "limits": [], "features": {}, "time_zone": "UTC", "anchor_day": 1, "blocked": false,
                "effective": {"plan": "starter", "features": {"export": false}}
            })),
        WriteProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Acting { caller, actor }: Acting,
    path: Result<Path<String>, PathRejection>,
    precondition: Precondition,
    bytes: JsonBytes,
) -> Result<Response, ApiError> {
    let subject = caller.reach(subject(path)?)?;
    let profile = profile(&bytes.0)?;
    let expected = precondition.expected();
    let view = api.quota.put_subject(&subject, profile, expected, &actor).await?;
    Ok(versioned(view.version, &SubjectBody::of(&view)))
}

/// Take back what is configured for a subject.
///
/// The subject's counters stay.
#[utoipa::path(
    delete,
    operation_id = "delete_subject",
    path = "/v1/subjects/{subject}",
    tag = "subjects",
    params(SubjectPath, WriteHeaders),
    responses(
        (status = 204, description = "nothing is configured any more"),
        WriteProblems,
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Acting { caller, actor }: Acting,
    path: Result<Path<String>, PathRejection>,
    precondition: Precondition,
) -> Result<Response, ApiError> {
    let subject = caller.reach(subject(path)?)?;
    let expected = precondition.expected();
    api.quota.delete_subject(&subject, expected, &actor).await?;
    Ok(no_content())
}

/// Lift what rules have put on a subject.
///
/// It is neither slowed nor blocked by rules any more, until one fires again. Answers the same when nothing was in force.
#[utoipa::path(
    delete,
    operation_id = "lift_restraints",
    path = "/v1/subjects/{subject}/restraints",
    tag = "subjects",
    params(SubjectPath),
    responses((status = 204, description = "nothing of rules is in force on it"), ReadProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn lift(
    State(api): State<Arc<Api>>,
    Acting { caller, actor }: Acting,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let subject = caller.reach(subject(path)?)?;
    api.quota.lift_restraints(&subject, &actor).await?;
    Ok(no_content())
}

/// Reads a profile. Whatever it has as grants or restraints, the rule is that it has none.
fn profile(bytes: &[u8]) -> Result<Profile, ApiError> {
    body::parse(bytes).map_err(|error| match error {
        ApiError::InvalidRequest { field, .. } if field.starts_with("grants") => {
            QuotaError::BadProfile(ProfileError::Grants).into()
        }
        ApiError::InvalidRequest { field, .. } if field.starts_with("restraints") => {
            QuotaError::BadProfile(ProfileError::Restraints).into()
        }
        error => error,
    })
}

impl<'a> SubjectBody<'a> {
    fn of(view: &'a SubjectView) -> Self {
        let Profile { plan, limits, features, time_zone, anchor_day, blocked, .. } = &view.profile;
        Self {
            subject: view.subject.as_str(),
            version: view.version,
            created_at: view.created_at,
            plan: plan.as_deref(),
            limits,
            features,
            time_zone: time_zone.name(),
            anchor_day: anchor_day.get(),
            blocked: *blocked,
            restraints: &view.restraints,
            effective: EffectiveBody {
                plan: view.effective.plan.as_deref(),
                upgrade_url: view.effective.upgrade_url.as_deref(),
                features: &view.effective.features,
            },
        }
    }
}
