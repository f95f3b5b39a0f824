//! `headroom reset`: clears the counters of a subject, or of all that lies below one.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::app::Core;
use crate::config::Config;
use crate::domain::Period;
use crate::quota::Actor;
use crate::quota::ResetScope;
use crate::quota::ResetWithin;
use crate::quota::Rewritten;
use crate::quota::SubjectReset;

use super::core::actor;
use super::core::flush;
use super::core::on_core;
use super::core::parse_metric;
use super::core::parse_path;
use super::core::parse_period;
use super::core::parse_subject;
use super::output::Failure;
use super::output::Table;
use super::output::print_tables;

/// What stands for a subject and everything below it.
const ALL_BELOW: &str = "/**";
/// Subjects that are asked for at once.
const PAGE_SUBJECTS: u32 = 500;
/// The most pages of one run: 100,000 subjects.
const PAGES_MAX: u32 = 200;

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

/// What a run did so far.
#[derive(Default)]
struct Progress {
    /// Subjects of which something was cleared, or would be.
    resets: Vec<SubjectReset>,
    /// The last subject, when there are more after it.
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
    let after = arguments.after.as_deref().map(|text| parse_path("--after", text)).transpose()?;
    let actor = actor(arguments.reason.as_ref())?;
    let order = ResetWithin {
        prefix: subject,
        scope,
        is_dry_run: arguments.dry_run,
        after: after.map(|path| path.as_str().to_owned()),
        subjects_max: PAGE_SUBJECTS,
    };
    on_core(config, async |core| {
        // What a look finds is in Postgres.
        flush(core, &order.prefix).await?;
        let mut progress = Progress::default();
        let run = if is_pattern {
            clear_all_below(core, &order, &actor, &mut progress).await
        } else {
            clear(core, &order, &actor, &mut progress).await
        };
        // The resets are in Postgres when the command ends, also those of a run that failed half-way.
        let flushed = flush(core, &order.prefix).await;
        if run.is_ok() || !progress.resets.is_empty() {
            print(&progress, order.is_dry_run)?;
        }
        run.and(flushed)?;
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn clear_all_below(
    core: &Core,
    order: &ResetWithin,
    actor: &Actor,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut order = order.clone();
    for _ in 0..PAGES_MAX {
        let page = core.quota.reset_within(&order, actor).await?;
        progress.resets.extend(page.subjects);
        if page.next.is_none() {
            return Ok(());
        }
        order.after = page.next;
    }
    progress.next = order.after;
    Ok(())
}

async fn clear(
    core: &Core,
    order: &ResetWithin,
    actor: &Actor,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let ResetWithin { prefix: subject, scope, .. } = order;
    let (event_id, counters) = if order.is_dry_run {
        (None, core.quota.would_clear(subject, scope).await?)
    } else {
        let rewrite = core.quota.clear(subject, scope.clone(), actor).await?;
        (Some(rewrite.event_id), rewrite.counters)
    };
    let subject = subject.as_str().to_owned();
    progress.resets.push(SubjectReset { subject, event_id, counters });
    Ok(())
}

impl Progress {
    /// Every counter with its subject.
    fn cleared(&self) -> impl Iterator<Item = (&str, &Rewritten)> {
        self.resets.iter().flat_map(|reset| {
            let subject = reset.subject.as_str();
            reset.counters.iter().map(move |counter| (subject, counter))
        })
    }
}

fn print(progress: &Progress, is_dry: bool) -> Result<ExitCode, Failure> {
    let cleared: Vec<Value> =
        progress.cleared().map(|(subject, it)| cleared_json(subject, it)).collect();
    let value = json!({
        "dry_run": is_dry,
        "cleared": cleared,
        "next": progress.next,
    });
    let mut rows: Vec<Vec<String>> =
        progress.cleared().map(|(subject, it)| cleared_row(subject, it)).collect();
    let more = progress.next.as_ref().map(|path| vec![format!("… go on with --after '{path}'")]);
    rows.extend(more);
    let units = if is_dry { "units to clear" } else { "units cleared" };
    print_tables(&value, &[Table { header: &["subject", "counter", "since", units], rows }])
}

fn cleared_json(subject: &str, counter: &Rewritten) -> Value {
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

fn cleared_row(subject: &str, counter: &Rewritten) -> Vec<String> {
    let name = format!("{}-{}", counter.metric, counter.period.as_str());
    let since = counter.window.start_at().to_rfc3339();
    vec![subject.to_owned(), name, since, counter.units.unsigned_abs().to_string()]
}
