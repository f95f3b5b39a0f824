//! The thread that starts all child processes.
//!
//! The kernel sends a child its parent death signal when the *thread* that started it ends, not
//! the process. A runtime's worker and blocking threads come and go, which would stop a server
//! in the middle of its work. This thread ends only with the process.

use std::io;
use std::process::Child;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::mpsc;

use tokio::sync::oneshot;

struct Job {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

static JOBS: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (jobs, queue) = mpsc::channel();
    let thread = std::thread::Builder::new().name("headroom-children".to_owned());
    // Without a thread the queue is closed, and every spawn reports it.
    if let Err(error) = thread.spawn(move || work(&queue)) {
        tracing::error!(%error, "cannot start the thread for child processes");
    }
    jobs
});

fn work(queue: &mpsc::Receiver<Job>) {
    for Job { mut command, reply } in queue {
        let child = command.spawn();
        // Closes our copy of the lock file, so that only the child holds it.
        drop(command);
        if let Err(Ok(mut unwanted)) = reply.send(child) {
            let _already_gone = unwanted.kill();
            let _status = unwanted.wait();
        }
    }
}

/// Starts `command` from the thread that never ends.
pub(super) async fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = oneshot::channel();
    let closed = || io::Error::other("the thread for child processes does not run");
    JOBS.send(Job { command, reply }).map_err(|_| closed())?;
    answer.await.map_err(|_| closed())?
}
