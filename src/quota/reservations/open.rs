//! The open reservations of a subject.

use chrono::DateTime;
use chrono::Utc;

use crate::domain::Amount;
use crate::domain::Subject;
use crate::domain::event::Delta;
use crate::ledger::ReservationRow;

use super::ReservationId;
use crate::quota::Quota;
use crate::quota::error::QuotaError;
use crate::quota::order::Ask;

/// The most that are shown.
const OPEN_MAX: u32 = 1_000;

/// A reservation that holds units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReservation {
    /// The reservation's id. Once it was extended, the text differs from the one that the reserve gave; both name it.
    pub id: String,
    /// The same as its parts.
    pub parts: ReservationId,
    /// When it was made.
    pub reserved_at: DateTime<Utc>,
    /// When the hold ends by itself.
    pub expires_at: DateTime<Utc>,
    /// The caller's own data, as JSON text.
    pub metadata: Option<String>,
    /// What it holds of each counter.
    pub lines: Vec<Delta>,
}

impl Quota {
    /// The open reservations of the subject itself, the newest first, at most 1,000, as far as the log goes: one that was
    /// made or settled since the last flush is missing, or still there.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn open_reservations(
        &self,
        subject: &Subject,
    ) -> Result<Vec<OpenReservation>, QuotaError> {
        let rows = self.ledger.reservations_of(subject.as_str(), OPEN_MAX).await;
        let (rows, now) = (rows.map_err(QuotaError::of_ledger)?, self.counters.redis_now());
        let open = rows.into_iter().filter(|row| row.until > now);
        open.map(|row| self.open_reservation(subject, row)).collect()
    }

    fn open_reservation(
        &self,
        subject: &Subject,
        row: ReservationRow,
    ) -> Result<OpenReservation, QuotaError> {
        let parts = parts_of(&row, subject)?;
        Ok(OpenReservation {
            id: parts.to_text(&self.signing_key),
            parts,
            reserved_at: row.reserved_at,
            expires_at: row.until,
            metadata: row.metadata,
            lines: row.lines,
        })
    }
}

/// What the id of the subject's reservation tells.
pub(super) fn parts_of(
    row: &ReservationRow,
    subject: &Subject,
) -> Result<ReservationId, QuotaError> {
    let misread = |error| QuotaError::Internal(Box::new(error));
    Ok(ReservationId {
        event_id: row.id,
        subject: subject.clone(),
        ask: ask(row)?,
        amount: Amount::new(row.amount).map_err(misread)?,
        at_s: row.reserved_at.timestamp(),
        until_s: row.until.timestamp(),
    })
}

/// What was asked for: a model, or the one metric of all that is held.
fn ask(row: &ReservationRow) -> Result<Ask, QuotaError> {
    let metric = || row.lines.first().map(|line| Ask::Metric(line.metric.clone()));
    let ask = row.model.clone().map(Ask::Model).or_else(metric);
    ask.ok_or_else(|| QuotaError::Internal("a reservation holds nothing".into()))
}
