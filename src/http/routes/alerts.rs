//! `/v1/alerts`: rules about what happens, and what they found.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;
use uuid::Uuid;

use crate::domain::AlertKind;
use crate::domain::AlertRule;
use crate::domain::Subject;
use crate::http::auth::Admin;
use crate::http::auth::Caller;
use crate::http::body::JsonBytes;
use crate::http::body::parse;
use crate::http::documented::AlertProblems;
use crate::http::error::ApiError;
use crate::http::reply::no_content;
use crate::http::reply::reply;
use crate::http::state::Api;
use crate::quota::AlertsView;

const NAME_BYTES_MAX: usize = 64;
const THRESHOLD_MAX: u64 = 1 << 31;
const WINDOW_S_MAX: u64 = 86_400;
const COOLDOWN_S_MAX: u64 = 31 * 86_400;

/// What a rule says.
#[derive(Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlertRule)]
pub struct RuleBody {
    /// What is looked for: `denial_rate` (refusals in one minute), `concurrent` (requests of one millisecond), `bypass` (counters that were set, and
    /// commits after their hold's end), `spike` (today's units as times the average of the seven days before), `near_limit`
    /// (critical levels and limits that were reached).
    #[schema(value_type = String, example = "denial_rate")]
    kind: AlertKind,
    /// From which value it fires.
    #[schema(minimum = 1, maximum = 2_147_483_648_u64, example = 5)]
    threshold: u64,
    /// How far back is looked, in seconds. A spike is one of a day, whatever stands here.
    #[schema(minimum = 60, maximum = 86_400, example = 60)]
    window_s: u64,
    /// How long it stays silent about a subject that it fired for, in seconds.
    #[schema(minimum = 0, maximum = 2_678_400, example = 600)]
    cooldown_s: u64,
    /// Only about this subject and all below it.
    #[serde(default)]
    #[schema(example = "org:acme")]
    subject: Option<String>,
    /// Whether it is looked at.
    enabled: bool,
}

/// Rules, what they found, and who is at risk.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Alerts)]
pub struct AlertsBody {
    /// The rules by name.
    #[schema(value_type = Object)]
    rules: std::collections::BTreeMap<String, RuleBody>,
    /// The latest 100 alerts, the newest first.
    alerts: Vec<AlertBody>,
    /// The 100 subjects at the highest risk.
    risks: Vec<RiskBody>,
}

/// What a rule found.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Alert)]
pub struct AlertBody {
    /// Its id, and that of the event on the stream.
    id: Uuid,
    /// The rule.
    rule: String,
    /// What the rule looks for.
    kind: String,
    /// About whom.
    subject: String,
    /// What was found.
    value: u64,
    /// From which value the rule fired.
    threshold: u64,
    /// When.
    fired_at: DateTime<Utc>,
}

/// A subject at risk.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Risk)]
pub struct RiskBody {
    /// Whom.
    subject: String,
    /// 1 to 100: 20 for each alert about refusals or requests at once in the last day, 40 for one about bypasses, 10 for a spike.
    score: u64,
}

impl From<AlertRule> for RuleBody {
    fn from(rule: AlertRule) -> Self {
        let AlertRule { kind, threshold, window_s, cooldown_s, subject, enabled, .. } = rule;
        Self { kind, threshold, window_s, cooldown_s, subject, enabled }
    }
}

impl RuleBody {
    fn rule(self, name: String) -> Result<AlertRule, ApiError> {
        within("threshold", self.threshold, 1, THRESHOLD_MAX)?;
        within("window_s", self.window_s, 60, WINDOW_S_MAX)?;
        within("cooldown_s", self.cooldown_s, 0, COOLDOWN_S_MAX)?;
        let subject = self.subject.as_deref().map(Subject::parse).transpose();
        let subject = subject.map_err(ApiError::subject)?.map(|it| it.as_str().to_owned());
        let Self { kind, threshold, window_s, cooldown_s, enabled, .. } = self;
        Ok(AlertRule { name, kind, threshold, window_s, cooldown_s, subject, enabled })
    }
}

fn within(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), ApiError> {
    let is_within = (min..=max).contains(&value);
    let rule = || ApiError::invalid(field, format_args!("must be {min} to {max}"));
    is_within.then_some(()).ok_or_else(rule)
}

/// Read rules and alerts.
///
/// Alerts are told of on `GET /v1/stream` and to webhooks as `abuse-detected`, `spike-detected` and `quota-warning`; rules are looked at
/// every five seconds, each by one node.
#[utoipa::path(
    get,
    operation_id = "read_alerts",
    path = "/v1/alerts",
    tag = "alerts",
    responses((status = 200, description = "rules, alerts and risks", body = AlertsBody), AlertProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    Ok(reply(&body(api.quota.alerts().await?)))
}

/// Put a rule.
///
/// In place of the one of its name. At most 100 rules.
#[utoipa::path(
    put,
    operation_id = "put_alert_rule",
    path = "/v1/alerts/{name}",
    tag = "alerts",
    params(("name" = String, Path, description = "the rule's name", example = "high_denial_rate")),
    request_body = RuleBody,
    responses((status = 200, description = "the rule", body = RuleBody), AlertProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    path: Result<Path<String>, PathRejection>,
    bytes: JsonBytes,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    let rule = parse::<RuleBody>(&bytes.0)?.rule(name(path)?)?;
    api.quota.put_alert_rule(&rule).await?;
    Ok(reply(&RuleBody::from(rule)))
}

/// Take a rule away.
///
/// What it found stays.
#[utoipa::path(
    delete,
    operation_id = "delete_alert_rule",
    path = "/v1/alerts/{name}",
    tag = "alerts",
    params(("name" = String, Path, description = "the rule's name", example = "high_denial_rate")),
    responses((status = 204, description = "it is gone"), AlertProblems),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    caller.reach_all()?;
    api.quota.delete_alert_rule(&name(path)?).await?;
    Ok(no_content())
}

fn name(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    let Path(name) = path.map_err(|_| crate::http::fields::undecodable("name"))?;
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_');
    let rule = "must be 1 to 64 lowercase letters, digits and underscores";
    is_name.then_some(name).ok_or_else(|| ApiError::invalid("name", rule))
}

fn body(view: AlertsView) -> AlertsBody {
    let alert = |it: crate::quota::AlertRow| AlertBody {
        id: it.id,
        rule: it.rule,
        kind: it.kind,
        subject: it.subject,
        value: it.value,
        threshold: it.threshold,
        fired_at: it.fired_at,
    };
    AlertsBody {
        rules: view.rules.into_iter().map(|rule| (rule.name.clone(), rule.into())).collect(),
        alerts: view.alerts.into_iter().map(alert).collect(),
        risks: view.risks.into_iter().map(|(subject, score)| RiskBody { subject, score }).collect(),
    }
}
