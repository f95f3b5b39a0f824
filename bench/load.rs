//! The load: 64 connections, each with one request under way, as fast as answers come or at a given rate.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::Failure;
use crate::wire::Wire;

/// Connections.
pub(crate) const CONNECTIONS: u64 = 64;

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    /// The API key.
    pub(crate) key: String,
    pub(crate) who: Who,
    /// Whether each request is a reserve, and the commit of what it holds.
    pub(crate) holds: bool,
    /// Subjects are chosen among so many.
    pub(crate) subjects: u64,
    /// Put in front of each idempotency key; `None` sends none.
    pub(crate) idempotency: Option<String>,
    /// The status that every answer must have.
    pub(crate) status: u16,
    pub(crate) until: Until,
}

/// Whose requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Users, each by itself.
    User,
    /// Callers who have not signed in.
    Anonymous,
    /// Members of teams of ten: both levels have limits.
    Member,
}

impl Who {
    fn path(self, number: u64) -> String {
        match self {
            Self::User => format!("user:u_{number}"),
            Self::Anonymous => format!("anonymous:u_{number}"),
            Self::Member => format!("team:t_{}/member:m_{number}", number / 10),
        }
    }
}

/// When the load ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// After so long, as fast as answers come.
    Elapsed(Duration),
    /// After so long, at so many requests a second.
    Paced(Duration, f64),
    /// After so many requests, one for each subject in turn.
    Count(u64),
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// One entry a request, in microseconds.
    pub(crate) latencies: Vec<u32>,
    pub(crate) elapsed: Duration,
}

impl Outcome {
    pub(crate) fn count(&self) -> u64 {
        self.latencies.len() as u64
    }

    /// Sorts, and answers the latencies at 50 and 99 percent, in microseconds.
    pub(crate) fn percentiles(&mut self) -> (u32, u32) {
        self.latencies.sort_unstable();
        let at = |percent: usize| {
            let place = (self.latencies.len() * percent / 100).min(self.latencies.len() - 1);
            self.latencies.get(place).copied().unwrap_or_default()
        };
        if self.latencies.is_empty() { (0, 0) } else { (at(50), at(99)) }
    }
}

impl Load {
    /// Sends until it is time, and waits for the last answers.
    pub(crate) async fn run(&self) -> Result<Outcome, Failure> {
        let mut wires = Vec::new();
        for _ in 0..CONNECTIONS {
            wires.push(Wire::connect(self.address).await?);
        }
        let started_at = Instant::now();
        let mut tasks = JoinSet::new();
        for (number, wire) in (0..).zip(wires) {
            let client = Client { load: self.clone(), number, wire, sent: 0, request: Vec::new() };
            tasks.spawn(client.run(started_at));
        }
        let mut outcome = Outcome::default();
        while let Some(latencies) = tasks.join_next().await {
            outcome.latencies.extend(latencies??);
        }
        outcome.elapsed = started_at.elapsed();
        Ok(outcome)
    }
}

/// One connection.
struct Client {
    load: Load,
    number: u64,
    wire: Wire,
    sent: u64,
    request: Vec<u8>,
}

impl Client {
    async fn run(mut self, started_at: Instant) -> Result<Vec<u32>, Failure> {
        let mut latencies = Vec::with_capacity(16_384);
        while let Some(due_at) = self.next(started_at) {
            // A request that is late because its connection was busy counts as waiting from when it was due.
            let wait = due_at.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let from = if self.is_paced() { due_at } else { Instant::now() };
            self.send().await?;
            latencies.push(u32::try_from(from.elapsed().as_micros()).unwrap_or(u32::MAX));
            self.sent += 1;
        }
        Ok(latencies)
    }

    const fn is_paced(&self) -> bool {
        matches!(self.load.until, Until::Paced(..))
    }

    /// When the next request is due; `None` when there is none.
    fn next(&self, started_at: Instant) -> Option<Instant> {
        let place = self.sent * CONNECTIONS + self.number;
        match self.load.until {
            Until::Elapsed(length) => (started_at.elapsed() < length).then_some(started_at),
            Until::Count(count) => (place < count).then_some(started_at),
            Until::Paced(length, rate) => {
                let after = Duration::from_secs_f64(f64::from(u32::try_from(place).ok()?) / rate);
                (after < length).then_some(started_at + after)
            }
        }
    }

    /// Spreads the requests over the subjects; neighbours in time are no neighbours in name.
    fn subject(&self) -> u64 {
        let place = self.sent * CONNECTIONS + self.number;
        match self.load.until {
            Until::Count(_) => place % self.load.subjects,
            _ => place.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32) % self.load.subjects,
        }
    }

    async fn send(&mut self) -> Result<(), Failure> {
        let subject = self.load.who.path(self.subject());
        let body = format!(r#"{{"subject":"{subject}","model":"claude-sonnet-4"}}"#);
        if !self.load.holds {
            return self.call("/v1/consume", &body).await;
        }
        self.call("/v1/reservations", &body).await?;
        let answer = self.wire.answer();
        let id =
            answer.split_once(r#""reservation_id":""#).and_then(|(_, rest)| rest.split_once('"'));
        let (id, _) = id.ok_or("an answer without a reservation")?;
        self.call(&format!("/v1/reservations/{id}:commit"), r#"{"amount":1}"#).await
    }

    async fn call(&mut self, path: &str, body: &str) -> Result<(), Failure> {
        self.write_request(path, body)?;
        let status = self.wire.call(&self.request).await?;
        if status != self.load.status {
            return Err(format!("answered {}", self.wire.answer()).into());
        }
        Ok(())
    }

    fn write_request(&mut self, path: &str, body: &str) -> Result<(), Failure> {
        self.request.clear();
        write!(
            self.request,
            "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\n",
            self.load.key
        )?;
        if let Some(prefix) = &self.load.idempotency {
            let (number, sent) = (self.number, self.sent);
            write!(self.request, "idempotency-key: \"{prefix}-{number}-{sent}\"\r\n")?;
        }
        write!(self.request, "content-length: {}\r\n\r\n{body}", body.len())?;
        Ok(())
    }
}
