//! The table `grants`: units beside what a plan allows.
//!
//! The open ones of a subject also stand beside its profile (`subjects.grants`), from where nodes have them. A change of a
//! grant is a change of what is configured for its subject: it draws a version, and is made by one writer at a time.

mod made;
mod used;

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::Grant;
use crate::domain::GrantSource;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::SignalKind;
use crate::domain::Units;

use super::Ledger;
use super::audit_log;
use super::audit_log::Act;
use super::convert::signed;
use super::convert::unsigned;
use super::error::LedgerError;
use super::other_months::OtherMonths;
use super::subjects;
use super::tx::Params;
use super::tx::Tx;
use super::tx::column;

pub(super) use made::Made;
pub(super) use made::list;
pub(super) use made::make;
pub(super) use made::open;
pub(super) use used::add_used;

/// A grant that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewGrant<'a> {
    /// The id of its event, a UUID of version 7. Of two with one id the first is made, so that asking again is safe.
    pub event_id: Uuid,
    /// Under which other ids it may have been made.
    pub other_months: OtherMonths<'a>,
    /// What it is of.
    pub metric: &'a Metric,
    /// How many units, at least 1.
    pub amount: Units,
    /// With a period, the limit of that metric and period is `amount` higher, and nothing is used up.
    pub period: Option<Period>,
    /// When it ends, in Unix seconds; `None` is never.
    pub expires_s: Option<i64>,
    /// Where it comes from.
    pub source: GrantSource,
    /// What is to be said of it, at most 500 bytes.
    pub note: Option<&'a str>,
}

/// A grant, as far as what is used of it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRow {
    /// The grant.
    pub grant: Grant,
    /// The level of a subject that has it.
    pub subject: String,
    /// Units used up; negative only when something is wrong. 0 for a raised limit.
    pub used: i64,
    /// Where it comes from.
    pub source: GrantSource,
    /// What was said of it.
    pub note: Option<String>,
    /// When it was given.
    pub created_at: DateTime<Utc>,
    /// Who gave it: the id of an API key, or `cli`.
    pub created_by: String,
    /// When it was revoked, if it was.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The transfer that it is from, if it is from one.
    pub transfer_id: Option<Uuid>,
}

/// A grant that was made or revoked, and what is configured for its subject since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantChange {
    /// The grant.
    pub grant: GrantRow,
    /// The version of what is configured for its subject.
    pub version: u64,
    /// What nodes go by: the subject's profile with its open grants.
    pub for_nodes: String,
}

/// What became of a new grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantOutcome {
    /// It is made, now or by a call before with the same event id or one of another month.
    Created(Box<GrantChange>),
    /// The subject has [`Grant::OPEN_MAX`] open ones.
    TooManyGrants,
}

/// The most rows in one answer.
const ROWS_MAX: i64 = 1_000;

const GRANTS_OF: &str = "-- grants_of
SELECT
    id, subject, metric, amount, used, period, expires_at, source, note, created_at, created_by,
    revoked_at, transfer_id
FROM grants WHERE subject = $1 ORDER BY id DESC LIMIT $2";

const GRANT_OF_EVENT: &str = "-- grant_of_event
SELECT
    id, subject, metric, amount, used, period, expires_at, source, note, created_at, created_by,
    revoked_at, transfer_id
FROM grants WHERE event_id = $1 OR event_id = ANY ($2) AND created_at > $3
ORDER BY event_id DESC LIMIT 1";

const GRANTS_OF_TRANSFER: &str = "-- grants_of_transfer
SELECT
    id, subject, metric, amount, used, period, expires_at, source, note, created_at, created_by,
    revoked_at, transfer_id
FROM grants WHERE transfer_id = $1 ORDER BY id";

const REVOKE_GRANT: &str = "-- revoke_grant
UPDATE grants SET revoked_at = $3 WHERE id = $2 AND subject = $1 AND revoked_at IS NULL
RETURNING
    id, subject, metric, amount, used, period, expires_at, source, note, created_at, created_by,
    revoked_at, transfer_id";

impl Ledger {
    /// Gives the subject at `path` a grant at the instant `at`: the grant, its event in the log, the subject's new version
    /// and the act in the audit log, all or nothing. What had expired by `at` or is used up makes room.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when the path is none, something is out of its bounds, or the event id is another event's.
    /// [`LedgerError::Conflict`] when others write for too long.
    pub async fn create_grant(
        &self,
        path: &str,
        new: &NewGrant<'_>,
        at: DateTime<Utc>,
        act: &Act<'_>,
    ) -> Result<GrantOutcome, LedgerError> {
        let tx = self.begin().await?;
        let outcome = create(&tx, path, new, at, act).await;
        tx.end(outcome).await
    }

    /// Takes the grant `id` of the subject at `path` back at the instant `at`, and records the act. What was used of it stays
    /// used. Answers none, and changes nothing, when the subject has no such grant or it was revoked before.
    ///
    /// # Errors
    ///
    /// As [`Ledger::create_grant`].
    pub async fn revoke_grant(
        &self,
        path: &str,
        id: u64,
        at: DateTime<Utc>,
        act: &Act<'_>,
    ) -> Result<Option<GrantChange>, LedgerError> {
        let tx = self.begin().await?;
        let outcome = revoke(&tx, path, id, at, act).await;
        tx.end(outcome).await
    }

    /// Every grant of the subject at `path`, ended and revoked ones too, the newest first; at most 1,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn grants_of(&self, path: &str) -> Result<Vec<GrantRow>, LedgerError> {
        let rows = self.connection().await?.rows(GRANTS_OF, &[&path, &ROWS_MAX]).await?;
        rows.iter().map(read).collect()
    }
}

/// The grants of a transfer, in the order in which they were made.
pub(super) async fn of_transfer(tx: &Tx, id: Uuid) -> Result<Vec<GrantRow>, LedgerError> {
    let rows = tx.rows(GRANTS_OF_TRANSFER, &[&id]).await?;
    rows.iter().map(read).collect()
}

async fn create(
    tx: &Tx,
    path: &str,
    new: &NewGrant<'_>,
    at: DateTime<Utc>,
    act: &Act<'_>,
) -> Result<GrantOutcome, LedgerError> {
    subjects::lock_versions(tx).await?;
    let OtherMonths { ids, since } = new.other_months;
    if let Some(row) = tx.rows(GRANT_OF_EVENT, &[&new.event_id, &ids, &since]).await?.first() {
        let grant = read(row)?;
        let (version, for_nodes) =
            subjects::in_force(tx, &grant.subject).await?.unwrap_or_default();
        return Ok(GrantOutcome::Created(Box::new(GrantChange { grant, version, for_nodes })));
    }
    if open(tx, path, at).await?.len() >= Grant::OPEN_MAX {
        return Ok(GrantOutcome::TooManyGrants);
    }
    let made = Made { at, actor: act.actor, request_id: act.request_id, transfer_id: None };
    let grant = make(tx, path, new, &made).await?;
    audit_log::insert(tx, act, None, Some(&description(&grant))).await?;
    let (version, for_nodes) = list(tx, path, at).await?;
    Ok(GrantOutcome::Created(Box::new(GrantChange { grant, version, for_nodes })))
}

async fn revoke(
    tx: &Tx,
    path: &str,
    id: u64,
    at: DateTime<Utc>,
    act: &Act<'_>,
) -> Result<Option<GrantChange>, LedgerError> {
    subjects::lock_versions(tx).await?;
    let params: Params<'_> = &[&path, &signed(id)?, &at];
    let rows = tx.rows(REVOKE_GRANT, params).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let grant = read(row)?;
    audit_log::insert(tx, act, Some(&description(&grant)), None).await?;
    made::tell(tx, SignalKind::GrantRevoked, Uuid::now_v7(), &grant).await?;
    let (version, for_nodes) = list(tx, path, at).await?;
    Ok(Some(GrantChange { grant, version, for_nodes }))
}

/// What the audit log says of a grant.
fn description(row: &GrantRow) -> String {
    serde_json::json!({
        "grant": row.grant,
        "used": row.used,
        "source": row.source.as_str(),
        "note": row.note,
    })
    .to_string()
}

fn read(row: &Row) -> Result<GrantRow, LedgerError> {
    let unknown =
        |what: &str| LedgerError::Internal(format!("a grant of an unknown {what}").into());
    let source: String = column(row, "source")?;
    Ok(GrantRow {
        grant: read_grant(row)?,
        subject: column(row, "subject")?,
        used: column(row, "used")?,
        source: GrantSource::named(&source).ok_or_else(|| unknown("source"))?,
        note: column(row, "note")?,
        created_at: column(row, "created_at")?,
        created_by: column(row, "created_by")?,
        revoked_at: column(row, "revoked_at")?,
        transfer_id: column(row, "transfer_id")?,
    })
}

/// The grant in a row.
fn read_grant(row: &Row) -> Result<Grant, LedgerError> {
    let unknown =
        |what: &str| LedgerError::Internal(format!("a grant of an unknown {what}").into());
    let metric: String = column(row, "metric")?;
    let period: Option<String> = column(row, "period")?;
    let period = period.map(|name| Period::named(&name).ok_or_else(|| unknown("period")));
    let expires_at: Option<DateTime<Utc>> = column(row, "expires_at")?;
    Ok(Grant {
        id: unsigned(column(row, "id")?)?,
        metric: Metric::new(&metric).map_err(|_| unknown("metric"))?,
        amount: Units::new(unsigned(column(row, "amount")?)?).map_err(|_| unknown("amount"))?,
        expires_s: expires_at.map(|at| at.timestamp()),
        period: period.transpose()?,
    })
}
