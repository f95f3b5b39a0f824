//! What commands share that work on the use-cases.

use crate::app::Core;
use crate::app::Hooks;
use crate::config::Config;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Subject;
use crate::quota::Actor;
use crate::quota::FlushState;
use crate::quota::FlushStep;

use super::output::Failure;

/// Passes of a flush; a flusher elsewhere does the rest.
const FLUSH_PASSES_MAX: usize = 1_000;

/// Does the work on the use-cases, and stops them whatever came of it.
pub(super) async fn on_core<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Core) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let core = Core::start(config, Hooks::default()).await?;
    let done = work(&core).await;
    let stopped = core.stop(config.server.shutdown_grace()).await;
    debug_assert!(stopped.is_clean(), "nothing but lanes and the loader runs");
    done
}

/// Brings what is counted below the subject's root into Postgres.
pub(super) async fn flush(core: &Core, subject: &Subject) -> Result<(), Failure> {
    flush_shard(core, subject.shard(core.quota.shard_count())).await
}

/// Brings everything that is counted into Postgres.
pub(super) async fn flush_all(core: &Core) -> Result<(), Failure> {
    for shard in 0..core.quota.shard_count() {
        flush_shard(core, shard).await?;
    }
    Ok(())
}

async fn flush_shard(core: &Core, shard: u16) -> Result<(), Failure> {
    let mut state = FlushState::default();
    for _ in 0..FLUSH_PASSES_MAX {
        if core.quota.flush(shard, &mut state).await? == FlushStep::Idle {
            break;
        }
    }
    Ok(())
}

pub(super) fn parse_subject(text: &str) -> Result<Subject, Failure> {
    parse_path("SUBJECT", text)
}

/// The path in an argument, which the error names.
pub(super) fn parse_path(argument: &str, text: &str) -> Result<Subject, Failure> {
    Subject::parse(text).map_err(|error| format!("{argument}: {error}, such as user:u_1").into())
}

pub(super) fn parse_period(name: Option<&String>) -> Result<Option<Period>, Failure> {
    let rule = "--period must be minute, hour, day, week, month or lifetime";
    Ok(name.map(|name| Period::named(name).ok_or(rule)).transpose()?)
}

/// `what` is the argument as the help shows it.
pub(super) fn parse_metric(what: &str, name: &str) -> Result<Metric, Failure> {
    Metric::new(name).map_err(|error| format!("{what} {error}").into())
}

/// Whoever runs the command, with the reason they give.
pub(super) fn actor(reason: Option<&String>) -> Result<Actor, Failure> {
    let bytes_max = Actor::REASON_BYTES_MAX;
    if reason.is_some_and(|reason| reason.len() > bytes_max) {
        return Err(format!("--reason must be at most {bytes_max} bytes").into());
    }
    Ok(Actor::command_line(reason.cloned().filter(|reason| !reason.is_empty())))
}
