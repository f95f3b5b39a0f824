//! The table `audit_log`: what admins did.

mod acts;

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Ledger;
use super::convert::json;
use super::convert::signed;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::Tx;
use super::tx::column;

pub(super) use acts::insert_acts;

/// What an admin can do. The names are those of the check on the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Put a subject's profile.
    SubjectPut,
    /// Deleted a subject's profile.
    SubjectDelete,
    /// Cleared counters.
    UsageReset,
    /// Set a counter.
    UsageSet,
    /// Lowered a counter.
    UsageDecrement,
    /// Made counters in Redis again from Postgres and the outbox.
    SubjectRepair,
    /// Gave a subject bonus units, or raised a limit.
    GrantCreate,
    /// Took a grant back.
    GrantRevoke,
    /// Replaced the whole catalogue.
    CatalogueReplace,
    /// Put one plan of the catalogue.
    PlanPut,
    /// Put one model of the catalogue.
    ModelPut,
    /// Made an API key.
    KeyCreate,
    /// Revoked an API key.
    KeyRevoke,
}

impl Action {
    /// The name in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SubjectPut => "subject.put",
            Self::SubjectDelete => "subject.delete",
            Self::UsageReset => "usage.reset",
            Self::UsageSet => "usage.set",
            Self::UsageDecrement => "usage.decrement",
            Self::SubjectRepair => "subject.repair",
            Self::GrantCreate => "grant.create",
            Self::GrantRevoke => "grant.revoke",
            Self::CatalogueReplace => "catalogue.replace",
            Self::PlanPut => "plan.put",
            Self::ModelPut => "model.put",
            Self::KeyCreate => "key.create",
            Self::KeyRevoke => "key.revoke",
        }
    }
}

/// Who does what to what, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act<'a> {
    /// The id of an API key, `cli`, `bootstrap` or `headroom`; 1–200 bytes.
    pub actor: &'a str,
    /// What is done.
    pub action: Action,
    /// What it is done to: a subject, a plan, a model, a key's id or the catalogue; 1–1,000 bytes.
    pub target: &'a str,
    /// Why, in the actor's words; at most 500 bytes.
    pub reason: Option<&'a str>,
    /// The request's id, at most 200 bytes; none outside a request.
    pub request_id: Option<&'a str>,
}

/// An act, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Place in the log: later acts have higher ones.
    pub id: u64,
    /// When it was done.
    pub occurred_at: DateTime<Utc>,
    /// The id of an API key, `cli` or `bootstrap`.
    pub actor: String,
    /// The name of an [`Action`], of a newer version perhaps.
    pub action: String,
    /// What it was done to.
    pub target: String,
    /// Why, in the actor's words.
    pub reason: Option<String>,
    /// What there was, as JSON text.
    pub before: Option<String>,
    /// What there was then, as JSON text.
    pub after: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
}

/// Which acts are asked for: those that fit all that is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter<'a> {
    /// What they were done to.
    pub target: Option<&'a str>,
    /// Who did them.
    pub actor: Option<&'a str>,
    /// Only acts before this one: the id of the last row of the page before.
    pub before_id: Option<u64>,
}

/// The most acts in one answer.
const ACTS_MAX: u32 = 1_000;

const INSERT_ACT: &str = "-- insert_act
INSERT INTO audit_log (actor, action, target, reason, before, after, request_id)
VALUES ($1, $2, $3, $4, $5, $6, $7)";

const AUDIT_PAGE: &str = "-- audit_page
SELECT
    id, occurred_at, actor, action, target, reason, before::text AS before, after::text AS after,
    request_id
FROM audit_log WHERE id < $2";

impl Ledger {
    /// Records an act that changed nothing in the ledger itself. `before` and `after` are JSON texts of at most 64 kB.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when something is longer than its bound or no JSON.
    pub async fn record(
        &self,
        act: &Act<'_>,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<(), LedgerError> {
        let tx = self.begin().await?;
        let outcome = insert(&tx, act, before, after).await;
        tx.end(outcome).await
    }

    /// The acts that fit the filter, the newest first; at most `limit` and at most 1,000. A page costs what it holds,
    /// unless both a target and an actor are asked for.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn audit_page(
        &self,
        filter: AuditFilter<'_>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, LedgerError> {
        let limit = i64::from(limit.min(ACTS_MAX));
        let before_id = filter.before_id.map_or(Ok(i64::MAX), signed)?;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&limit, &before_id];
        params.extend(filter.target.iter().map(|target| target as &(dyn ToSql + Sync)));
        params.extend(filter.actor.iter().map(|actor| actor as &(dyn ToSql + Sync)));
        // A statement for each shape of the filter: one that fits all of them has no index that fits.
        let conditions = match (filter.target, filter.actor) {
            (None, None) => "",
            (Some(_), None) => " AND target = $3",
            (None, Some(_)) => " AND actor = $3",
            (Some(_), Some(_)) => " AND target = $3 AND actor = $4",
        };
        let sql = format!("{AUDIT_PAGE}{conditions} ORDER BY id DESC LIMIT $1");
        let rows = self.connection().await?.rows(&sql, &params).await?;
        rows.iter().map(read).collect()
    }
}

/// Records an act in the transaction that does it.
pub(super) async fn insert(
    tx: &Tx,
    act: &Act<'_>,
    before: Option<&str>,
    after: Option<&str>,
) -> Result<(), LedgerError> {
    let (before, after) = (before.map(json).transpose()?, after.map(json).transpose()?);
    tx.execute(
        INSERT_ACT,
        &[
            &act.actor,
            &act.action.as_str(),
            &act.target,
            &act.reason,
            &before,
            &after,
            &act.request_id,
        ],
    )
    .await?;
    Ok(())
}

fn read(row: &Row) -> Result<AuditRow, LedgerError> {
    Ok(AuditRow {
        id: unsigned(column(row, "id")?)?,
        occurred_at: column(row, "occurred_at")?,
        actor: column(row, "actor")?,
        action: column(row, "action")?,
        target: column(row, "target")?,
        reason: column(row, "reason")?,
        before: column(row, "before")?,
        after: column(row, "after")?,
        request_id: column(row, "request_id")?,
    })
}
