//! What is used of grants: added with the log, in the transaction of a flush.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;

use crate::domain::Event;
use crate::domain::Tally;
use crate::domain::event::Delta;
use crate::ledger::convert::instant_ms;
use crate::ledger::convert::signed;
use crate::ledger::error::LedgerError;
use crate::ledger::load::LevelProfile;
use crate::ledger::subjects;
use crate::ledger::tx::Tx;
use crate::ledger::tx::column;

use super::list;

// Rows are locked in the order of their ids, so that two transactions never wait for each other's.
const ADD_TO_GRANTS: &str = "-- add_to_grants
WITH locked AS (SELECT id FROM grants WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE)
UPDATE grants SET used = grants.used + sum.units
FROM unnest($1::bigint[], $2::bigint[]) AS sum (id, units)
JOIN locked ON locked.id = sum.id
WHERE grants.id = sum.id";

// Nobody else changes what is used: the flush has the cursor of the shard. The time is that of the latest event, unless
// Postgres' is later, as when the flush comes long after.
const NO_LONGER_USED_UP: &str = "-- no_longer_used_up
SELECT DISTINCT grants.subject, greatest($3::timestamptz, now()) AS at
FROM unnest($1::bigint[], $2::bigint[]) AS sum (id, units)
JOIN grants ON grants.id = sum.id
WHERE grants.used >= grants.amount AND grants.used + sum.units < grants.amount
    AND grants.revoked_at IS NULL AND (grants.expires_at IS NULL OR grants.expires_at > $3)
ORDER BY 1";

/// Adds what events that are new in the log used of grants, each grant once. A list of open grants that was made while a grant
/// was used up is without it: whoever got units back by a refund has the list made anew. Answers what is configured for those
/// since.
pub(in crate::ledger) async fn add_used(
    tx: &Tx,
    fresh: &[&Event],
) -> Result<Vec<LevelProfile>, LedgerError> {
    let sums = sums(fresh)?;
    if sums.is_empty() {
        return Ok(Vec::new());
    }
    let open_again = open_again(tx, fresh, &sums).await?;
    if !open_again.is_empty() {
        // Before the rows of grants, as whoever makes or revokes one has it.
        subjects::lock_versions(tx).await?;
    }
    let (ids, units): (Vec<i64>, Vec<i64>) = sums.into_iter().unzip();
    tx.execute(ADD_TO_GRANTS, &[&ids, &units]).await?;
    let mut profiles = Vec::with_capacity(open_again.len());
    for (subject, at) in open_again {
        let (version, profile) = list(tx, &subject, at).await?;
        profiles.push(LevelProfile { subject, version, profile });
    }
    Ok(profiles)
}

/// Who gets something back of a grant that is used up and goes on, in the order of names, and when. Nobody is asked for when
/// nothing is given back.
async fn open_again(
    tx: &Tx,
    fresh: &[&Event],
    sums: &BTreeMap<i64, i64>,
) -> Result<Vec<(String, DateTime<Utc>)>, LedgerError> {
    let (ids, units): (Vec<i64>, Vec<i64>) = sums.iter().filter(|(_, units)| **units < 0).unzip();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let last_ms = fresh.iter().map(|event| event.occurred_at_ms).max().unwrap_or(0);
    let rows = tx.rows(NO_LONGER_USED_UP, &[&ids, &units, &instant_ms(last_ms)?]).await?;
    rows.iter().map(|row| Ok((column(row, "subject")?, column(row, "at")?))).collect()
}

/// What events used of each grant.
fn sums(fresh: &[&Event]) -> Result<BTreeMap<i64, i64>, LedgerError> {
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
    Ok(sums)
}
