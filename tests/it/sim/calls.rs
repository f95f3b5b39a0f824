//! Calls of the stores that wait to be answered. Only the schedule answers one, loses it or its answer.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use headroom::counters::Answer;
use headroom::counters::InProcess;
use headroom::ledger::LedgerError;
use tokio::sync::oneshot;

use super::postgres::Postgres;

/// What becomes of a call of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// It never arrived.
    Lost,
    /// It was done, and its answer was lost.
    Unanswered,
}

/// What a call of the ledger does, unless it is lost.
type Work = Box<dyn FnOnce(&mut Postgres, Fate) + Send>;

type AnswerTo<T> = oneshot::Sender<io::Result<T>>;

/// What waits.
pub enum What {
    /// A connection is to be made.
    Connect(u64, AnswerTo<u64>),
    /// Commands over a connection.
    Commands(u64, Vec<u8>, AnswerTo<Vec<u8>>),
    /// A statement or a transaction, by the name of the method.
    Ledger(&'static str, Work),
}

/// A call, and the life of the node that made it.
pub struct Call {
    pub life: u64,
    /// The step before which it is not answered.
    pub held_until: u64,
    pub what: What,
}

#[derive(Default)]
pub struct Queue {
    pub waiting: Vec<Call>,
    connections: u64,
    /// Connections that were cut.
    pub closed: Vec<u64>,
}

impl Queue {
    /// The number of the last connection that was asked for.
    pub fn last_connection(&self) -> u64 {
        self.connections
    }
}

/// The calls of all nodes, in the order in which they were made.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<Queue>>);

impl Calls {
    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap()
    }

    fn push(&self, life: u64, what: What) {
        self.queue().waiting.push(Call { life, held_until: 0, what });
    }
}

/// Redis, as one node reaches it.
pub struct Way {
    pub calls: Calls,
    pub life: u64,
}

impl InProcess for Way {
    fn open(&self) -> Answer<u64> {
        let (answer, waiting) = oneshot::channel();
        let number = {
            let mut queue = self.calls.queue();
            queue.connections += 1;
            queue.connections
        };
        self.calls.push(self.life, What::Connect(number, answer));
        Box::pin(async { waiting.await.unwrap_or_else(|_| Err(reset())) })
    }

    fn exchange(&self, connection: u64, commands: Vec<u8>) -> Answer<Vec<u8>> {
        if self.calls.queue().closed.contains(&connection) {
            return Box::pin(async { Err(reset()) });
        }
        let (answer, waiting) = oneshot::channel();
        self.calls.push(self.life, What::Commands(connection, commands, answer));
        Box::pin(async { waiting.await.unwrap_or_else(|_| Err(reset())) })
    }
}

/// The connection has ended; what was sent over it may have been done.
pub fn reset() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}

/// Postgres, as one node reaches it.
#[derive(Clone)]
pub struct LedgerWay {
    pub calls: Calls,
    pub life: u64,
}

impl LedgerWay {
    /// Asks for something to be done in one transaction.
    pub async fn ask<T: Send + 'static>(
        &self,
        name: &'static str,
        run: impl FnOnce(&mut Postgres) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (answer, waiting) = oneshot::channel();
        let work = move |postgres: &mut Postgres, fate| {
            let done = match fate {
                Fate::Lost => Err(away()),
                Fate::Answered => run(postgres),
                Fate::Unanswered => run(postgres).and_then(|_| Err(away())),
            };
            // A node that has died has no use for it.
            let _ = answer.send(done);
        };
        self.calls.push(self.life, What::Ledger(name, Box::new(work)));
        waiting.await.unwrap_or_else(|_| Err(away()))
    }
}

/// Postgres cannot be reached.
pub fn away() -> LedgerError {
    LedgerError::Unavailable("the connection has ended".into())
}
