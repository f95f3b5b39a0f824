//! `headroom serve`, and what it shares with `headroom dev`.

use std::process::ExitCode;

use tokio::runtime::Builder;
use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::app::App;
use crate::app::Hooks;
use crate::config::Config;

use super::output::Failure;

/// More workers than this cost more in hand-overs than they bring: a decision is a few microseconds of work.
const WORKERS_AUTO_MAX: usize = 4;

/// The runtime that the configuration asks for. With one worker nothing is handed from thread to thread.
pub(super) fn runtime(config: &Config) -> Result<Runtime, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = match config.server.worker_threads {
        // Half of the cores are left to Redis and Postgres, which usually run beside the service.
        0 => (cores / 2).clamp(1, WORKERS_AUTO_MAX),
        workers => workers,
    };
    let mut builder = match workers {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    Ok(builder.worker_threads(workers).enable_all().build()?)
}

/// Serves until SIGTERM or SIGINT.
pub(super) async fn serve(config: &Config) -> Result<ExitCode, Failure> {
    let app = App::start(config, Hooks::default()).await?;
    wait_for_stop().await?;
    Ok(stop(app).await)
}

/// Waits for SIGTERM or SIGINT.
pub(super) async fn wait_for_stop() -> Result<(), Failure> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    Ok(())
}

/// Stops the service. The exit code is 1 when something did not stop in time.
pub(super) async fn stop(app: App) -> ExitCode {
    let still_running = app.stop().await.still_running;
    if !still_running.is_empty() {
        tracing::error!(tasks = ?still_running, "did not stop in time");
    }
    ExitCode::from(u8::from(!still_running.is_empty()))
}
