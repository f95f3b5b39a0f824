//! Commands that look at the stores or change a subject: `migrate`, `usage`, `reset`, `verify`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::app::Core;
use crate::app::Hooks;
use crate::config::Config;
use crate::domain::LimitState;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Subject;
use crate::ledger::Ledger;
use crate::quota::Actor;
use crate::quota::FlushState;
use crate::quota::FlushStep;
use crate::quota::ResetScope;
use crate::quota::Usage;

use super::output::Failure;
use super::output::print_table;

/// Passes of the flush that follows a reset; a flusher elsewhere does the rest.
const FLUSH_PASSES_MAX: usize = 1_000;

/// What `headroom reset` clears.
#[derive(Debug, Args)]
pub(super) struct ResetArguments {
    /// A path such as `user:u_1` or `org:acme/user:u_1`
    subject: String,
    /// Clear this metric only
    #[arg(long)]
    metric: Option<String>,
    /// Clear this period only; lifetime counters are cleared only when named here
    #[arg(long)]
    period: Option<String>,
}

pub(super) async fn migrate(config: &Config) -> Result<ExitCode, Failure> {
    let report =
        Ledger::migrate(config.postgres.migration_url().expose(), config.quota.shards).await?;
    let value = json!({ "applied": report.applied, "shards": report.settings.shards });
    let rows: Vec<Vec<String>> = report.applied.iter().map(|name| vec![name.clone()]).collect();
    print_table(&value, &["applied now"], &rows)
}

pub(super) async fn usage(config: &Config, subject: &str) -> Result<ExitCode, Failure> {
    let subject = parse_subject(subject)?;
    let core = Core::start(config, Hooks::default()).await?;
    let usage = core.quota.usage(&subject).await;
    let stopped = core.stop(config.server.shutdown_grace()).await;
    debug_assert!(stopped.is_clean(), "nothing but lanes and the loader runs");
    print_usage(&usage?)
}

pub(super) async fn reset(
    config: &Config,
    arguments: &ResetArguments,
) -> Result<ExitCode, Failure> {
    let subject = parse_subject(&arguments.subject)?;
    let metric = arguments.metric.as_deref().map(Metric::new).transpose();
    let metric = metric.map_err(|error| format!("--metric {error}"))?;
    let period = match &arguments.period {
        Some(name) => Some(
            Period::named(name)
                .ok_or("--period must be minute, hour, day, week, month or lifetime")?,
        ),
        None => None,
    };
    let core = Core::start(config, Hooks::default()).await?;
    let actor = Actor::command_line(None);
    let report = core.quota.reset(&subject, ResetScope { metric, period }, &actor).await;
    let flushed = flush(&core, &subject).await;
    let stopped = core.stop(config.server.shutdown_grace()).await;
    debug_assert!(stopped.is_clean(), "nothing but lanes and the loader runs");
    let report = report?;
    flushed?;
    print_usage(&report.usage)
}

fn parse_subject(text: &str) -> Result<Subject, Failure> {
    Subject::parse(text).map_err(|error| format!("SUBJECT: {error}, such as user:u_1").into())
}

/// Brings the subject's shard into Postgres, so that the reset is there when the command ends.
async fn flush(core: &Core, subject: &Subject) -> Result<(), Failure> {
    let shard = subject.shard(core.quota.shard_count());
    let mut state = FlushState::default();
    for _ in 0..FLUSH_PASSES_MAX {
        if core.quota.flush(shard, &mut state).await? == FlushStep::Idle {
            break;
        }
    }
    Ok(())
}

pub(super) async fn verify(config: &Config) -> Result<ExitCode, Failure> {
    let core = Core::start(config, Hooks::default()).await?;
    let report = core.quota.verify().await;
    let stopped = core.stop(config.server.shutdown_grace()).await;
    debug_assert!(stopped.is_clean(), "nothing but lanes and the loader runs");
    let report = report?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for check in &report.checks {
        let verdict = if check.broken == 0 { "holds" } else { "BROKEN" };
        let cells = [check.name, verdict, &check.examined.to_string(), check.about];
        rows.push(cells.map(str::to_owned).to_vec());
        let failures = check.failures.iter().map(|failure| vec![String::new(), failure.clone()]);
        rows.extend(failures);
    }
    print_table(&report, &["", "verdict", "examined", "what must hold"], &rows)?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_usage(usage: &Usage) -> Result<ExitCode, Failure> {
    let limits: Vec<_> = usage.limits.iter().map(limit_json).collect();
    let value = json!({
        "subject": usage.subject.as_str(),
        "plan": usage.plan,
        "last_reset_at": usage.last_reset_at,
        "limits": limits,
    });
    let rows: Vec<Vec<String>> = usage.limits.iter().map(limit_row).collect();
    print_table(&value, &["limit", "used", "max", "remaining", "resets at"], &rows)
}

fn limit_json(state: &LimitState) -> serde_json::Value {
    json!({
        "name": state.name(),
        "used": state.used,
        "limit": state.max,
        "remaining": state.remaining(),
        "unlimited": state.max.is_none(),
        "resets_at": resets_at(state),
        "warning": state.warning(),
    })
}

fn limit_row(state: &LimitState) -> Vec<String> {
    let or_unlimited = |units: Option<crate::domain::Units>| {
        units.map_or_else(|| "unlimited".to_owned(), |units| units.to_string())
    };
    let resets_at = resets_at(state).map_or_else(|| "never".to_owned(), |at| at.to_rfc3339());
    let (max, remaining) = (or_unlimited(state.max), or_unlimited(state.remaining()));
    vec![state.name(), state.used.to_string(), max, remaining, resets_at]
}

fn resets_at(state: &LimitState) -> Option<chrono::DateTime<chrono::Utc>> {
    (state.period != Period::Lifetime).then(|| state.window.end_at())
}
