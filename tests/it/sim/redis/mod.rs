//! A Redis in memory, under the service's own scripts.
//!
//! It is no stand-in for their answers: the scripts run in the Lua that Redis has, and what they call is done here by Redis'
//! rules. `mod.rs` of the simulation shows that a real server answers the same.

mod command;
mod keyspace;
mod lua;
mod msgpack;
pub mod reply;

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use headroom::counters::keys;

pub use keyspace::Keyspace;
use reply::Reply;

use lua::Interpreter;

/// A server.
pub struct Server {
    keys: Rc<RefCell<Keyspace>>,
    interpreter: Rc<Interpreter>,
    /// The scripts that it has seen since it was started, by their SHA-1.
    scripts: HashSet<String>,
}

impl Server {
    /// An empty server whose time stands at an instant, in Unix milliseconds.
    pub fn new(now_ms: i64) -> Self {
        let keys = Rc::new(RefCell::new(Keyspace::new(now_ms)));
        let interpreter = lua::shared();
        interpreter.attach(&keys);
        Self { keys, interpreter, scripts: HashSet::new() }
    }

    /// Answers commands that came together, as they go over the wire: nothing comes between those of a transaction.
    pub fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let mut queued: Option<Vec<Vec<Vec<u8>>>> = None;
        let mut answer = Vec::new();
        for command in reply::commands(request) {
            let reply = match (command[0].as_slice(), &mut queued) {
                (b"MULTI", None) => {
                    queued = Some(Vec::new());
                    Reply::Status("OK")
                }
                (b"EXEC", Some(waiting)) => {
                    let waiting = std::mem::take(waiting);
                    queued = None;
                    Reply::Array(waiting.iter().map(|command| self.execute(command)).collect())
                }
                (_, Some(waiting)) => {
                    waiting.push(command);
                    Reply::Status("QUEUED")
                }
                (_, None) => self.execute(&command),
            };
            reply.write(&mut answer);
        }
        answer
    }

    fn execute(&mut self, command: &[Vec<u8>]) -> Reply {
        match command[0].as_slice() {
            b"EVAL" => {
                let hash = self.interpreter.learn(&command[1]);
                self.scripts.insert(hash.clone());
                self.interpreter.run(&hash, &command[2..])
            }
            b"EVALSHA" => {
                let hash = String::from_utf8_lossy(&command[1]).into_owned();
                if !self.scripts.contains(&hash) {
                    return Reply::Error(
                        "NOSCRIPT No matching script. Please use EVAL.".to_owned(),
                    );
                }
                self.interpreter.run(&hash, &command[2..])
            }
            _ => command::execute(&mut self.keys.borrow_mut(), command),
        }
    }

    /// What it holds now.
    pub fn image(&self) -> Keyspace {
        self.keys.borrow().clone()
    }

    /// Starts it anew with what it held then: its scripts are forgotten, its time goes on.
    pub fn restart(&mut self, mut image: Keyspace) {
        image.now_ms = self.keys.borrow().now_ms;
        self.keys.replace(image);
        self.forget_scripts();
    }

    /// `SCRIPT FLUSH`.
    pub fn forget_scripts(&mut self) {
        self.scripts.clear();
    }

    /// Moves its time on.
    pub fn advance(&self, ms: i64) {
        self.keys.borrow_mut().now_ms += ms;
    }

    /// The keys of the records of holds.
    pub fn holds(&self) -> Vec<Vec<u8>> {
        let prefix = &keys::reservation(0, [0; 16])[..];
        let prefix = &prefix[..prefix.len() - 16];
        let mut names = self.keys.borrow().names();
        names.retain(|name| name.starts_with(prefix));
        names
    }

    /// `DEL`.
    pub fn remove(&self, key: &[u8]) {
        self.keys.borrow_mut().remove(key);
    }

    /// The number of events that were ever written here, as far as it remembers.
    pub fn events(&self) -> u64 {
        self.keys.borrow().events
    }
}
