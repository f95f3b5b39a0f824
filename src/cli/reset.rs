//! `headroom reset`: clears the counters of a subject, or of all that lies below one.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::app::Core;
use crate::config::Config;
use crate::domain::Period;
use crate::domain::Subject;
use crate::quota::Actor;
use crate::quota::ResetScope;
use crate::quota::Rewritten;

use super::core::actor;
use super::core::flush;
use super::core::on_core;
use super::core::parse_metric;
use super::core::parse_period;
use super::core::parse_subject;
use super::output::Failure;
use super::output::Table;
use super::output::print_tables;

/// What stands for a subject and everything below it.
const ALL_BELOW: &str = "/**";
/// The most subjects that one run goes through.
const SUBJECTS_MAX: usize = 100_000;
/// Subjects that are asked for at once.
const PAGE_SUBJECTS: u32 = 500;

/// What `headroom reset` clears.
#[derive(Debug, Args)]
pub(super) struct ResetArguments {
    /// A path such as `user:u_1`, or `org:acme/**` for `org:acme` and everything below it
    subject: String,
    /// Clear this metric only
    #[arg(long)]
    metric: Option<String>,
    /// Clear this period only; lifetime counters are cleared only when named here
    #[arg(long)]
    period: Option<String>,
    /// Print what would be cleared, and clear nothing
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Go on after this path, where a run with more subjects than one may have ended
    #[arg(long, value_name = "PATH")]
    after: Option<String>,
}

/// What a run is to do.
struct Job<'a> {
    core: &'a Core,
    scope: ResetScope,
    actor: Actor,
    is_dry: bool,
}

/// What a run did so far.
#[derive(Default)]
struct Progress {
    /// Subjects that were looked at.
    examined: usize,
    /// Counters that were or would be cleared, with their subjects.
    cleared: Vec<(String, Rewritten)>,
    /// The last subject, when there may be more after it.
    next: Option<String>,
}

pub(super) async fn reset(
    config: &Config,
    arguments: &ResetArguments,
) -> Result<ExitCode, Failure> {
    let (path, is_pattern) = match arguments.subject.strip_suffix(ALL_BELOW) {
        Some(prefix) => (prefix, true),
        None => (arguments.subject.as_str(), false),
    };
    let subject = parse_subject(path)?;
    let metric = arguments.metric.as_ref().map(|name| parse_metric("--metric", name));
    let scope = ResetScope {
        metric: metric.transpose()?,
        period: parse_period(arguments.period.as_ref())?,
    };
    let actor = actor(arguments.reason.as_ref())?;
    on_core(config, async |core| {
        let job = Job { core, scope, actor, is_dry: arguments.dry_run };
        // Postgres knows which subjects there are, once it has what is still in the outbox.
        flush(core, &subject).await?;
        let mut progress = Progress::default();
        let run = if is_pattern {
            job.clear_all_below(&subject, arguments.after.clone(), &mut progress).await
        } else {
            job.clear(subject.clone(), &mut progress).await
        };
        // The resets are in Postgres when the command ends, also those of a run that failed half-way.
        let flushed = flush(core, &subject).await;
        if run.is_ok() || progress.examined > 0 {
            print(&progress, arguments.dry_run)?;
        }
        run.and(flushed)?;
        Ok(ExitCode::SUCCESS)
    })
    .await
}

impl Job<'_> {
    async fn clear_all_below(
        &self,
        prefix: &Subject,
        mut after: Option<String>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        while progress.examined < SUBJECTS_MAX {
            let quota = &self.core.quota;
            let page = quota.subjects_within(prefix, after.as_deref(), PAGE_SUBJECTS).await?;
            if page.is_empty() {
                return Ok(());
            }
            after = page.last().cloned();
            for path in &page {
                self.clear(Subject::parse(path)?, progress).await?;
            }
        }
        progress.next = after;
        Ok(())
    }

    async fn clear(&self, subject: Subject, progress: &mut Progress) -> Result<(), Failure> {
        let quota = &self.core.quota;
        let counters = if self.is_dry {
            quota.would_clear(&subject, &self.scope).await?
        } else {
            quota.clear(&subject, self.scope.clone(), &self.actor).await?.counters
        };
        progress.examined += 1;
        let path = subject.as_str();
        progress.cleared.extend(counters.into_iter().map(|it| (path.to_owned(), it)));
        Ok(())
    }
}

fn print(progress: &Progress, is_dry: bool) -> Result<ExitCode, Failure> {
    let cleared: Vec<Value> = progress.cleared.iter().map(cleared_json).collect();
    let value = json!({
        "dry_run": is_dry,
        "examined": progress.examined,
        "cleared": cleared,
        "next": progress.next,
    });
    let mut rows: Vec<Vec<String>> = progress.cleared.iter().map(cleared_row).collect();
    let more = progress.next.as_ref().map(|path| vec![format!("… go on with --after '{path}'")]);
    rows.extend(more);
    let units = if is_dry { "units to clear" } else { "units cleared" };
    print_tables(&value, &[Table { header: &["subject", "counter", "since", units], rows }])
}

fn cleared_json((subject, counter): &(String, Rewritten)) -> Value {
    let is_lifetime = counter.period == Period::Lifetime;
    json!({
        "subject": subject,
        "metric": counter.metric.as_str(),
        "period": counter.period,
        "window_start": counter.window.start_at(),
        "window_end": (!is_lifetime).then(|| counter.window.end_at()),
        "units": counter.units.unsigned_abs(),
    })
}

fn cleared_row((subject, counter): &(String, Rewritten)) -> Vec<String> {
    let name = format!("{}-{}", counter.metric, counter.period.as_str());
    let since = counter.window.start_at().to_rfc3339();
    vec![subject.clone(), name, since, counter.units.unsigned_abs().to_string()]
}
