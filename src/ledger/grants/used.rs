//! What is used of grants: added with the log, in the transaction of a flush.

use std::collections::BTreeMap;

use crate::domain::Event;
use crate::domain::Tally;
use crate::domain::event::Delta;
use crate::ledger::convert::signed;
use crate::ledger::error::LedgerError;
use crate::ledger::tx::Tx;

// Rows are locked in the order of their ids, so that two transactions never wait for each other's.
const ADD_TO_GRANTS: &str = "-- add_to_grants
WITH locked AS (SELECT id FROM grants WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE)
UPDATE grants SET used = grants.used + sum.units
FROM unnest($1::bigint[], $2::bigint[]) AS sum (id, units)
JOIN locked ON locked.id = sum.id
WHERE grants.id = sum.id";

/// Adds what events that are new in the log used of grants, each grant once.
pub(in crate::ledger) async fn add_used(tx: &Tx, fresh: &[&Event]) -> Result<(), LedgerError> {
    let is_use = |delta: &&Delta| delta.grant.is_some() && delta.tally == Tally::Used;
    let lines = fresh.iter().flat_map(|event| event.deltas.lines.iter().filter(is_use));
    let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
    for line in lines {
        let id = signed(line.grant.unwrap_or(0))?;
        let sum = sums.entry(id).or_default();
        *sum = sum
            .checked_add(line.units)
            .ok_or_else(|| LedgerError::BadData("a sum of units is above 2^63 - 1".into()))?;
    }
    if sums.is_empty() {
        return Ok(());
    }
    let (ids, units): (Vec<i64>, Vec<i64>) = sums.into_iter().unzip();
    tx.execute(ADD_TO_GRANTS, &[&ids, &units]).await?;
    Ok(())
}
