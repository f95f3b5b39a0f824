//! Completing a transfer: what was taken of the giver's grants becomes grants of the receiver.

use chrono::DateTime;
use chrono::Utc;
use sha2::Digest;
use sha2::Sha256;
use uuid::Builder;
use uuid::Uuid;

use crate::domain::GrantSource;
use crate::domain::Units;
use crate::ledger::Ledger;
use crate::ledger::convert::signed;
use crate::ledger::convert::unsigned;
use crate::ledger::error::LedgerError;
use crate::ledger::grants;
use crate::ledger::grants::GrantRow;
use crate::ledger::grants::Made;
use crate::ledger::grants::NewGrant;
use crate::ledger::other_months::OtherMonths;
use crate::ledger::subjects;
use crate::ledger::tx::Tx;
use crate::ledger::tx::column;

use super::LOCK_TRANSFER;
use super::TRANSFER;
use super::TransferRow;
use super::TransferState;
use super::find;

/// A transfer that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The transfer.
    pub transfer: TransferRow,
    /// The receiver's grants: one for each that something was taken of, with the same end.
    pub grants: Vec<GrantRow>,
    /// The version of what is configured for the receiver.
    pub version: u64,
    /// What nodes go by: the receiver's profile with the open grants.
    pub for_nodes: String,
}

const ENDS_OF_GRANTS: &str = "-- ends_of_grants
SELECT id, extract(EPOCH FROM expires_at)::bigint AS expires_s FROM grants
WHERE id = ANY ($1) AND subject = $2 AND metric = $3 ORDER BY id";

const COMPLETE_TRANSFER: &str = "-- complete_transfer
UPDATE transfers SET state = 'done', ended_at = $2 WHERE id = $1";

impl Ledger {
    /// Completes a transfer at the instant `at`: the receiver's grants with their events in the log, the receiver's new version and
    /// the transfer's end, all or nothing. Answers it as it is then, also when it was done before; none when there is none with
    /// that id. `taken` is what the log says that Redis took of which of the giver's grants. That counts for more than a refusal:
    /// of two who go on with a transfer one may find nothing to take before the other finds it.
    ///
    /// A receiver with too many open grants keeps those that end first beside the profile; the others come in when a change of
    /// the receiver's grants finds room.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when `taken` is not the transfer's amount, or not of grants of the giver and the metric.
    /// [`LedgerError::Conflict`] when others write for too long.
    pub async fn complete_transfer(
        &self,
        id: Uuid,
        taken: &[(u64, u64)],
        at: DateTime<Utc>,
    ) -> Result<Option<Completed>, LedgerError> {
        let tx = self.begin().await?;
        let outcome = complete(&tx, id, taken, at).await;
        tx.end(outcome).await
    }
}

async fn complete(
    tx: &Tx,
    id: Uuid,
    taken: &[(u64, u64)],
    at: DateTime<Utc>,
) -> Result<Option<Completed>, LedgerError> {
    let Some(transfer) = find(tx, LOCK_TRANSFER, id).await? else {
        return Ok(None);
    };
    if transfer.state == TransferState::Done {
        let grants = grants::of_transfer(tx, id).await?;
        let in_force = subjects::in_force(tx, &transfer.to).await?;
        let (version, for_nodes) = in_force.unwrap_or_default();
        return Ok(Some(Completed { transfer, grants, version, for_nodes }));
    }
    subjects::lock_versions(tx).await?;
    let grants = give(tx, &transfer, taken, at).await?;
    let (version, for_nodes) = grants::list(tx, &transfer.to, at).await?;
    tx.execute(COMPLETE_TRANSFER, &[&id, &at]).await?;
    let transfer = find(tx, TRANSFER, id).await?.unwrap_or(transfer);
    Ok(Some(Completed { transfer, grants, version, for_nodes }))
}

/// Makes the receiver's grants, in the order of the giver's.
async fn give(
    tx: &Tx,
    transfer: &TransferRow,
    taken: &[(u64, u64)],
    at: DateTime<Utc>,
) -> Result<Vec<GrantRow>, LedgerError> {
    let sum = taken.iter().try_fold(0_u64, |sum, (_, units)| sum.checked_add(*units));
    if sum != Some(transfer.amount.get()) {
        return Err(LedgerError::BadData("what was taken is not the transfer's amount".into()));
    }
    let made = Made {
        at,
        actor: &transfer.actor,
        request_id: transfer.request_id.as_deref(),
        transfer_id: Some(transfer.id),
    };
    let mut grants = Vec::with_capacity(taken.len());
    for (giver, expires_s) in ends(tx, transfer, taken).await? {
        let units = taken.iter().filter(|(id, _)| *id == giver).map(|(_, units)| units).sum();
        let new = NewGrant {
            event_id: event_id(transfer.id, giver),
            other_months: OtherMonths::default(),
            metric: &transfer.metric,
            amount: Units::new(units).map_err(|error| LedgerError::BadData(error.into()))?,
            period: None,
            expires_s,
            source: GrantSource::Gift,
            note: transfer.note.as_deref(),
        };
        grants.push(grants::make(tx, &transfer.to, &new, &made).await?);
    }
    Ok(grants)
}

/// The giver's grants that something was taken of, each with its end in Unix seconds.
async fn ends(
    tx: &Tx,
    transfer: &TransferRow,
    taken: &[(u64, u64)],
) -> Result<Vec<(u64, Option<i64>)>, LedgerError> {
    let ids = taken.iter().filter(|(_, units)| *units > 0).map(|(id, _)| signed(*id));
    let mut ids: Vec<i64> = ids.collect::<Result<_, _>>()?;
    ids.sort_unstable();
    ids.dedup();
    let metric = transfer.metric.as_str();
    let rows = tx.rows(ENDS_OF_GRANTS, &[&ids, &transfer.from, &metric]).await?;
    if rows.len() != ids.len() {
        return Err(LedgerError::BadData("something was taken of a grant of somebody else".into()));
    }
    rows.iter().map(|row| Ok((unsigned(column(row, "id")?)?, column(row, "expires_s")?))).collect()
}

/// The id of the event by which the receiver has what was taken of a grant: of the same millisecond as the transfer, and with
/// it in the same month of the log.
fn event_id(transfer: Uuid, grant: u64) -> Uuid {
    let digest = Sha256::new()
        .chain_update(b"headroom.gift")
        .chain_update(transfer.as_bytes())
        .chain_update(grant.to_be_bytes())
        .finalize();
    let (mut bytes, digest) = (*transfer.as_bytes(), digest.as_slice());
    bytes[6..].copy_from_slice(&digest[..10]);
    Builder::from_bytes(bytes)
        .with_version(uuid::Version::SortRand)
        .with_variant(uuid::Variant::RFC4122)
        .into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gift_has_an_event_of_its_own_in_the_month_of_its_transfer() {
        let transfer = Uuid::now_v7();
        let (a, b) = (event_id(transfer, 1), event_id(transfer, 2));
        assert_eq!(a, event_id(transfer, 1));
        assert_ne!(a, b);
        for id in [a, b] {
            assert_eq!(id.get_version(), Some(uuid::Version::SortRand));
            assert_eq!(id.as_bytes()[..6], transfer.as_bytes()[..6]);
        }
    }
}
