//! Group commit: one call of the consume script for all requests of a shard that queued while the last was under way.
//!
//! There is no timer. At concurrency 1 a request travels alone; under load the groups fill by themselves.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tracing::Instrument;
use tracing::Span;

use crate::clock::Clock;
use crate::telemetry::names;
use crate::telemetry::spans;

use super::error::CountersError;
use super::error::Fate;
use super::error::fate;
use super::error::is_in_two_places;
use super::error::takes_no_writes;
use super::group;
use super::group::Code;
use super::group::GroupOptions;
use super::moving::Moving;
use super::operation::Again;
use super::operation::Fault;
use super::operation::Operation;
use super::operation::OperationKind;
use super::operation::Outcome;
use super::operation::ShardFault;
use super::reply;
use super::reply::GroupReply;
use super::routes::Routes;
use super::script::Scripts;
use super::server::Server;
use super::shard::Own;
use super::shard::Shard;
use super::shard::Sight;

/// The answer to a submitted operation, which comes back so that it can be submitted again.
pub type Submitted = (Box<Operation>, Result<Outcome, CountersError>);

/// A waiting operation.
pub(super) struct Ticket {
    pub(super) operation: Box<Operation>,
    pub(super) answer: oneshot::Sender<Submitted>,
    /// The request's span; none when it is not traced.
    pub(super) span: Span,
}

impl Ticket {
    fn answer(self, result: Result<Outcome, CountersError>) {
        let Self { operation, answer, span } = self;
        // A span ends when nobody holds it: with the request, which goes on at the answer.
        drop(span);
        // A caller that stopped waiting has no use for its answer.
        let _ = answer.send((operation, result));
    }
}

/// What the lanes of a node share.
pub(super) struct LaneParts {
    pub(super) routes: Routes,
    pub(super) scripts: Arc<Scripts>,
    pub(super) options: GroupOptions,
    pub(super) clock: Clock,
    /// Redis' time minus the node's, in milliseconds.
    pub(super) clock_delta_ms: AtomicI64,
}

/// The task that decides the requests of one shard.
pub struct Lane {
    pub(super) parts: Arc<LaneParts>,
    pub(super) shard: Arc<Shard>,
    pub(super) queue: mpsc::Receiver<Ticket>,
    /// The connection over which the last answer came.
    pub(super) generation: u64,
    /// When that was sent for.
    pub(super) answered_at: Instant,
    /// The server that the next attempt goes to for once.
    pub(super) asked: Option<Arc<Server>>,
    /// The move of the shard's slot, when there was one of late.
    pub(super) moving: Option<Moving>,
    /// Until when groups go to the script with all its parts, since levels hold something.
    pub(super) whole_until: Instant,
}

/// How long groups go to the script with all its parts after one that needed it.
const WHOLE_FOR: Duration = Duration::from_secs(1);
/// The pause before an attempt that follows one which Redis refused to execute.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

impl Lane {
    /// Decides requests until every sender is gone. Never fails: errors go to the requests.
    pub async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let queued = std::iter::from_fn(|| self.queue.try_recv().ok());
            let group: Vec<Ticket> =
                std::iter::once(first).chain(queued).take(self.parts.options.group_max).collect();
            let size = u32::try_from(group.len()).unwrap_or(u32::MAX);
            metrics::histogram!(names::GROUP_SIZE).record(size);
            self.serve(group).await;
        }
    }

    /// Attempts the group until each request has an answer or no time left. The bound on attempts is the requests'
    /// deadline: every round takes a pause at least, but for one that only led to another server.
    async fn serve(&mut self, group: Vec<Ticket>) {
        let mut group = still_waiting(group, false, None);
        while !group.is_empty() {
            let sight = self.shard.sight();
            group = without_ended(group, sight.epoch);
            if group.is_empty() {
                return;
            }
            let (ambiguous, source) = match self.attempt(&mut group).await {
                Ok(reply) => return deliver(reply, sight, group),
                Err(CountersError::Unavailable { ambiguous, source }) => (ambiguous, source),
                Err(error) => return fail(&error, group),
            };
            if source.as_ref().is_some_and(is_in_two_places) && self.is_long_moving() {
                return self.serve_one_by_one(group).await;
            }
            if source.as_ref().is_some_and(takes_no_writes) {
                group = without_writes(group, source.as_ref());
            }
            if self.asked.is_none() {
                self.parts.clock.pause(RETRY_PAUSE).await;
            }
            group = still_waiting(group, ambiguous, source.as_ref());
        }
    }

    /// One call. An attempt whose fate is unknown leaves its mark on each operation, so that the next can tell.
    pub(super) async fn attempt(
        &mut self,
        group: &mut [Ticket],
    ) -> Result<GroupReply, CountersError> {
        let way = self.way().await?;
        if let Some(fault) = self.rolled_back_meanwhile(&way).await? {
            return Ok(fault);
        }
        let sight = self.shard.sight();
        let operations: Vec<&Operation> = group.iter().map(|ticket| &*ticket.operation).collect();
        let offset_ms = self.parts.clock.offset_ms();
        let call =
            group::build(self.shard.number, sight, offset_ms, &self.parts.options, &operations);
        let mut line = way.line();
        let started_at = Instant::now();
        let scripts = &self.parts.scripts;
        let is_whole = call.needs_whole || self.whole_until > started_at;
        let script = if is_whole { &scripts.consume_whole } else { &scripts.consume };
        let span = spans::script_call(self.shard.number, group.iter().map(|ticket| &ticket.span));
        let answer = script.call::<Vec<u8>, _>(&mut line, &call.keys, &call.arguments);
        let answer = answer.instrument(span).await;
        metrics::histogram!(names::REDIS_CALL_SECONDS).record(started_at.elapsed());
        let bytes = match answer {
            Ok(bytes) => bytes,
            Err(error) => {
                if fate(&error) == Fate::Unknown {
                    mark_unknown(group, sight);
                }
                self.lose(&way, &error).await;
                return Err(CountersError::of(error));
            }
        };
        (self.generation, self.answered_at) = (way.generation, started_at);
        let reply = reply::read(&bytes, &operations)?;
        if reply.code == Code::NeedsWhole && !is_whole {
            self.whole_until = Instant::now() + WHOLE_FOR;
            return Box::pin(self.attempt(group)).await;
        }
        self.note(&reply, group, sight)?;
        Ok(reply)
    }

    /// Takes in the epoch, the seq and the time of the answer.
    ///
    /// A higher epoch than ours was opened after another node's recovery: the same call under the new epoch may pass,
    /// so this one counts as not executed. A lower epoch is a restored snapshot.
    ///
    /// An answer whose epoch ended while it was under way is none: the recovery may have lost what was accepted, and nobody
    /// would own up to that. The log tells.
    fn note(
        &self,
        reply: &GroupReply,
        group: &mut [Ticket],
        sight: Sight,
    ) -> Result<(), CountersError> {
        if reply.code == Code::OtherEpoch && reply.epoch > self.shard.sight().epoch {
            self.shard.saw(reply.epoch, 0, None);
            return Err(CountersError::Unavailable { ambiguous: false, source: None });
        }
        if reply.code != Code::Ok {
            return Ok(());
        }
        if !self.shard.saw(reply.epoch, reply.seq, own_of(reply)) {
            mark_unknown(group, sight);
            return Err(CountersError::Unavailable { ambiguous: true, source: None });
        }
        let delta_ms = reply.now_ms - self.parts.clock.now_ms();
        self.parts.clock_delta_ms.store(delta_ms, Ordering::Relaxed);
        Ok(())
    }
}

/// Gives each request its result, or all of them what has to be done first. `sight` is from before the call: a recovery
/// since then has left the fault behind.
pub(super) fn deliver(reply: GroupReply, sight: Sight, group: Vec<Ticket>) {
    let kind = match reply.code {
        Code::Ok => {
            for (ticket, result) in group.into_iter().zip(reply.results) {
                ticket.answer(result.map(|(outcome, _)| outcome));
            }
            return;
        }
        Code::Uninitialised => ShardFault::Uninitialised,
        Code::Fenced => ShardFault::Fenced,
        Code::OtherEpoch => ShardFault::OlderEpoch,
        // The last three are no answers to a group.
        Code::Rollback | Code::Behind | Code::WrongClock | Code::NeedsWhole => ShardFault::Rollback,
    };
    let fault = Fault { kind, epoch: sight.epoch, seq: sight.seq };
    for ticket in group {
        ticket.answer(Ok(Outcome::Again(Again::Recover(fault))));
    }
}

pub(super) fn fail(error: &CountersError, group: Vec<Ticket>) {
    let text = error.to_string();
    for ticket in group {
        ticket.answer(Err(CountersError::Protocol(text.clone())));
    }
}

/// From now on each operation carries the place after which an attempt at it may stand in the outbox.
fn mark_unknown(group: &mut [Ticket], sight: Sight) {
    for Ticket { operation, .. } in group {
        // In no epoch nothing was executed.
        if operation.since_seq.is_none() || operation.since_epoch == 0 {
            (operation.since_seq, operation.since_epoch) = (Some(sight.seq), sight.epoch);
        }
    }
}

/// Gives back the requests of which an attempt may have been executed in an epoch that has ended. All that is left of that is
/// in Postgres.
fn without_ended(group: Vec<Ticket>, epoch: u64) -> Vec<Ticket> {
    let is_ended = |ticket: &Ticket| {
        let Operation { since_seq, since_epoch, .. } = *ticket.operation;
        since_seq.is_some() && (1..epoch).contains(&since_epoch)
    };
    let (ended, rest): (Vec<_>, Vec<_>) = group.into_iter().partition(is_ended);
    for ticket in ended {
        ticket.answer(Ok(Outcome::Again(Again::Ended)));
    }
    rest
}

/// What the call acknowledged to this node, if anything.
fn own_of(reply: &GroupReply) -> Option<Own> {
    let events = reply.results.iter().filter_map(|result| result.as_ref().ok()?.1);
    Own::of(events)
}

/// Answers the requests that would write, and keeps those that only look: Redis decides these all the same. Waiting for
/// room would hold up every look that is queued behind.
fn without_writes(group: Vec<Ticket>, source: Option<&redis::RedisError>) -> Vec<Ticket> {
    let (looks, writes): (Vec<_>, Vec<_>) =
        group.into_iter().partition(|ticket| ticket.operation.kind == OperationKind::Check);
    answer_unavailable(writes, false, source);
    looks
}

/// Answers that Redis is away. An attempt of unknown fate before makes the fate of all unknown.
pub(super) fn answer_unavailable(
    group: Vec<Ticket>,
    ambiguous: bool,
    source: Option<&redis::RedisError>,
) {
    for ticket in group {
        let ambiguous = ambiguous || ticket.operation.since_seq.is_some();
        let source = source.cloned();
        ticket.answer(Err(CountersError::Unavailable { ambiguous, source }));
    }
}

/// Answers the requests whose time is up, and keeps the others.
fn still_waiting(
    group: Vec<Ticket>,
    ambiguous: bool,
    source: Option<&redis::RedisError>,
) -> Vec<Ticket> {
    let now = Instant::now();
    let (left, late): (Vec<_>, Vec<_>) =
        group.into_iter().partition(|ticket| ticket.operation.deadline > now);
    answer_unavailable(late, ambiguous, source);
    left
}
