//! `headroom audit`: what admins did.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::config::Config;
use crate::quota::AuditFilter;
use crate::quota::AuditRow;

use super::core::on_core;
use super::output::Failure;
use super::output::Table;
use super::output::print_tables;

/// Which acts are shown.
#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    /// Only what was done to this: a subject, a plan, a key's id, `models` or `catalogue`
    #[arg(long)]
    target: Option<String>,
    /// How many, the newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

pub(super) async fn audit(
    config: &Config,
    arguments: &AuditArguments,
) -> Result<ExitCode, Failure> {
    let filter = AuditFilter { target: arguments.target.as_deref(), ..AuditFilter::default() };
    let acts =
        on_core(config, async |core| Ok(core.quota.audit(filter, arguments.limit).await?)).await?;
    let value = acts.iter().map(act_json).collect::<Result<Vec<Value>, _>>()?;
    let table = Table {
        header: &["when", "who", "what", "to", "why"],
        rows: acts.iter().map(act_row).collect(),
    };
    print_tables(&value, &[table])
}

fn act_json(act: &AuditRow) -> Result<Value, serde_json::Error> {
    let document = |text: &Option<String>| text.as_deref().map(serde_json::from_str).transpose();
    let (before, after): (Option<Value>, Option<Value>) =
        (document(&act.before)?, document(&act.after)?);
    Ok(json!({
        "id": act.id,
        "occurred_at": act.occurred_at,
        "actor": act.actor,
        "action": act.action,
        "target": act.target,
        "reason": act.reason,
        "before": before,
        "after": after,
        "request_id": act.request_id,
    }))
}

fn act_row(act: &AuditRow) -> Vec<String> {
    vec![
        act.occurred_at.to_rfc3339(),
        act.actor.clone(),
        act.action.clone(),
        act.target.clone(),
        act.reason.clone().unwrap_or_default(),
    ]
}
