//! Reservations: units held for work whose cost is not known yet.
//!
//! A hold lapses at its end by the clock of Redis, wherever it is looked at; the sweeper only writes that down.

mod ends;
mod expire;
mod id;
mod known;
mod open;

use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;

use crate::counters::HoldOf;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::domain::Decision;
use crate::domain::decision::Hold;

use super::Quota;
use super::error::QuotaError;
use super::event_ledger::EventLedger;
use super::identity;
use super::order::Order;
use super::outcome;

pub use self::ends::CommitOrder;
pub use self::ends::EndOrder;
pub use self::ends::HoldEnded;
pub use self::id::ReservationId;
pub use self::id::SigningKey;
pub use self::open::OpenReservation;

/// How long a hold lasts: its ends are so far apart that a counter never has more than about this many.
const ENDS_MAX: u64 = 64;

/// The bounds of a hold's time.
#[derive(Clone, Copy, Debug)]
pub struct HoldTime;

impl HoldTime {
    /// The longest that a hold lasts from now on.
    pub const MAX: Duration = Duration::from_hours(24);
    /// How long a hold lasts unless the caller says so.
    pub const DEFAULT: Duration = Duration::from_mins(5);
}

/// When a hold that begins then ends, in Unix seconds: the next whole second, and, of a long one, the next multiple of a
/// 64th of its length. A counter's holds then have few ends, which keeps a level's state small.
#[must_use]
fn end_of(at: DateTime<Utc>, time: Duration) -> i64 {
    let time = time.min(HoldTime::MAX).max(Duration::from_secs(1));
    let apart_s = (time.as_secs() / ENDS_MAX).max(1).cast_signed();
    let end_ms = at.timestamp_millis() + i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2);
    let whole_s = -(-end_ms).div_euclid(1_000);
    -(-whole_s).div_euclid(apart_s) * apart_s
}

impl<L: EventLedger> Quota<L> {
    /// Decides as a consume does, and holds what it would charge, until the time is over or the reservation is settled.
    ///
    /// # Errors
    ///
    /// As [`Quota::consume`], but for a store that is away: nothing is held without a decision.
    pub async fn reserve(&self, order: Order, time: Duration) -> Result<Decision, QuotaError> {
        let at = self.counters.redis_now();
        let identity = identity::of_reserve(&order, time, at);
        let until_s = end_of(at, time);
        let operation = Operation {
            event_id: identity.event_id,
            idempotency: identity.idempotency,
            hold: Some(HoldOf { id: identity.event_id, until_s, is_strict: false }),
            model: order.ask.model().map(str::to_owned),
            metadata: order.metadata.clone(),
            amount: order.amount.into(),
            ..self.operation(OperationKind::Reserve, &order.subject, &order.context)
        };
        let outcome = self.hold(operation, &order).await;
        self.note_denial(&order, &outcome);
        outcome
    }

    async fn hold(&self, operation: Operation, order: &Order) -> Result<Decision, QuotaError> {
        let settled = self.settle_on(Box::new(operation), order).await?;
        let mut decision = self.answer(settled, order)?;
        if let Some(hold) = decision.hold.take() {
            let id = self.id_of(&hold, order, &decision);
            decision.hold = Some(Hold { id, ..hold });
        }
        outcome::count(&decision);
        Ok(decision)
    }

    fn id_of(&self, hold: &Hold, order: &Order, decision: &Decision) -> String {
        let id = ReservationId {
            event_id: decision.event_id.unwrap_or_default(),
            subject: order.subject.clone(),
            ask: order.ask.clone(),
            amount: order.amount,
            at_s: decision.decided_at_ms.div_euclid(1_000),
            until_s: hold.until_s,
        };
        id.to_text(&self.signing_key)
    }

    /// The reservation of that id.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownReservation`] when this service did not give it out.
    pub fn reservation_id(&self, text: &str) -> Result<ReservationId, QuotaError> {
        ReservationId::parse(text, &self.signing_key).ok_or(QuotaError::UnknownReservation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_at_the_next_of_a_few_instants() {
        let at = DateTime::from_timestamp_millis(1_795_305_600_001).unwrap();
        let end = |seconds| end_of(at, Duration::from_secs(seconds)) - 1_795_305_600;
        assert_eq!((end(0), end(1), end(30)), (2, 2, 31));
        for seconds in [60_u64, 600, 3_600, 86_400, 1_000_000] {
            let apart = (seconds.min(86_400_u64) / 64).max(1).cast_signed();
            let late = end(seconds) - seconds.min(86_400).cast_signed();
            assert!((0..=apart).contains(&late), "{seconds}: {late}");
        }
    }
}
