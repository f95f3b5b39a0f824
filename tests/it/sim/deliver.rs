//! What becomes of the calls that wait.

use std::io;

use super::calls::Call;
use super::calls::Fate;
use super::calls::What;
use super::calls::reset;
use super::schedule::Exchange;
use super::schedule::Schedule;

/// How long a call may be held, in steps.
const HELD_STEPS: u64 = 60;

impl Schedule {
    /// Answers one of the calls that wait: of those over one connection the first.
    pub fn answer_one(&mut self) {
        let ready = self.ready();
        if ready.is_empty() {
            return;
        }
        let place = self.dice.choose(&ready);
        if self.is_held() {
            let until = self.step + self.dice.below(HELD_STEPS);
            self.calls.queue().waiting[place].held_until = until;
            return;
        }
        let call = self.calls.queue().waiting.remove(place);
        self.answer(call);
    }

    /// The places of those that can be answered now.
    fn ready(&self) -> Vec<usize> {
        let queue = self.calls.queue();
        let mut seen = Vec::new();
        let mut ready = Vec::new();
        for (place, call) in queue.waiting.iter().enumerate() {
            let connection = match call.what {
                What::Commands(connection, ..) => Some(connection),
                _ => None,
            };
            let is_behind = connection.is_some_and(|it| seen.contains(&it));
            seen.extend(connection);
            if !is_behind && call.held_until <= self.step {
                ready.push(place);
            }
        }
        ready
    }

    /// Answers the calls in their order until none waits, and nothing runs.
    pub fn answer_all(&mut self) {
        const ANSWERS_MAX: usize = 20_000;
        for _ in 0..ANSWERS_MAX {
            self.tasks.run();
            if self.calls.queue().waiting.is_empty() {
                return;
            }
            let call = self.calls.queue().waiting.remove(0);
            self.answer(call);
        }
        panic!("the nodes never come to rest");
    }

    fn answer(&mut self, call: Call) {
        let life = call.life;
        match call.what {
            What::Connect(number, answer) => {
                let is_refused = self.is_faulty && self.fate() != Fate::Answered;
                let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
                self.note(|| format!("{life} connects {number}, refused {is_refused}"));
                // Whoever has died has no use for it, here and below.
                let _ = answer.send(if is_refused { Err(refused()) } else { Ok(number) });
            }
            What::Commands(connection, commands, answer) => {
                let reply = self.execute(connection, commands);
                let _ = answer.send(Ok(reply));
            }
            What::Ledger(name, run) => {
                let fate = self.fate();
                self.note(|| format!("{life} asks the ledger: {name}, {fate:?}"));
                run(&mut self.postgres, fate);
            }
        }
    }

    fn execute(&mut self, connection: u64, commands: Vec<u8>) -> Vec<u8> {
        let answer = self.redis.answer(&commands);
        self.note(|| format!("redis answers {connection}: {}", shape(&commands, &answer)));
        let now_ms = self.now_ms;
        if let Some(record) = &mut self.record {
            record.push(Exchange { now_ms, commands, answer: answer.clone() });
        }
        answer
    }

    /// A connection ends. Some of what was sent over it is done, none of it is answered.
    pub fn cut_one(&mut self) {
        let queue = self.calls.queue();
        let connections = queue.waiting.iter().filter_map(|call| match call.what {
            What::Commands(connection, ..) => Some(connection),
            _ => None,
        });
        let connections: Vec<u64> = connections.collect();
        drop(queue);
        if !connections.is_empty() {
            let connection = self.dice.choose(&connections);
            self.cut(connection);
        }
    }

    /// All connections end.
    pub fn cut_all(&mut self) {
        let last = self.calls.queue().last_connection();
        for connection in 1..=last {
            if !self.calls.queue().closed.contains(&connection) {
                self.cut(connection);
            }
        }
    }

    fn cut(&mut self, connection: u64) {
        self.note(|| format!("connection {connection} ends"));
        let mut queue = self.calls.queue();
        queue.closed.push(connection);
        let is_over =
            |call: &mut Call| matches!(call.what, What::Commands(on, ..) if on == connection);
        let over: Vec<Call> = queue.waiting.extract_if(.., is_over).collect();
        drop(queue);
        let done = self.dice.below(over.len() as u64 + 1);
        for (place, call) in (0..).zip(over) {
            let What::Commands(_, commands, answer) = call.what else { continue };
            if place < done {
                self.execute(connection, commands);
            }
            let _ = answer.send(Err(reset()));
        }
    }

    /// Some of what a node that died had sent never arrives.
    pub fn lose_calls_of(&mut self, life: u64) {
        let mut queue = self.calls.queue();
        queue.waiting.retain(|call| call.life != life || self.dice.below(2) == 0);
    }
}

/// A request in a few words: its first command's name, and the lengths of both sides.
fn shape(commands: &[u8], answer: &[u8]) -> String {
    let name = commands.split(|byte| *byte == b'\n').nth(2).unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    format!("{} of {} bytes with {} bytes", name.trim(), commands.len(), answer.len())
}
