//! `headroom export-person` and `headroom erase-person`: one person's data.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use crate::app::ledger_options;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::ledger::LedgerOptions;
use crate::quota::LogFilter;
use crate::quota::LogRow;

use super::core::actor;
use super::core::flush;
use super::core::on_core;
use super::core::parse_subject;
use super::output::Failure;
use super::output::print_table;
use super::output::print_text;

/// Rows of the log read at once.
const ROWS_MAX: u32 = 1_000;

/// Whose data is erased.
#[derive(Debug, Args)]
pub(super) struct EraseArguments {
    /// A path such as `user:u_1`; with all below it
    subject: String,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Prints all that there is about a subject and what lies below it, one JSON document a line.
pub(super) async fn export(config: &Config, subject: &str) -> Result<ExitCode, Failure> {
    let subject = parse_subject(subject)?;
    on_core(config, async |core| {
        flush(core, &subject).await?;
        core.quota.fold_rollups().await?;
        for document in core.ledger.about_person(subject.as_str()).await? {
            print_text(&format!("{document}\n"))?;
        }
        let mut filter = LogFilter { within: Some(subject.as_str()), ..LogFilter::default() };
        loop {
            let page = core.quota.logs(&filter, ROWS_MAX).await?;
            let lines: Vec<String> = page.rows.iter().map(line).collect::<Result<_, _>>()?;
            print_text(&lines.concat())?;
            filter.after = page.next;
            if filter.after.is_none() {
                return Ok(ExitCode::SUCCESS);
            }
        }
    })
    .await
}

fn line(row: &LogRow) -> Result<String, Failure> {
    let metadata: Option<Value> = row.metadata.as_deref().map(serde_json::from_str).transpose()?;
    let charges: Value = serde_json::from_str(&row.charges)?;
    let document = json!({ "log": {
        "id": row.id, "occurred_at": row.occurred_at, "kind": row.kind, "subject": row.subject, "model": row.model,
        "plan": row.plan, "charges": charges, "code": row.code, "limit": row.limit, "amount": row.amount,
        "request_id": row.request_id, "trace_id": row.trace_id, "metadata": metadata,
    } });
    Ok(format!("{document}\n"))
}

/// Erases a subject and all below it: what it has, its log, counters, refusals and reservations; Redis forgets it too.
pub(super) async fn erase(
    config: &Config,
    arguments: &EraseArguments,
) -> Result<ExitCode, Failure> {
    let subject = parse_subject(&arguments.subject)?;
    let owner = Ledger::connect(&LedgerOptions {
        url: config.postgres.migration_url().expose().to_owned(),
        ..ledger_options(config)
    })?;
    on_core(config, async |core| {
        flush(core, &subject).await?;
        core.quota.end_all(&subject, &actor(arguments.reason.as_ref())?).await?;
        flush(core, &subject).await?;
        core.quota.fold_rollups().await?;
        let shard = subject.shard(core.quota.shard_count());
        let pseudonym = format!("erased:{}", Uuid::now_v7().simple());
        let erased = owner.erase_person(shard, subject.as_str(), &pseudonym).await?;
        // The next pass lets Redis forget.
        flush(core, &subject).await?;
        let value = json!({ "subject": subject.as_str(), "events": erased.events, "counters": erased.counters, "denials": erased.denials });
        let counts = [erased.events, erased.counters, erased.denials].map(|count| count.to_string());
        print_table(&value, &["events", "counters", "refusals"], &[counts.to_vec()])
    })
    .await
}
