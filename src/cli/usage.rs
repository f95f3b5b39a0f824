//! `headroom usage` and `headroom set`: a subject's counters.

use std::process::ExitCode;

use chrono::DateTime;
use chrono::Utc;
use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::config::Config;
use crate::domain::LimitState;
use crate::domain::Period;
use crate::domain::Units;
use crate::quota::NewCount;
use crate::quota::SetOrder;
use crate::quota::Usage;

use super::core::actor;
use super::core::flush;
use super::core::on_core;
use super::core::parse_metric;
use super::core::parse_period;
use super::core::parse_subject;
use super::output::Failure;
use super::output::Table;
use super::output::print_tables;

/// What `headroom set` sets.
#[derive(Debug, Args)]
pub(super) struct SetArguments {
    /// A path such as `user:u_1` or `org:acme/user:u_1`
    subject: String,
    /// What is counted elsewhere
    metric: String,
    /// The count
    value: u64,
    /// Only the counter of this period; all of the subject's limits on the metric when absent
    #[arg(long)]
    period: Option<String>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn usage(config: &Config, subject: &str) -> Result<ExitCode, Failure> {
    let subject = parse_subject(subject)?;
    on_core(config, async |core| print(&core.quota.usage(&subject).await?)).await
}

pub(super) async fn set(config: &Config, arguments: &SetArguments) -> Result<ExitCode, Failure> {
    let subject = parse_subject(&arguments.subject)?;
    let count = Units::new(arguments.value).map_err(|error| format!("VALUE {error}"))?;
    let order = SetOrder {
        metric: parse_metric("METRIC", &arguments.metric)?,
        period: parse_period(arguments.period.as_ref())?,
        count: NewCount::Absolute(count),
    };
    let actor = actor(arguments.reason.as_ref())?;
    on_core(config, async |core| {
        let report = core.quota.set_usage(&subject, &order, &actor).await?;
        flush(core, &subject).await?;
        print(&report.usage)
    })
    .await
}

fn print(usage: &Usage) -> Result<ExitCode, Failure> {
    let limits: Vec<Value> = usage.limits.iter().map(limit_json).collect();
    let value = json!({
        "subject": usage.subject.as_str(),
        "plan": usage.plan,
        "features": usage.features,
        "upgrade_url": usage.upgrade_url,
        "blocked": usage.is_blocked,
        "last_reset_at": usage.last_reset_at,
        "limits": limits,
    });
    let limits = Table {
        header: &["level", "limit", "used", "held", "max", "remaining", "granted", "resets at"],
        rows: usage.limits.iter().map(limit_row).collect(),
    };
    let on = |is_on: bool| if is_on { "on" } else { "off" }.to_owned();
    let features = Table {
        header: &["feature", ""],
        rows: usage.features.iter().map(|(name, is_on)| vec![name.clone(), on(*is_on)]).collect(),
    };
    print_tables(&value, &[limits, features])
}

fn limit_json(state: &LimitState) -> Value {
    json!({
        "name": state.name(),
        "subject": &*state.subject,
        "metric": state.metric,
        "period": state.period,
        "used": state.used,
        "reserved": state.reserved,
        "limit": state.max,
        "remaining": state.remaining(),
        "carried": state.carried,
        "granted_remaining": state.granted,
        "overage": state.overage(),
        "unlimited": state.max.is_none(),
        "window_start": (state.period != Period::Lifetime).then(|| state.window.start_at()),
        "resets_at": resets_at(state),
        "mode": state.mode,
        "warning": state.warning(),
    })
}

fn limit_row(state: &LimitState) -> Vec<String> {
    let or_unlimited = |units: Option<Units>| {
        units.map_or_else(|| "unlimited".to_owned(), |units| units.to_string())
    };
    let resets_at = resets_at(state).map_or_else(|| "never".to_owned(), |at| at.to_rfc3339());
    let (max, remaining) = (or_unlimited(state.max), or_unlimited(state.remaining()));
    let (used, held) = (state.used.to_string(), state.reserved.to_string());
    let (level, granted) = (state.subject.to_string(), state.granted.to_string());
    vec![level, state.name(), used, held, max, remaining, granted, resets_at]
}

fn resets_at(state: &LimitState) -> Option<DateTime<Utc>> {
    (state.period != Period::Lifetime).then(|| state.window.end_at())
}
