//! `headroom repair`: makes counters in Redis that differ from Postgres again.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::config::Config;
use crate::quota::CounterDrift;
use crate::quota::RepairOrder;
use crate::quota::RepairPlace;
use crate::quota::Repaired;

use super::core::actor;
use super::core::on_core;
use super::core::parse_subject;
use super::output::Failure;
use super::output::print_json;
use super::output::print_table;
use super::progress::Progress;

/// What `headroom repair` mends.
#[derive(Debug, Args)]
pub(super) struct RepairArguments {
    /// A path such as `user:u_1`, of which the last level alone is looked at; all loaded subjects when absent
    subject: Option<String>,
    /// Print what differs, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON on a terminal, too
    #[arg(long)]
    json: bool,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// The exit code is 1 when something differs still that was to be repaired.
pub(super) async fn repair(
    config: &Config,
    arguments: &RepairArguments,
) -> Result<ExitCode, Failure> {
    let subject = arguments.subject.as_deref().map(parse_subject).transpose()?;
    let order = RepairOrder { subject, is_dry_run: arguments.dry_run };
    let actor = actor(arguments.reason.as_ref())?;
    let found = on_core(config, async |core| {
        let progress = Progress::open_ended("repair");
        let mut found = Vec::new();
        let mut pages = 0_u64;
        let mut next = Some(RepairPlace::default());
        // As many pages as a scan of Redis has.
        while let Some(place) = next {
            let (mut page, then) = core.quota.repair_page(place, &order, &actor).await?;
            found.append(&mut page);
            next = then;
            pages += 1;
            progress.say(format!("{pages} pages compared, {} subjects differ", found.len()));
        }
        Ok(found)
    })
    .await?;
    print(&found, arguments)?;
    let is_left = !order.is_dry_run && found.iter().any(|it| !it.repaired);
    Ok(if is_left { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(found: &[Repaired], arguments: &RepairArguments) -> Result<ExitCode, Failure> {
    let value = json!({ "dry_run": arguments.dry_run, "found": found });
    if arguments.json {
        return print_json(&value);
    }
    let rows = found.iter().flat_map(|it| it.counters.iter().map(|counter| row(it, counter)));
    let rows: Vec<Vec<String>> = rows.collect();
    print_table(&value, &["subject", "counter", "redis", "postgres", ""], &rows)
}

fn row(found: &Repaired, counter: &CounterDrift) -> Vec<String> {
    let CounterDrift { metric, period, grant, count, redis, postgres, .. } = counter;
    let of = grant.map_or_else(|| period.as_str().to_owned(), |id| format!("grant {id}"));
    let done = if found.repaired { "repaired" } else { "differs" };
    let name = format!("{metric}-{of} {count}");
    vec![found.subject.clone(), name, redis.to_string(), postgres.to_string(), done.to_owned()]
}
