//! What ends a reservation, or gives it more time.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

use crate::counters::Again;
use crate::counters::HoldEnd;
use crate::counters::HoldOf;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::counters::PackedSheet;
use crate::counters::StoredAnswer;
use crate::domain::LimitState;
use crate::domain::Units;

use super::ReservationId;
use super::end_of;
use crate::quota::Quota;
use crate::quota::decide::stored_states;
use crate::quota::error::QuotaError;
use crate::quota::error::Store;
use crate::quota::event_ledger::EventLedger;
use crate::quota::identity;
use crate::quota::order::RequestContext;
use crate::quota::profiles::LevelProfiles;
use crate::quota::resolve::Edition;
use crate::quota::settle::Measure;
use crate::quota::settle::Measured;

/// A hold may be unknown to Redis, and then have expired: each takes one more round.
const ROUNDS_MAX: usize = 4;

/// Which reservation is to end, and who asks.
#[derive(Clone, Debug)]
pub struct EndOrder {
    /// The reservation.
    pub reservation: ReservationId,
    /// The caller's idempotency key, 1–255 bytes, unquoted.
    pub idempotency_key: Option<String>,
    /// The caller's own data for the message log: JSON text of at most 2,048 bytes.
    pub metadata: Option<String>,
    /// Where the request came from.
    pub context: RequestContext,
}

/// How a reservation is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitOrder {
    /// What the work took; 0 is as good as a release, and at most 2^31.
    pub amount: crate::domain::Amount,
    /// Whether an amount above the held one is refused when it does not fit.
    pub is_strict: bool,
}

/// A reservation that was ended or given more time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldEnded {
    /// The event in the message log.
    pub event_id: Uuid,
    /// The amount that was held.
    pub held: Units,
    /// Until when it holds or held, in Unix seconds.
    pub until_s: i64,
    /// Whether the hold had lapsed when it was committed.
    pub late: bool,
    /// Whether the commit passed a hard limit.
    pub overage: bool,
    /// Every limit that the hold was measured against, as it is now.
    pub limits: Vec<LimitState>,
    /// The plan at the time of the hold.
    pub plan: String,
    /// Whether the answer repeats an earlier one with the same idempotency key.
    pub replayed: bool,
    /// The id of the request that was decided: the earlier one's for a replay.
    pub request_id: String,
    /// When Redis decided, in Unix milliseconds.
    pub decided_at_ms: i64,
}

impl<L: EventLedger> Quota<L> {
    /// Ends a reservation with what its work took: what was held beyond it is free again; what it took beyond what was
    /// held is charged even past the limits, unless the order is strict. Units count in the windows in which they were
    /// held. A hold that has lapsed is charged all the same.
    ///
    /// # Errors
    ///
    /// [`QuotaError::ReservationEnded`], [`QuotaError::CommitDoesNotFit`], [`QuotaError::Unavailable`].
    pub async fn commit(
        &self,
        order: &EndOrder,
        commit: CommitOrder,
    ) -> Result<HoldEnded, QuotaError> {
        let payload = format!("{} {}", commit.amount.get(), commit.is_strict);
        let end = End {
            kind: OperationKind::Commit,
            amount: commit.amount.into(),
            until_s: 0,
            is_strict: commit.is_strict,
        };
        self.end(order, end, &payload).await
    }

    /// Ends a reservation whose work took nothing.
    ///
    /// # Errors
    ///
    /// [`QuotaError::ReservationEnded`], also when the hold has lapsed; [`QuotaError::Unavailable`].
    pub async fn release(&self, order: &EndOrder) -> Result<HoldEnded, QuotaError> {
        let end =
            End { kind: OperationKind::Release, amount: Units::ZERO, until_s: 0, is_strict: false };
        self.end(order, end, "").await
    }

    /// Lets a reservation hold for so long from now.
    ///
    /// # Errors
    ///
    /// As [`Quota::release`].
    pub async fn extend(&self, order: &EndOrder, time: Duration) -> Result<HoldEnded, QuotaError> {
        let end = End {
            kind: OperationKind::Extend,
            amount: Units::ZERO,
            until_s: end_of(self.counters.redis_now(), time),
            is_strict: false,
        };
        self.end(order, end, &time.as_secs().to_string()).await
    }

    async fn end(
        &self,
        order: &EndOrder,
        mut end: End,
        payload: &str,
    ) -> Result<HoldEnded, QuotaError> {
        let depth = order.reservation.subject.depth();
        let mut asked = Asked(Arc::new(PackedSheet::hold(depth, None)));
        let (mut since_seq, mut since_epoch) = (None, 0);
        for _ in 0..ROUNDS_MAX {
            let operation = self.end_operation(order, end, payload);
            let operation = Box::new(Operation { since_seq, since_epoch, ..operation });
            let settled = self.settle_on(operation, &asked).await?;
            // An attempt of unknown fate is looked for in every round.
            (since_seq, since_epoch) = (settled.operation.since_seq, settled.operation.since_epoch);
            match settled.outcome {
                Outcome::HoldEnded(answer) => return ended(order, answer, false),
                Outcome::Replayed(answer) => return ended(order, answer, true),
                Outcome::Mismatch => return Err(QuotaError::IdempotencyMismatch),
                Outcome::Nothing => return Err(QuotaError::CommitDoesNotFit),
                Outcome::Ended(HoldEnd::Expired, _) if end.kind == OperationKind::Commit => {
                    end.kind = OperationKind::CommitLate;
                }
                Outcome::Ended(how, amount) => {
                    return Err(QuotaError::ReservationEnded { end: how, amount });
                }
                Outcome::Again(Again::Hold) => {
                    let known = self.known_hold(&order.reservation).await;
                    asked = Asked(Arc::new(known.map_err(|error| unless_own(error, since_seq))?));
                }
                _ => {
                    let text = "the end of a hold ended in another's outcome";
                    return Err(QuotaError::Internal(text.into()));
                }
            }
        }
        // Something became of the hold again and again, faster than the log could be read.
        Err(QuotaError::away(Store::Redis))
    }

    fn end_operation(&self, order: &EndOrder, end: End, payload: &str) -> Operation {
        let EndOrder { reservation, idempotency_key, metadata, context } = order;
        let id = reservation.event_id;
        let action = match end.kind {
            OperationKind::Extend => "extend",
            OperationKind::Release => "release",
            _ => "commit",
        };
        let payload = format!("{id} {payload} {}", metadata.as_deref().unwrap_or_default());
        let keyed = idempotency_key.as_ref().map(|key| {
            identity::of_end(action, &reservation.subject, key, &payload, self.counters.redis_now())
        });
        Operation {
            event_id: event_of(end.kind, id, keyed.map(|it| it.event_id)),
            idempotency: keyed.and_then(|it| it.idempotency),
            hold: Some(HoldOf { id, until_s: end.until_s, is_strict: end.is_strict }),
            model: reservation.ask.model().map(str::to_owned),
            metadata: metadata.clone(),
            amount: end.amount,
            ..self.operation(end.kind, &reservation.subject, context)
        }
    }
}

/// The id of the event that settles a hold. It goes by the hold, which ends once and is committed late once, whatever the key
/// is; but a hold may be extended often, and then a key tells one time from another.
fn event_of(kind: OperationKind, hold: Uuid, keyed: Option<Uuid>) -> Uuid {
    match kind {
        OperationKind::Extend => keyed.unwrap_or_else(Uuid::now_v7),
        OperationKind::CommitLate => identity::of_settling("late", hold),
        _ => identity::of_settling("end", hold),
    }
}

/// The log tells how a hold ended and not by whom: after an attempt of unknown fate, it may have been that.
fn unless_own(error: QuotaError, since_seq: Option<u64>) -> QuotaError {
    match error {
        QuotaError::ReservationEnded { .. } if since_seq.is_some() => {
            QuotaError::away(Store::Redis)
        }
        other => other,
    }
}

/// What is to become of a hold.
#[derive(Clone, Copy)]
struct End {
    kind: OperationKind,
    amount: Units,
    until_s: i64,
    is_strict: bool,
}

/// The hold as it is known outside Redis, or nothing.
pub(super) struct Asked(pub(super) Arc<PackedSheet>);

impl Measure for Asked {
    fn measure(
        &self,
        _edition: &Edition,
        _profiles: &LevelProfiles,
        _at: DateTime<Utc>,
    ) -> Result<Measured, QuotaError> {
        Ok(Measured { sheet: self.0.clone(), resolved: None })
    }
}

fn ended(order: &EndOrder, answer: StoredAnswer, replayed: bool) -> Result<HoldEnded, QuotaError> {
    let StoredAnswer { event_id, request_id, now_ms, plan, lines, more, hold, .. } = answer;
    let hold = hold.ok_or_else(|| QuotaError::Internal("a hold's end tells of no hold".into()))?;
    let request_id = if replayed { request_id } else { order.context.request_id.clone() };
    let limits = stored_states(&order.reservation.subject, lines, more.as_deref());
    Ok(HoldEnded {
        event_id,
        held: hold.amount,
        until_s: hold.until_s,
        late: hold.late,
        overage: hold.overage,
        limits,
        plan,
        replayed,
        request_id,
        decided_at_ms: now_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::HoldEnd;

    /// Guards that two ends of a hold are one event, however they are keyed: the log takes each event once.
    #[test]
    fn a_hold_ends_in_one_event_and_is_extended_in_many() {
        let [hold, other, key, another] = [1, 2, 3, 4].map(Uuid::from_u128);
        let end = event_of(OperationKind::Commit, hold, Some(key));
        assert_eq!(end, event_of(OperationKind::Commit, hold, Some(another)));
        assert_eq!(end, event_of(OperationKind::Release, hold, None));
        assert_ne!(end, event_of(OperationKind::Commit, other, Some(key)));
        assert_ne!(end, event_of(OperationKind::CommitLate, hold, Some(key)));
        let extend = |keyed| event_of(OperationKind::Extend, hold, keyed);
        assert_eq!((extend(Some(key)), extend(Some(another))), (key, another));
        assert_ne!(extend(None), extend(None));
    }

    #[test]
    fn an_end_may_be_the_own_one_only_after_an_attempt_of_unknown_fate() {
        let ended =
            || QuotaError::ReservationEnded { end: HoldEnd::Committed, amount: Units::ZERO };
        let of_another = unless_own(ended(), None);
        let unsure = unless_own(ended(), Some(7));
        let other = unless_own(QuotaError::UnknownReservation, Some(7));
        assert!(matches!(of_another, QuotaError::ReservationEnded { .. }), "{of_another:?}");
        assert!(
            matches!(unsure, QuotaError::Unavailable { store: Store::Redis, .. }),
            "{unsure:?}"
        );
        assert!(matches!(other, QuotaError::UnknownReservation), "{other:?}");
    }
}
