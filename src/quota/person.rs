//! The end of what a person has, before their data is erased.

use crate::domain::Subject;

use super::Actor;
use super::EndOrder;
use super::Expected;
use super::GrantState;
use super::Quota;
use super::error::QuotaError;

/// Paths read at once.
const PATHS_MAX: u32 = 1_000;
/// Pages of paths with open reservations in one call; each page has another thousand of them ended.
const PAGES_MAX: usize = 1_000;

impl Quota {
    /// Ends what the subject and all below it have, as far as the log goes: open reservations are released, open grants revoked
    /// and profiles deleted. Flush before, so that the log knows it, and afterwards.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away; the next call goes on where this stopped.
    pub async fn end_all(&self, subject: &Subject, actor: &Actor) -> Result<(), QuotaError> {
        self.release_all(subject, actor).await?;
        let mut after: Option<String> = None;
        loop {
            let page = self.ledger.subjects_within(subject.as_str(), after.as_deref(), PATHS_MAX);
            let page = page.await.map_err(QuotaError::of_ledger)?;
            for path in &page {
                let level = level(path)?;
                self.revoke_all(&level, actor).await?;
                self.delete_any(&level, actor).await?;
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    async fn delete_any(&self, level: &Subject, actor: &Actor) -> Result<(), QuotaError> {
        match self.delete_subject(level, Expected::Any, actor).await {
            Ok(()) | Err(QuotaError::UnknownSubject) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn release_all(&self, subject: &Subject, actor: &Actor) -> Result<(), QuotaError> {
        let shard = subject.shard(self.shard_count());
        for _ in 0..PAGES_MAX {
            let page = self.ledger.reserved_within(subject.as_str(), PATHS_MAX).await;
            let mut released = 0;
            for path in page.map_err(QuotaError::of_ledger)? {
                released += self.release_open(&level(&path)?, actor).await?;
            }
            if released == 0 {
                break;
            }
            self.flush_now(shard).await?;
        }
        Ok(())
    }

    /// Releases what the subject itself holds, and answers how many reservations that were.
    async fn release_open(&self, level: &Subject, actor: &Actor) -> Result<u64, QuotaError> {
        let mut released = 0;
        for open in self.open_reservations(level).await? {
            let order = EndOrder {
                reservation: open.parts,
                idempotency_key: None,
                metadata: None,
                context: actor.context.clone(),
            };
            match self.release(&order).await {
                Ok(_) => released += 1,
                Err(QuotaError::ReservationEnded { .. } | QuotaError::UnknownReservation) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(released)
    }

    async fn revoke_all(&self, level: &Subject, actor: &Actor) -> Result<(), QuotaError> {
        let grants = self.grants(level).await?;
        let now = self.counters.redis_now();
        for row in grants.iter().filter(|row| GrantState::of(row, now) == GrantState::Open) {
            match self.revoke_grant(level, row.grant.id, actor).await {
                Ok(_) | Err(QuotaError::UnknownGrant) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn level(path: &str) -> Result<Subject, QuotaError> {
    Subject::parse(path).map_err(|error| QuotaError::Internal(Box::new(error)))
}
