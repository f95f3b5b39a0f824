//! Futures that are polled by hand, one thread, in the order in which they began.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Wake;
use std::task::Waker;

/// Polls between two steps of a schedule. What needs more goes round in a circle without asking a store for anything.
const POLLS_MAX: usize = 10_000;

/// Whether a task has been woken.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A future of one node's life.
struct Task {
    life: u64,
    name: &'static str,
    future: Pin<Box<dyn Future<Output = ()>>>,
    flag: Arc<Flag>,
}

/// All that runs.
#[derive(Default)]
pub struct Tasks(Vec<Task>);

impl Tasks {
    pub fn spawn(
        &mut self,
        life: u64,
        name: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        self.0.push(Task { life, name, future: Box::pin(future), flag });
    }

    /// Polls what was woken, until nothing is.
    pub fn run(&mut self) {
        for _ in 0..POLLS_MAX {
            let is_woken = |task: &Task| task.flag.0.swap(false, Ordering::Relaxed);
            let Some(place) = self.0.iter().position(is_woken) else { return };
            let task = &mut self.0[place];
            let waker = Waker::from(task.flag.clone());
            if let Poll::Ready(()) = task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                drop(self.0.remove(place));
            }
        }
        panic!("a task never waits");
    }

    /// Ends all that runs in that life, wherever it is.
    pub fn kill(&mut self, life: u64) {
        self.0.retain(|task| task.life != life);
    }

    /// How many of that name run; in one life, or in all.
    pub fn count(&self, name: &str, life: Option<u64>) -> usize {
        let is_one = |task: &&Task| task.name == name && life.is_none_or(|life| life == task.life);
        self.0.iter().filter(is_one).count()
    }
}
