//! The table `restraints`: what rules have put on subjects for a while. What is in force stands beside the subject's profile,
//! too, so that one row and one version tell a node all that is configured.

use chrono::DateTime;
use chrono::Utc;
use serde_json::json;
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::domain::Restraint;
use crate::domain::RuleAction;
use crate::domain::Signal;
use crate::domain::SignalKind;

use super::Ledger;
use super::audit_log;
use super::audit_log::Act;
use super::audit_log::Action;
use super::convert::signed;
use super::error::LedgerError;
use super::feed;
use super::subjects;
use super::tx::Tx;
use super::tx::column;

/// Subjects whose restraints are ended in one transaction.
const ENDED_MAX: i64 = 100;

const PUT_RESTRAINT: &str = "-- put_restraint
INSERT INTO restraints (restraint_id, subject, rule, action, reason, ends_at)
SELECT $1, $2, $3, $4, $5, now() + make_interval(secs => $6::bigint)
WHERE (
    SELECT count(*) FROM restraints WHERE subject = $2 AND rule <> $3 AND ended_at IS NULL
) < $7
ON CONFLICT (subject, rule) WHERE ended_at IS NULL DO UPDATE SET
    action = excluded.action, reason = excluded.reason, ends_at = excluded.ends_at
RETURNING rule, action, reason, ends_at";

const IN_FORCE: &str = "-- restraints_in_force
SELECT rule, action, reason, ends_at FROM restraints
WHERE subject = $1 AND ended_at IS NULL ORDER BY rule";

const DUE: &str = "-- due_restraints
SELECT DISTINCT subject FROM restraints
WHERE ended_at IS NULL AND ends_at <= now() ORDER BY subject LIMIT $1";

const END_RESTRAINTS: &str = "-- end_restraints
UPDATE restraints SET ended_at = now()
WHERE subject = $1 AND ended_at IS NULL AND ($2 OR ends_at <= now())
RETURNING rule, action, reason, ends_at";

/// A subject whose restraints have changed, and what is configured for it since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestraintChange {
    /// The level of a subject.
    pub subject: String,
    /// The version of what is configured for it.
    pub version: u64,
    /// What nodes go by.
    pub for_nodes: String,
}

impl Ledger {
    /// Ends the restraints whose time has passed, of at most 100 subjects, and records that. Each is ended once over all nodes.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Conflict`] when others write for too long.
    pub async fn end_due_restraints(&self) -> Result<Vec<RestraintChange>, LedgerError> {
        let rows = self.connection().await?.rows(DUE, &[&ENDED_MAX]).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let tx = self.begin().await?;
        let outcome = end_due(&tx, &rows).await;
        tx.end(outcome).await
    }

    /// Ends all restraints of the subject at `path`, whenever they were to end, and records the act; `None` when there are none.
    ///
    /// # Errors
    ///
    /// As [`Ledger::end_due_restraints`].
    pub async fn lift_restraints(
        &self,
        path: &str,
        act: &Act<'_>,
    ) -> Result<Option<RestraintChange>, LedgerError> {
        let tx = self.begin().await?;
        let outcome = lift(&tx, path, act).await;
        tx.end(outcome).await
    }
}

/// Puts a restraint on a subject, in place of one of the same rule, records it and tells of it. One that finds no room, because
/// others are in force, is left out. The caller holds the lock on versions.
pub(super) async fn put(
    tx: &Tx,
    path: &str,
    rule: &str,
    action: &RuleAction,
    reason: &str,
) -> Result<Option<RestraintChange>, LedgerError> {
    let (id, for_s) = (Uuid::now_v7(), signed(action.for_s())?);
    let most = signed(Restraint::IN_FORCE_MAX as u64)?;
    let rows =
        tx.rows(PUT_RESTRAINT, &[&id, &path, &rule, &Json(action), &reason, &for_s, &most]).await?;
    let Some(restraint) = rows.first().map(read).transpose()? else { return Ok(None) };
    let reason = format!("rule {rule}: {reason}");
    let act = act(Action::RestraintPut, path, &reason);
    audit_log::insert(tx, &act, None, Some(&json!(restraint).to_string())).await?;
    tell(tx, SignalKind::Restrained, path, &restraint).await?;
    list(tx, path).await.map(Some)
}

async fn end_due(tx: &Tx, rows: &[Row]) -> Result<Vec<RestraintChange>, LedgerError> {
    subjects::lock_versions(tx).await?;
    let mut changes = Vec::new();
    for row in rows {
        let path: String = column(row, "subject")?;
        let act = act(Action::RestraintEnd, &path, "its time has passed");
        changes.extend(end(tx, &path, false, &act).await?);
    }
    Ok(changes)
}

async fn lift(tx: &Tx, path: &str, act: &Act<'_>) -> Result<Option<RestraintChange>, LedgerError> {
    subjects::lock_versions(tx).await?;
    end(tx, path, true, act).await
}

/// Ends those of a subject that are due, or all.
async fn end(
    tx: &Tx,
    path: &str,
    all: bool,
    act: &Act<'_>,
) -> Result<Option<RestraintChange>, LedgerError> {
    let rows = tx.rows(END_RESTRAINTS, &[&path, &all]).await?;
    for row in &rows {
        let restraint = read(row)?;
        audit_log::insert(tx, act, Some(&json!(restraint).to_string()), None).await?;
        tell(tx, SignalKind::Unrestrained, path, &restraint).await?;
    }
    if rows.is_empty() { Ok(None) } else { list(tx, path).await.map(Some) }
}

/// Puts what is in force beside the subject's profile, with a new version.
async fn list(tx: &Tx, path: &str) -> Result<RestraintChange, LedgerError> {
    let rows = tx.rows(IN_FORCE, &[&path]).await?;
    let restraints: Vec<Restraint> = rows.iter().map(read).collect::<Result<_, _>>()?;
    let text = json!(restraints).to_string();
    let (version, for_nodes) = subjects::write_restraints(tx, path, &text).await?;
    Ok(RestraintChange { subject: path.to_owned(), version, for_nodes })
}

async fn tell(
    tx: &Tx,
    kind: SignalKind,
    path: &str,
    restraint: &Restraint,
) -> Result<(), LedgerError> {
    let signal = Signal::new(Uuid::now_v7(), kind, Some(path.to_owned()), json!(restraint));
    feed::add(tx, &[], &[signal]).await
}

const fn act<'a>(action: Action, target: &'a str, reason: &'a str) -> Act<'a> {
    Act { actor: "headroom", action, target, reason: Some(reason), request_id: None }
}

fn read(row: &Row) -> Result<Restraint, LedgerError> {
    let ends_at: DateTime<Utc> = column(row, "ends_at")?;
    Ok(Restraint {
        rule: column(row, "rule")?,
        action: column::<Json<RuleAction>>(row, "action")?.0,
        reason: column(row, "reason")?,
        ends_s: ends_at.timestamp(),
    })
}
