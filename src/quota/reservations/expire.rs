//! The sweeper: writes down that holds have lapsed.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::counters::Again;
use crate::counters::HoldOf;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::counters::PackedSheet;
use crate::domain::Subject;
use crate::ledger::ReservationRow;

use super::ends::Asked;
use super::open::parts_of;
use crate::quota::Quota;
use crate::quota::error::QuotaError;
use crate::quota::event_ledger::EventLedger;
use crate::quota::identity;
use crate::quota::order::RequestContext;

/// Reservations that are looked at in one sweep.
const DUE_MAX: u32 = 1_000;
/// Reservations that are expired at once.
const AT_ONCE: usize = 64;

impl<L: EventLedger> Quota<L> {
    /// Writes an event for each hold that has lapsed and was neither committed nor released, at most 1,000, and answers
    /// how many. What they held is free already: a hold counts no longer than its time, whether or not it is swept.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away; sweep again. The holds of other shards are swept.
    pub async fn expire_due(&self) -> Result<u64, QuotaError> {
        let due = self.ledger.due_reservations(self.counters.redis_now(), DUE_MAX).await;
        let due = due.map_err(QuotaError::of_ledger)?;
        let shards = self.shard_count();
        let shard_of =
            |row: &ReservationRow| Subject::parse(&row.subject).ok().map(|it| it.shard(shards));
        let (mut expired, mut failed) = (0, HashMap::new());
        for group in due.chunks(AT_ONCE) {
            let rows: Vec<_> =
                group.iter().filter(|row| !failed.contains_key(&shard_of(row))).collect();
            let outcomes = join_all(rows.iter().map(|row| self.expire(row))).await;
            for (row, outcome) in rows.into_iter().zip(outcomes) {
                match outcome {
                    Ok(is_expired) => expired += u64::from(is_expired),
                    Err(error) => drop(failed.entry(shard_of(row)).or_insert(error)),
                }
            }
        }
        failed.into_values().next().map_or(Ok(expired), Err)
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
                // A late commit may follow, so what the hold was measured against is worked out as for one.
                Outcome::Again(Again::Hold) => {
                    match self.known_hold(&parts_of(row, &subject)?).await {
                        Ok(known) => asked = Asked(Arc::new(known)),
                        Err(QuotaError::ReservationEnded { .. }) => return Ok(false),
                        Err(error) => return Err(error),
                    }
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
}
