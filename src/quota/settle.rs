//! From an operation to its outcome: loads, recoveries, newer profiles and moved windows in between.

use std::sync::Arc;
use std::time::Instant;

use chrono::DateTime;
use chrono::Utc;

use crate::counters::Again;
use crate::counters::Fault;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::counters::PackedSheet;

use super::Quota;
use super::error::QuotaError;
use super::error::Store;
use super::event_ledger::EventLedger;
use super::profiles::LevelProfiles;
use super::resolve;
use super::resolve::Edition;
use super::resolve::Resolved;

/// Loads, recoveries, newer profiles and moved windows that one request may go through.
const ROUNDS_MAX: usize = 16;

/// What makes the sheet of an operation, from the edition in force and the profiles as this node knows them.
pub(super) trait Measure {
    /// # Errors
    ///
    /// Why the catalogue or the profiles refuse the request.
    fn measure(
        &self,
        edition: &Edition,
        profiles: &LevelProfiles,
        at: DateTime<Utc>,
    ) -> Result<Measured, QuotaError>;
}

/// The sheet of an operation, and what it was resolved to when limits were.
pub(super) struct Measured {
    pub(super) sheet: Arc<PackedSheet>,
    pub(super) resolved: Option<Arc<Resolved>>,
}

/// A decided operation, by what it was decided.
pub(super) struct Settled {
    pub(super) operation: Box<Operation>,
    pub(super) outcome: Outcome,
    pub(super) resolved: Option<Arc<Resolved>>,
    pub(super) edition: Arc<Edition>,
}

/// What the next round is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prepared {
    ToDecide,
    /// The operation was accepted, and is looked at for what its answer shows.
    ToLook,
}

/// The outcome of what was asked. When it was accepted before, and has only been looked at, that is what the look found.
fn as_asked(outcome: Outcome, is_as_asked: bool) -> Outcome {
    match outcome {
        Outcome::Decided { used, more, reset_at_ms, now_ms, .. } if !is_as_asked => {
            Outcome::Decided { accepted: true, used, more, reset_at_ms, now_ms }
        }
        other => other,
    }
}

/// What an operation is measured against in one round.
struct Round {
    edition: Arc<Edition>,
    resolved: Option<Arc<Resolved>>,
    refusal: Option<QuotaError>,
}

impl<L: EventLedger> Quota<L> {
    /// Submits the operation until it is decided, or only the asker can say more. The bound is the operation's deadline and [`ROUNDS_MAX`].
    ///
    /// A refusal by catalogue or profiles is an error too, but only after the script said that the profiles are the
    /// newest: this node may not have heard of a change.
    ///
    /// # Errors
    ///
    /// That refusal, or [`QuotaError::Unavailable`] and the like.
    pub(super) async fn settle_on(
        &self,
        mut operation: Box<Operation>,
        measure: &impl Measure,
    ) -> Result<Settled, QuotaError> {
        let (asked, mut wanted) = (operation.kind, operation.kind);
        let mut round = self.begin_round(&mut operation, wanted, measure)?;
        for _ in 0..ROUNDS_MAX {
            let submitted = self.counters.submit(operation).await;
            let (back, outcome) = submitted.map_err(QuotaError::of_counters)?;
            operation = back;
            let again = match (outcome.map_err(QuotaError::of_counters)?, round.refusal) {
                (Outcome::Again(again), _) if !again.is_for_the_asker() => again,
                (Outcome::Decided { .. }, Some(refusal)) => return Err(refusal),
                (outcome, _) => {
                    let outcome = as_asked(outcome, wanted == asked);
                    operation.kind = asked;
                    let (edition, resolved) = (round.edition, round.resolved);
                    return Ok(Settled { operation, outcome, resolved, edition });
                }
            };
            // In its own place: it is rare and large, and the future of every request would have room for it.
            if Box::pin(self.prepare(&mut operation, again)).await? == Prepared::ToLook {
                wanted = OperationKind::Check;
            }
            round = self.begin_round(&mut operation, wanted, measure)?;
            if Instant::now() >= operation.deadline {
                break;
            }
        }
        Err(QuotaError::away(Store::Redis))
    }

    fn begin_round(
        &self,
        operation: &mut Operation,
        wanted: OperationKind,
        measure: &impl Measure,
    ) -> Result<Round, QuotaError> {
        let (edition, profiles) = (self.edition(), self.profiles.of(&operation.subject));
        operation.profile_versions = profiles.versions();
        match measure.measure(&edition, &profiles, self.counters.redis_now()) {
            Ok(Measured { sheet, resolved }) => {
                (operation.kind, operation.sheet) = (wanted, sheet);
                Ok(Round { edition, resolved, refusal: None })
            }
            // A key may have an answer from before the catalogue said no.
            Err(refusal)
                if !refusal.may_depend_on_profiles() && operation.idempotency.is_none() =>
            {
                Err(refusal)
            }
            Err(refusal) => {
                operation.kind = OperationKind::Check;
                operation.sheet = resolve::nothing(operation.subject.depth());
                Ok(Round { edition, resolved: None, refusal: Some(refusal) })
            }
        }
    }

    /// Does what has to be done before the operation can be decided, or looked at when it turns out to have been accepted.
    async fn prepare(
        &self,
        operation: &mut Operation,
        again: Again,
    ) -> Result<Prepared, QuotaError> {
        if again == Again::Ended {
            return self.ask_for_earlier(operation).await;
        }
        let shard = operation.subject.shard(self.shard_count());
        let prepared = match again {
            Again::Load => match self.loads.load(operation, shard).await? {
                Some(fault) => self.recover_in_time(shard, fault, operation.deadline).await,
                None => Ok(()),
            },
            Again::Recover(fault) => self.recover_in_time(shard, fault, operation.deadline).await,
            Again::Stale(depth) => self.learn_profile(shard, operation.subject.level(depth)).await,
            Again::WrongWindow(now_ms) => {
                self.counters.set_clock_delta_ms(now_ms - self.clock.now_ms());
                Ok(())
            }
            // A roll settles an operation of its own, which never asks for another roll.
            Again::Roll(depth) => Box::pin(self.roll(operation, depth)).await,
            Again::Before | Again::Hold | Again::Ended => Ok(()),
        };
        prepared.map(|()| Prepared::ToDecide)
    }

    /// Whether the ledger has an attempt whose epoch has ended: the recovery logged what was left of that. What charges and is
    /// logged was accepted; who ended a hold the log does not tell.
    async fn ask_for_earlier(&self, operation: &mut Operation) -> Result<Prepared, QuotaError> {
        let logged = self.ledger.is_logged(operation.event_id).await;
        let is_logged = logged.map_err(QuotaError::of_ledger)?;
        (operation.since_seq, operation.since_epoch) = (None, 0);
        if !is_logged {
            return Ok(Prepared::ToDecide);
        }
        match operation.kind {
            OperationKind::Consume | OperationKind::Reserve => Ok(Prepared::ToLook),
            _ => Err(QuotaError::away(Store::Redis)),
        }
    }

    /// Waits for a recovery, at most until the deadline; the recovery goes on without the request.
    async fn recover_in_time(
        &self,
        shard: u16,
        fault: Fault,
        deadline: Instant,
    ) -> Result<(), QuotaError> {
        let recovered = tokio::time::timeout_at(deadline.into(), self.recover(shard, fault)).await;
        recovered.unwrap_or_else(|_| Err(QuotaError::away(Store::Redis)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards an attempt that was accepted and not answered: by now the limits are full, and a look at them says nothing of it.
    #[test]
    fn what_was_accepted_stays_accepted_when_it_is_only_looked_at() {
        let found = |accepted| {
            let (used, more) = (Vec::new(), None);
            Outcome::Decided { accepted, used, more, reset_at_ms: 0, now_ms: 7 }
        };
        let is_accepted = |outcome, is_as_asked| match as_asked(outcome, is_as_asked) {
            Outcome::Decided { accepted, now_ms: 7, .. } => accepted,
            _ => panic!("another outcome"),
        };

        assert!(is_accepted(found(false), false));
        assert_eq!([true, false].map(|it| is_accepted(found(it), true)), [true, false]);
        assert!(matches!(as_asked(Outcome::Nothing, false), Outcome::Nothing));
    }
}
