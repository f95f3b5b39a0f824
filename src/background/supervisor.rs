//! The one place that starts tasks, so that a shutdown knows them all.
//!
//! Architecture invariant: no other module calls `tokio::spawn`.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts tasks, restarts those that fail, and stops them all. Clones share the tasks.
#[derive(Clone, Debug)]
pub struct Supervisor {
    token: CancellationToken,
    tracker: TaskTracker,
    running: Running,
    backoff: Backoff,
}

/// What a shutdown left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Shutdown {
    /// The names of the tasks that were still running when the grace was over, sorted.
    pub still_running: Vec<&'static str>,
}

impl Shutdown {
    /// Whether every task ended in time.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.still_running.is_empty()
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// A supervisor without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::with_backoff(Backoff::PRODUCTION)
    }

    fn with_backoff(backoff: Backoff) -> Self {
        Self {
            token: CancellationToken::new(),
            tracker: TaskTracker::new(),
            running: Running::default(),
            backoff,
        }
    }

    /// The token that is cancelled when the shutdown begins. Tasks watch it and return.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs `task` once. A panic in it is logged.
    ///
    /// The task itself watches [`Supervisor::token`]. Must be called inside a Tokio runtime.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let entry = self.running.enter(name);
        self.tracker.spawn(async move {
            let _entry = entry;
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                tracing::error!(task = name, panic = panic_text(&*panic), "task panicked");
            }
        });
    }

    /// Runs the task that `factory` makes, and a new one each time it panics or returns an error,
    /// until one returns `Ok` or the shutdown begins.
    ///
    /// The wait before a restart doubles from 100 ms to 10 s, and starts anew after a task that
    /// ran for longer than that. `factory` gets the token that the task has to watch.
    pub fn spawn_loop<M, F, E>(&self, name: &'static str, factory: M)
    where
        M: FnMut(CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        self.spawn(name, run_again(name, self.token(), self.backoff, factory));
    }

    /// Cancels the token and waits for all tasks, at most `grace`. Tasks that are still running
    /// then are named in the result and in the log; they end with the process.
    pub async fn shutdown(&self, grace: Duration) -> Shutdown {
        self.token.cancel();
        self.tracker.close();
        let in_time = timeout(grace, self.tracker.wait()).await.is_ok();
        let still_running = if in_time { Vec::new() } else { self.running.names() };
        if !still_running.is_empty() {
            tracing::warn!(?still_running, "tasks did not stop in time");
        }
        Shutdown { still_running }
    }
}

/// The waits before restarts.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    const PRODUCTION: Self =
        Self { first: Duration::from_millis(100), max: Duration::from_secs(10) };
}

/// The names of the tasks that run, by the order of their start.
#[derive(Clone, Debug, Default)]
struct Running(Arc<Mutex<BTreeMap<u64, &'static str>>>);

impl Running {
    fn enter(&self, name: &'static str) -> Entry {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = tasks.last_key_value().map_or(0, |(last, _)| last + 1);
        tasks.insert(number, name);
        Entry { running: self.clone(), number }
    }

    fn names(&self) -> Vec<&'static str> {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> = tasks.values().copied().collect();
        names.sort_unstable();
        names
    }
}

/// Takes the task's name away when the task ends, in whichever way.
struct Entry {
    running: Running,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let tasks = self.running.0.lock();
        tasks.unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// The life of a task that is restarted.
async fn run_again<M, F, E>(
    name: &'static str,
    token: CancellationToken,
    backoff: Backoff,
    mut factory: M,
) where
    M: FnMut(CancellationToken) -> F,
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let mut wait = backoff.first;
    while !token.is_cancelled() {
        let started = Instant::now();
        let made = std::panic::catch_unwind(AssertUnwindSafe(|| factory(token.clone())));
        let Some(failure) = failure_of(made).await else {
            return;
        };
        if started.elapsed() > backoff.max {
            wait = backoff.first;
        }
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::error!(task = name, failure, wait_ms, "task failed, restarting");
        // Cancellation only ends the wait: the loop looks at the token itself.
        token.run_until_cancelled(tokio::time::sleep(wait)).await.unwrap_or_default();
        wait = (wait * 2).min(backoff.max);
    }
}

type Panic = Box<dyn Any + Send>;

/// Runs a task and tells why it failed, or none when it ended well.
async fn failure_of<F, E>(task: Result<F, Panic>) -> Option<String>
where
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let outcome = match task {
        Ok(task) => AssertUnwindSafe(task).catch_unwind().await,
        Err(panic) => Err(panic),
    };
    match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(format!("panic: {}", panic_text(&*panic))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;

    use tokio::sync::oneshot;

    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    fn impatient() -> Supervisor {
        Supervisor::with_backoff(Backoff {
            first: Duration::from_millis(1),
            max: Duration::from_millis(2),
        })
    }

    /// Runs a loop whose first two tasks do as `fail` says, and returns how many tasks there were.
    async fn attempts_of(fail: fn() -> Result<(), String>) -> u32 {
        let supervisor = impatient();
        let attempts = Arc::new(AtomicU32::new(0));
        let (done, finished) = oneshot::channel();
        let (counter, mut done) = (attempts.clone(), Some(done));
        supervisor.spawn_loop("loop", move |_token| {
            let attempt = counter.fetch_add(1, Ordering::SeqCst);
            let done = if attempt == 2 { done.take() } else { None };
            async move {
                match done {
                    Some(done) => done.send(()).map_err(|()| "nobody waits".to_owned()),
                    None => fail(),
                }
            }
        });
        timeout(GRACE, finished).await.unwrap().unwrap();
        assert!(supervisor.shutdown(GRACE).await.is_clean());
        attempts.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn a_task_that_returns_an_error_is_restarted_until_it_ends_well() {
        assert_eq!(attempts_of(|| Err("no luck".to_owned())).await, 3);
    }

    #[tokio::test]
    async fn a_task_that_panics_is_restarted() {
        assert_eq!(attempts_of(|| panic!("no luck")).await, 3);
    }

    #[tokio::test]
    async fn a_panic_in_a_single_task_is_contained() {
        let supervisor = Supervisor::new();
        supervisor.spawn("panics", async { panic!("no luck") });

        assert!(supervisor.shutdown(GRACE).await.is_clean());
    }

    async fn count_when_cancelled(token: CancellationToken, ended: Arc<AtomicU32>) {
        token.cancelled().await;
        ended.fetch_add(1, Ordering::SeqCst);
    }

    #[tokio::test]
    async fn a_shutdown_cancels_the_token_and_waits_for_the_tasks() {
        let supervisor = Supervisor::new();
        let ended = Arc::new(AtomicU32::new(0));
        for name in ["one", "two"] {
            supervisor.spawn(name, count_when_cancelled(supervisor.token(), ended.clone()));
        }

        assert!(supervisor.shutdown(GRACE).await.is_clean());

        assert_eq!(ended.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_shutdown_is_bounded_and_names_what_did_not_stop() {
        let supervisor = Supervisor::new();
        supervisor.spawn("deaf", std::future::pending());
        supervisor.spawn("polite", supervisor.token().cancelled_owned());

        let shutdown = supervisor.shutdown(Duration::from_millis(50)).await;

        assert_eq!(shutdown.still_running, ["deaf"]);
    }

    fn tell_and_fail(
        started: Option<oneshot::Sender<()>>,
    ) -> std::future::Ready<Result<(), &'static str>> {
        started.and_then(|started| started.send(()).ok());
        std::future::ready(Err("no luck"))
    }

    #[tokio::test]
    async fn a_shutdown_cuts_the_wait_before_a_restart_short() {
        let supervisor = Supervisor::with_backoff(Backoff {
            first: Duration::from_hours(1),
            max: Duration::from_hours(1),
        });
        let (started, has_started) = oneshot::channel();
        let mut started = Some(started);
        supervisor.spawn_loop("loop", move |_token| tell_and_fail(started.take()));
        has_started.await.unwrap();

        assert!(supervisor.shutdown(GRACE).await.is_clean());
    }
}
