//! Beginning a transfer, if the rules allow it.

use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::Grant;
use crate::domain::Metric;
use crate::domain::Units;
use crate::ledger::Ledger;
use crate::ledger::convert::signed;
use crate::ledger::convert::unsigned;
use crate::ledger::error::LedgerError;
use crate::ledger::grants;
use crate::ledger::other_months::OtherMonths;
use crate::ledger::tx::Tx;
use crate::ledger::tx::column;

use super::TransferRow;

/// A transfer that is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewTransfer<'a> {
    /// Its id, a UUID of version 7. Of two with one id the first is begun, so that asking again is safe.
    pub id: Uuid,
    /// Under which other ids it may have begun.
    pub other_months: OtherMonths<'a>,
    /// Who gives.
    pub from: &'a str,
    /// Who receives; not who gives.
    pub to: &'a str,
    /// What is given.
    pub metric: &'a Metric,
    /// Units given, at least 1.
    pub amount: Units,
    /// What the giver says, at most 500 bytes.
    pub note: Option<&'a str>,
    /// Who asks for it: the id of an API key, or `cli`; 1–200 bytes.
    pub actor: &'a str,
    /// The request's id, at most 200 bytes.
    pub request_id: Option<&'a str>,
}

/// What transfers must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferRules {
    /// The fewest units of one transfer.
    pub amount_min: Units,
    /// The most units of a metric that one subject gives from `day_start_at` on; `None` is no bound.
    pub daily_max: Option<Units>,
    /// When the giver's day began.
    pub day_start_at: DateTime<Utc>,
    /// How long a giver waits from one gift to the next; zero is no rule.
    pub giver_rest: Duration,
    /// How long a receiver waits from one gift to the next; zero is no rule.
    pub receiver_rest: Duration,
}

/// Which rule refuses a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferRefusal {
    /// It is of fewer units than the least.
    BelowMinimum,
    /// The giver would give more than a day allows.
    AboveDailyMax {
        /// Units that the giver has given today.
        given: u64,
    },
    /// The giver gave a moment ago.
    GiverRests {
        /// When the giver may give again.
        until: DateTime<Utc>,
    },
    /// The receiver was given something a moment ago.
    ReceiverRests {
        /// When the receiver may be given something again.
        until: DateTime<Utc>,
    },
    /// The receiver has [`Grant::OPEN_MAX`] open grants.
    TooManyGrants,
}

/// What became of a transfer that was to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginOutcome {
    /// It is begun, now or by a call before with the same id or one of another month; the row says how far it is.
    Begun(TransferRow),
    /// A rule does not allow it; nothing is kept.
    Refused(TransferRefusal),
}

// Neither subject need have a row to lock. In the order of names, so that two transfers never wait for each other. The locks
// are the transaction's own, which a pooler that shares sessions allows.
const LOCK_SUBJECTS: &str = "-- lock_subjects
SELECT pg_advisory_xact_lock(hashtextextended('headroom.transfers ' || subject, 0))
FROM unnest($1::text[]) AS subject";

const BEGUN_TRANSFER: &str = "-- begun_transfer
SELECT
    id, from_subject, to_subject, metric, amount, state, requested_at, ended_at, note, actor,
    request_id
FROM transfers WHERE id = $1 OR id = ANY ($2) AND requested_at > $3
ORDER BY id DESC LIMIT 1";

const TRANSFERRED: &str = "-- transferred
SELECT
    (
        SELECT coalesce(sum(amount), 0)::bigint FROM transfers
        WHERE from_subject = $1 AND requested_at >= $4 AND metric = $3 AND state <> 'refused'
    ) AS given,
    (
        SELECT max(requested_at) FROM transfers WHERE from_subject = $1 AND state <> 'refused'
    ) AS given_at,
    (
        SELECT max(requested_at) FROM transfers WHERE to_subject = $2 AND state <> 'refused'
    ) AS received_at";

const BEGIN_TRANSFER: &str = "-- begin_transfer
INSERT INTO transfers (
    id, from_subject, to_subject, metric, amount, note, actor, request_id, requested_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING
    id, from_subject, to_subject, metric, amount, state, requested_at, ended_at, note, actor,
    request_id";

impl Ledger {
    /// Begins a transfer at the instant `at`, if the rules allow it. Of one giver or receiver one is looked at after the other,
    /// so that together they keep to the rules, too; refused transfers do not count. Whether the giver has the units is for
    /// Redis to say.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when giver and receiver are the same or something is out of its bounds.
    /// [`LedgerError::Conflict`] when others take too long.
    pub async fn begin_transfer(
        &self,
        new: &NewTransfer<'_>,
        rules: &TransferRules,
        at: DateTime<Utc>,
    ) -> Result<BeginOutcome, LedgerError> {
        let tx = self.begin().await?;
        let outcome = begin(&tx, new, rules, at).await;
        tx.end(outcome).await
    }
}

async fn begin(
    tx: &Tx,
    new: &NewTransfer<'_>,
    rules: &TransferRules,
    at: DateTime<Utc>,
) -> Result<BeginOutcome, LedgerError> {
    let mut subjects = [new.from, new.to];
    subjects.sort_unstable();
    tx.rows(LOCK_SUBJECTS, &[&subjects.as_slice()]).await?;
    let OtherMonths { ids, since } = new.other_months;
    if let Some(known) = tx.rows(BEGUN_TRANSFER, &[&new.id, &ids, &since]).await?.first() {
        return super::read(known).map(BeginOutcome::Begun);
    }
    let metric = new.metric.as_str();
    let seen = tx.row(TRANSFERRED, &[&new.from, &new.to, &metric, &rules.day_start_at]).await?;
    if let Some(refusal) = refusal(new, rules, at, &seen)? {
        return Ok(BeginOutcome::Refused(refusal));
    }
    if grants::open(tx, new.to, at).await?.len() >= Grant::OPEN_MAX {
        return Ok(BeginOutcome::Refused(TransferRefusal::TooManyGrants));
    }
    let row = tx
        .row(
            BEGIN_TRANSFER,
            &[
                &new.id,
                &new.from,
                &new.to,
                &metric,
                &signed(new.amount.get())?,
                &new.note,
                &new.actor,
                &new.request_id,
                &at,
            ],
        )
        .await?;
    super::read(&row).map(BeginOutcome::Begun)
}

/// The first rule that refuses a transfer, given what both sides transferred before.
fn refusal(
    new: &NewTransfer<'_>,
    rules: &TransferRules,
    at: DateTime<Utc>,
    seen: &Row,
) -> Result<Option<TransferRefusal>, LedgerError> {
    if new.amount < rules.amount_min {
        return Ok(Some(TransferRefusal::BelowMinimum));
    }
    let given = unsigned(column(seen, "given")?)?;
    let after = given.saturating_add(new.amount.get());
    if rules.daily_max.is_some_and(|max| after > max.get()) {
        return Ok(Some(TransferRefusal::AboveDailyMax { given }));
    }
    let rests = |last: Option<DateTime<Utc>>, rest: Duration| {
        last.map(|last| last + rest).filter(|until| *until > at && !rest.is_zero())
    };
    let given_at = rests(column(seen, "given_at")?, rules.giver_rest);
    let received_at = rests(column(seen, "received_at")?, rules.receiver_rest);
    let refusal = given_at.map(|until| TransferRefusal::GiverRests { until });
    Ok(refusal.or(received_at.map(|until| TransferRefusal::ReceiverRests { until })))
}
