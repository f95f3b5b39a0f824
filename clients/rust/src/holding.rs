//! Work that holds units while it runs.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::answers::Reservation;
use crate::attempts::OnUnavailable;
use crate::client::Client;
use crate::error::Error;
use crate::order::Order;

/// A hold is extended when a third of its time has passed, so that one lost extend does not end it.
const EXTENDS_IN_A_TTL: u32 = 3;
/// No work says that it used so many units.
const UNSAID: u64 = u64::MAX;

/// The units of running work.
#[derive(Clone, Debug)]
pub struct Held {
    reservation: Arc<Reservation>,
    used: Arc<AtomicU64>,
}

/// Why work that holds units came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HoldError<E> {
    /// The units could not be held or settled.
    #[error(transparent)]
    Quota(#[from] Error),
    /// The work failed; all that it held is given back.
    #[error("the work failed")]
    Work(#[source] E),
}

impl Held {
    /// The hold, with the decision that allowed it.
    #[must_use]
    pub fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// Adds to what the work took.
    pub fn add(&self, amount: u64) {
        let add =
            |used: u64| Some(if used == UNSAID { amount } else { used.saturating_add(amount) });
        // Never refused: `add` gives a value for each.
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// What was used, or all that is held when nobody said.
    fn to_commit(&self) -> u64 {
        match self.used.load(Ordering::Relaxed) {
            UNSAID => self.reservation.amount,
            used => used,
        }
    }
}

impl Client {
    /// Holds units while `work` runs, and extends the hold as long as it does. Then charges what [`Held::add`] added up
    /// to, or all that is held without it; work that fails gives all back.
    ///
    /// Work that is dropped settles nothing: its units come back when the hold ends by itself, within `ttl`.
    ///
    /// # Errors
    ///
    /// [`HoldError`]. A client that fails open does not fail work that is done because it cannot be charged.
    pub async fn hold<T, E, F>(
        &self,
        order: &Order,
        ttl: Duration,
        work: impl FnOnce(Held) -> F,
    ) -> Result<T, HoldError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let reservation = Arc::new(self.reserve(order, ttl).await?);
        let held = Held { reservation, used: Arc::new(AtomicU64::new(UNSAID)) };
        let Some(id) = held.reservation.reservation_id.as_deref() else {
            return work(held).await.map_err(HoldError::Work);
        };
        let done = tokio::select! {
            done = pin!(work(held.clone())) => done,
            never = self.extend_on(id, ttl) => match never {},
        };
        match done {
            Ok(value) => {
                self.settled(self.commit(id, held.to_commit()).await)?;
                Ok(value)
            }
            Err(error) => {
                if let Err(error) = self.release(id).await {
                    tracing::error!(%error, id, "could not release");
                }
                Err(HoldError::Work(error))
            }
        }
    }

    fn settled<T>(&self, answer: Result<T, Error>) -> Result<(), Error> {
        match answer {
            Err(error @ Error::Unavailable { .. })
                if self.on_unavailable() == OnUnavailable::Open =>
            {
                tracing::error!(%error, "could not commit");
                Ok(())
            }
            answer => answer.map(|_| ()),
        }
    }

    async fn extend_on(&self, id: &str, ttl: Duration) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(ttl / EXTENDS_IN_A_TTL).await;
            if let Err(error) = self.extend(id, ttl).await {
                tracing::warn!(%error, id, "could not extend");
            }
        }
    }
}
