//! The sweeper: writes down that holds have lapsed.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::counters::Again;
use crate::counters::Held;
use crate::counters::HoldOf;
use crate::counters::KnownHold;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::counters::PackedSheet;
use crate::domain::Sheet;
use crate::domain::Subject;
use crate::domain::Units;
use crate::ledger::ReservationRow;

use super::ends::Asked;
use crate::quota::Quota;
use crate::quota::error::QuotaError;
use crate::quota::identity;
use crate::quota::order::RequestContext;

/// Reservations that are looked at in one sweep.
const DUE_MAX: u32 = 1_000;
/// Reservations that are expired at once.
const AT_ONCE: usize = 64;

impl Quota {
    /// Writes an event for each hold that has lapsed and was neither committed nor released, at most 1,000, and answers
    /// how many. What they held is free already: a hold counts no longer than its time, whether or not it is swept.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away; sweep again.
    pub async fn expire_due(&self) -> Result<u64, QuotaError> {
        let due = self.ledger.due_reservations(self.redis_now(), DUE_MAX).await;
        let due = due.map_err(QuotaError::of_ledger)?;
        let mut expired = 0;
        for group in due.chunks(AT_ONCE) {
            for outcome in join_all(group.iter().map(|row| self.expire(row))).await {
                expired += u64::from(outcome?);
            }
        }
        Ok(expired)
    }

    /// Whether the reservation was expired; it may have been committed a moment ago.
    async fn expire(&self, row: &ReservationRow) -> Result<bool, QuotaError> {
        let misread = |error| QuotaError::Internal(Box::new(error));
        let subject = Subject::parse(&row.subject).map_err(misread)?;
        let mut asked = Asked(Arc::new(PackedSheet::hold(subject.depth(), None)));
        for _ in 0..2 {
            let settled = self.settle_on(Box::new(self.expiry(row, &subject)), &asked).await?;
            match settled.outcome {
                Outcome::HoldEnded(_) => return Ok(true),
                Outcome::Again(Again::Hold) => {
                    asked = Asked(Arc::new(self.lapsed(row, &subject)));
                }
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    fn expiry(&self, row: &ReservationRow, subject: &Subject) -> Operation {
        let until_s = row.until.timestamp();
        let context = RequestContext {
            request_id: row.request_id.clone().unwrap_or_else(|| row.id.to_string()),
            made_id: None,
            trace_id: None,
        };
        Operation {
            event_id: identity::of_settling("end", row.id),
            hold: Some(HoldOf { id: row.id, until_s, is_strict: false }),
            model: row.model.clone(),
            ..self.operation(OperationKind::Expire, subject, &context)
        }
    }

    /// A hold that Redis has forgotten, and that has no unit left to give back.
    fn lapsed(&self, row: &ReservationRow, subject: &Subject) -> PackedSheet {
        let sheet = Sheet { plan: row.plan.clone(), depth: subject.depth(), ..Sheet::default() };
        let known = KnownHold {
            epoch: self.counters.sight(subject.shard(self.shard_count())).epoch,
            until_s: row.until.timestamp(),
            amount: Units::new(row.amount).unwrap_or(Units::MAX),
            is_expired: false,
            sheet: &PackedSheet::charge(sheet),
            held: Held::Nothing,
            grants: Vec::new(),
        };
        PackedSheet::hold(subject.depth(), Some(&known))
    }
}
