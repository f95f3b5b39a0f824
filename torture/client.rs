//! The clients: each asks for one thing after the other, on any node, and writes down what it was told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headroom::clock::Clock;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use crate::Failure;
use crate::dice::Dice;
use crate::evidence::AMOUNT_MAX;
use crate::history::Act;
use crate::history::Invocation;
use crate::history::Told;
use crate::request::Reply;
use crate::request::Request;
use crate::request::encoded;
use crate::wire::Wire;

/// How long a client waits for an answer. A node answers within `server.request_timeout_ms`, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(3);
const CONNECT_PATIENCE: Duration = Duration::from_millis(300);
/// Attempts at what has an idempotency key.
const ATTEMPTS_MAX: u32 = 6;
const RETRY_PAUSE: Duration = Duration::from_millis(60);
/// The pause after what was not answered: a node that is away refuses at once.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(20);
/// Own events and reservations that a client remembers.
const REMEMBERED_MAX: usize = 64;
/// The most units of a grant.
const GRANT_MAX: u64 = 20;
/// When half of the grants end: later than any clock of a run is.
const GRANT_END: &str = "2099-01-01T00:00:00Z";

/// What all clients share.
pub(crate) struct Crowd {
    pub(crate) seed: u64,
    pub(crate) nodes: Vec<SocketAddr>,
    pub(crate) key: &'static str,
    pub(crate) subjects: Vec<String>,
    /// Whether grants are made and given away.
    pub(crate) has_gifts: bool,
    pub(crate) is_over: AtomicBool,
    pub(crate) history: Mutex<Vec<Invocation>>,
}

/// One of them.
pub(crate) struct Client {
    crowd: Arc<Crowd>,
    number: usize,
    dice: Dice,
    wires: Vec<Option<Wire>>,
    asked: u64,
    /// Subject, reservation and amount.
    holds: Vec<(String, String, u64)>,
    /// Subject and event.
    charged: Vec<(String, Uuid)>,
    /// Who was given bonus units.
    granted: Vec<String>,
    clock: Clock,
}

/// What is asked for.
struct Deed {
    act: Act,
    subject: String,
    /// Who is given something.
    to: Option<String>,
    amount: u64,
}

impl Client {
    pub(crate) fn new(crowd: Arc<Crowd>, number: usize) -> Self {
        let dice = Dice::new(crowd.seed.wrapping_mul(1_000).wrapping_add(number as u64 + 1));
        let wires = crowd.nodes.iter().map(|_| None).collect();
        Self {
            crowd,
            number,
            dice,
            wires,
            asked: 0,
            holds: Vec::new(),
            charged: Vec::new(),
            granted: Vec::new(),
            clock: Clock::system(),
        }
    }

    /// Asks until the run is over.
    pub(crate) async fn run(mut self) {
        while !self.crowd.is_over.load(Ordering::Relaxed) {
            match self.dice.below(1_000) {
                0..25 if self.crowd.has_gifts => self.give().await,
                0..440 => self.consume(false).await,
                440..640 => self.consume(true).await,
                640..760 => self.reserve().await,
                760..880 => self.end_hold().await,
                880..930 => self.refund().await,
                930..936 => self.reset().await,
                _ => self.check().await,
            }
        }
    }

    fn subject(&mut self) -> String {
        let place = self.dice.below(self.crowd.subjects.len() as u64);
        let place = usize::try_from(place).unwrap_or(0);
        self.crowd.subjects[place].clone()
    }

    async fn consume(&mut self, is_keyed: bool) {
        let deed = self.deed(Act::Consume);
        let body = json!({ "subject": deed.subject, "metric": "messages", "amount": deed.amount });
        let request = self.post("/v1/consume", Some(body), is_keyed);
        let subject = deed.subject.clone();
        if let (Told::Done(event), _) = self.ask(deed, request).await {
            remember(&mut self.charged, (subject, event));
        }
    }

    async fn reserve(&mut self) {
        let (deed, ttl_s) = (self.deed(Act::Reserve), self.dice.choose(&[1, 2, 60]));
        let Deed { subject, amount, .. } = &deed;
        let body =
            json!({ "subject": subject, "metric": "messages", "amount": amount, "ttl_s": ttl_s });
        let request = self.post("/v1/reservations", Some(body), true);
        let (subject, amount) = (subject.clone(), *amount);
        let (_, reply) = self.ask(deed, request).await;
        let id = reply.and_then(|it| it.body["reservation_id"].as_str().map(str::to_owned));
        if let Some(id) = id {
            remember(&mut self.holds, (subject, id, amount));
        }
    }

    /// Commits what was held, releases it, or leaves it to lapse.
    async fn end_hold(&mut self) {
        let Some((subject, id, held)) = self.holds.pop() else { return self.consume(false).await };
        match self.dice.below(8) {
            0..5 => {
                let amount = 1 + self.dice.below(held);
                let path = format!("/v1/reservations/{id}:commit");
                let request = self.post(&path, Some(json!({ "amount": amount })), true);
                let deed = Deed { act: Act::Commit, subject: subject.clone(), to: None, amount };
                if let (Told::Done(event), _) = self.ask(deed, request).await {
                    remember(&mut self.charged, (subject, event));
                }
            }
            5..7 => {
                let request = self.post(&format!("/v1/reservations/{id}:release"), None, true);
                self.ask(Deed { act: Act::Release, subject, to: None, amount: 0 }, request).await;
            }
            _ => {}
        }
    }

    async fn refund(&mut self) {
        let Some((subject, event)) = self.charged.pop() else { return self.consume(true).await };
        let is_keyed = self.dice.below(2) == 0;
        let request = self.post(&format!("/v1/events/{event}:refund"), None, is_keyed);
        self.ask(Deed { act: Act::Refund, subject, to: None, amount: 0 }, request).await;
    }

    async fn reset(&mut self) {
        let deed = Deed { amount: 0, ..self.deed(Act::Reset) };
        let path = format!("/v1/subjects/{}/usage", encoded(&deed.subject));
        let request = Request { method: "DELETE", path, body: None, key: None };
        self.ask(deed, request).await;
    }

    async fn check(&mut self) {
        let deed = Deed { amount: 1, ..self.deed(Act::Check) };
        let body = json!({ "subject": deed.subject, "metric": "messages", "amount": 1 });
        let request = self.post("/v1/check", Some(body), false);
        self.ask(deed, request).await;
    }

    /// Bonus units, with one of two ends.
    async fn grant(&mut self) {
        let deed = Deed { amount: 1 + self.dice.below(GRANT_MAX), ..self.deed(Act::Grant) };
        let path = format!("/v1/subjects/{}/grants", encoded(&deed.subject));
        let mut body = json!({ "metric": "messages", "amount": deed.amount, "source": "purchase" });
        if self.dice.below(2) == 0 {
            body["expires_at"] = json!(GRANT_END);
        }
        let request = self.post(&path, Some(body), true);
        let subject = deed.subject.clone();
        if let (Told::Made(_), _) = self.ask(deed, request).await {
            remember(&mut self.granted, subject);
        }
    }

    /// Some of them to another.
    async fn give(&mut self) {
        let Some(subject) = self.granted.pop() else { return self.grant().await };
        // Now and then there is more to give.
        if self.dice.below(3) > 0 {
            self.granted.insert(0, subject.clone());
        }
        let (deed, to) = (Deed { subject, ..self.deed(Act::Gift) }, self.subject());
        let Deed { subject, amount, .. } = &deed;
        if *subject == to {
            return;
        }
        let body = json!({ "from": subject, "to": to, "metric": "messages", "amount": amount });
        let request = self.post("/v1/transfers", Some(body), true);
        self.ask(Deed { to: Some(to), ..deed }, request).await;
    }

    /// A few units of somebody.
    fn deed(&mut self, act: Act) -> Deed {
        let (subject, amount) = (self.subject(), 1 + self.dice.below(AMOUNT_MAX));
        Deed { act, subject, to: None, amount }
    }

    fn post(&mut self, path: &str, body: Option<Value>, is_keyed: bool) -> Request {
        let key = is_keyed.then(|| self.id());
        Request { method: "POST", path: path.to_owned(), body, key }
    }

    /// The id of what is asked next.
    fn id(&self) -> String {
        format!("{:x}-{}-{}", self.crowd.seed, self.number, self.asked)
    }

    /// Sends, again while it is safe and the fate is unknown, and writes down what came of it.
    async fn ask(&mut self, deed: Deed, request: Request) -> (Told, Option<Reply>) {
        let id = self.id();
        self.asked += 1;
        let sent_ms = self.clock.now_ms();
        let (mut attempts, mut is_unsure) = (0, false);
        let (told, reply) = loop {
            attempts += 1;
            let reply = self.send(&id, &request).await.ok();
            let told = reply.as_ref().map_or(Told::Unknown, |reply| reply.told(deed.act));
            if told != Told::Unknown {
                break (told, reply);
            }
            if request.key.is_none() || attempts == ATTEMPTS_MAX {
                tokio::time::sleep(UNKNOWN_PAUSE).await;
                break (told, None);
            }
            is_unsure = true;
            tokio::time::sleep(RETRY_PAUSE).await;
        };
        let invocation = Invocation {
            id,
            subject: deed.subject,
            to: deed.to,
            act: deed.act,
            amount: deed.amount,
            is_keyed: request.key.is_some(),
            sent_ms,
            ended_ms: self.clock.now_ms(),
            attempts,
            is_unsure,
            told,
        };
        self.crowd.history.lock().unwrap_or_else(PoisonError::into_inner).push(invocation);
        (told, reply)
    }

    /// One attempt on any node.
    async fn send(&mut self, id: &str, request: &Request) -> Result<Reply, Failure> {
        let node = usize::try_from(self.dice.below(self.crowd.nodes.len() as u64))?;
        let mut wire = if let Some(wire) = self.wires[node].take() {
            wire
        } else {
            let connecting = Wire::connect(self.crowd.nodes[node]);
            tokio::time::timeout(CONNECT_PATIENCE, connecting).await??
        };
        let text = request.text(id, self.crowd.key);
        let status = tokio::time::timeout(PATIENCE, wire.call(text.as_bytes())).await??;
        let reply = Reply::of(status, &wire.answer());
        self.wires[node] = Some(wire);
        Ok(reply)
    }
}

fn remember<T>(memory: &mut Vec<T>, it: T) {
    if memory.len() == REMEMBERED_MAX {
        memory.remove(0);
    }
    memory.push(it);
}
