//! `headroom recompute`: limits that follow usage, computed now instead of tonight.

use std::process::ExitCode;

use clap::Args;

use crate::config::Config;
use crate::domain::Subject;
use crate::quota::Recomputation;
use crate::quota::RecomputePlace;
use crate::quota::Recomputed;

use super::core::flush;
use super::core::flush_all;
use super::core::on_core;
use super::core::parse_subject;
use super::output::Failure;
use super::output::print_line;

/// Whose limits `headroom recompute` computes.
#[derive(Debug, Args)]
pub(super) struct RecomputeArguments {
    /// The root of a path, such as `user:u_1`; all when absent
    #[arg(long)]
    subject: Option<String>,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn recompute(
    config: &Config,
    arguments: &RecomputeArguments,
) -> Result<ExitCode, Failure> {
    let subject = arguments.subject.as_deref().map(parse_root).transpose()?;
    on_core(config, async |core| {
        let day = core.quota.day_to_recompute();
        let order = Recomputation { day, dry_run: arguments.dry_run };
        // Limits follow what is in the rollups.
        match &subject {
            Some(subject) => flush(core, subject).await?,
            None => flush_all(core).await?,
        }
        core.quota.fold_rollups().await?;
        if let Some(subject) = &subject {
            print(&core.quota.recompute_subject(subject, order).await?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut next = Some(RecomputePlace::first());
        // As many pages as there are subjects for.
        while let Some(place) = next {
            let (changes, then) = core.quota.recompute_page(&place, order).await?;
            print(&changes)?;
            next = then;
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

fn parse_root(text: &str) -> Result<Subject, Failure> {
    let subject = parse_subject(text)?;
    if subject.depth() > 1 {
        return Err("--subject must be the root of a path, such as user:u_1".into());
    }
    Ok(subject)
}

fn print(changes: &[Recomputed]) -> Result<(), Failure> {
    for change in changes {
        print_line(&serde_json::to_string(change)?)?;
    }
    Ok(())
}
