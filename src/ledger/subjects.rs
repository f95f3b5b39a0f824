//! The tables `subjects` and `profile_versions`: what is configured for a subject.

use chrono::DateTime;
use chrono::Utc;
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::Signal;
use crate::domain::SignalKind;

use super::Ledger;
use super::audit_log;
use super::audit_log::Act;
use super::convert::json;
use super::convert::signed;
use super::convert::unsigned;
use super::error::LedgerError;
use super::feed;
use super::tx::Tx;
use super::tx::column;

/// What is, or was, configured for a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectRow {
    /// The path of the subject.
    pub subject: String,
    /// Version of the profile; it grows over all subjects.
    pub version: u64,
    /// The profile as an admin put it: JSON text, an object without grants; empty when there is none.
    pub profile: String,
    /// What nodes go by: the profile with the open grants and the restraints, as [`crate::domain::Profile`] reads it; the same
    /// text when there are none.
    pub for_nodes: String,
    /// When the profile was first put, or put again after it was deleted.
    pub created_at: DateTime<Utc>,
    /// When the row last changed.
    pub updated_at: DateTime<Utc>,
    /// Whether there is no profile: it was deleted, or the subject only ever had grants.
    pub is_deleted: bool,
}

/// What a writer saw of a profile before it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This version; 0 when there was no profile, or a deleted one.
    Version(u64),
    /// Whatever there is.
    Any,
}

impl Expected {
    fn fits(self, found: u64) -> bool {
        self == Self::Any || self == Self::Version(found)
    }
}

/// What became of a new profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is in force.
    Put {
        /// Its version.
        version: u64,
        /// When the profile was first put, or put again after it was deleted.
        created_at: DateTime<Utc>,
        /// What nodes go by: the profile with the open grants.
        for_nodes: String,
    },
    /// Another version than the expected one is in force, and stays so.
    Stale {
        /// The version in force; 0 when there is no profile or a deleted one.
        found: u64,
    },
}

/// What became of a profile that was to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// It is deleted.
    Deleted {
        /// The version of its being deleted.
        version: u64,
        /// What nodes go by: nothing but the open grants, which stay.
        for_nodes: String,
    },
    /// Another version than the expected one is in force, and stays so.
    Stale {
        /// The version in force, never 0.
        found: u64,
    },
    /// There was no profile, whatever was expected.
    Absent,
}

/// The most rows in one answer.
const ROWS_MAX: u32 = 1_000;

const SUBJECT: &str = "-- subject
SELECT
    subject, version, profile::text AS profile, created_at, updated_at, is_deleted,
    (
        profile || CASE grants WHEN '[]' THEN '{}' ELSE jsonb_build_object('grants', grants) END
        || CASE restraints
            WHEN '[]' THEN '{}' ELSE jsonb_build_object('restraints', restraints)
        END
    )::text AS for_nodes
FROM subjects WHERE subject = $1";

const SUBJECTS_CHANGED_AFTER: &str = "-- subjects_changed_after
SELECT
    subject, version, profile::text AS profile, created_at, updated_at, is_deleted,
    (
        profile || CASE grants WHEN '[]' THEN '{}' ELSE jsonb_build_object('grants', grants) END
        || CASE restraints
            WHEN '[]' THEN '{}' ELSE jsonb_build_object('restraints', restraints)
        END
    )::text AS for_nodes
FROM subjects WHERE version > $1 ORDER BY version LIMIT $2";

const CONFIGURED_ROOTS: &str = "-- configured_roots
SELECT
    subject, version, profile::text AS profile, created_at, updated_at, is_deleted,
    (
        profile || CASE grants WHEN '[]' THEN '{}' ELSE jsonb_build_object('grants', grants) END
        || CASE restraints
            WHEN '[]' THEN '{}' ELSE jsonb_build_object('restraints', restraints)
        END
    )::text AS for_nodes
FROM subjects
WHERE subject > $1 AND position('/' IN subject) = 0 AND NOT is_deleted
    AND ($2 OR jsonb_path_exists(profile, '$.limits[*].dynamic'))
ORDER BY subject LIMIT $3";

const PROFILE_VERSION: &str = "-- profile_version
SELECT profile_version FROM profile_versions";

// Held until the end of the transaction: versions become visible in their order, and whoever holds it is alone.
const LOCK_PROFILE_VERSION: &str = "-- lock_profile_version
SELECT profile_version FROM profile_versions FOR UPDATE";

const WRITE_SUBJECT: &str = "-- write_subject
WITH drawn AS (
    UPDATE profile_versions SET profile_version = profile_version + 1 RETURNING profile_version
)
INSERT INTO subjects AS stored (subject, version, profile, is_deleted)
SELECT $1, profile_version, $2, $3 FROM drawn
ON CONFLICT (subject) DO UPDATE SET
    version = excluded.version,
    profile = excluded.profile,
    is_deleted = excluded.is_deleted,
    created_at = CASE WHEN stored.is_deleted THEN now() ELSE stored.created_at END,
    updated_at = now()
RETURNING
    version, created_at,
    (
        profile || CASE grants WHEN '[]' THEN '{}' ELSE jsonb_build_object('grants', grants) END
        || CASE restraints
            WHEN '[]' THEN '{}' ELSE jsonb_build_object('restraints', restraints)
        END
    )::text AS for_nodes";

// A subject without a profile gets a row that says that there is none.
const WRITE_GRANTS: &str = "-- write_grants
WITH drawn AS (
    UPDATE profile_versions SET profile_version = profile_version + 1 RETURNING profile_version
)
INSERT INTO subjects AS stored (subject, version, profile, is_deleted, grants)
SELECT $1, profile_version, '{}', true, $2 FROM drawn
ON CONFLICT (subject) DO UPDATE SET
    version = excluded.version, grants = excluded.grants, updated_at = now()
RETURNING
    version,
    (
        profile || CASE grants WHEN '[]' THEN '{}' ELSE jsonb_build_object('grants', grants) END
        || CASE restraints
            WHEN '[]' THEN '{}' ELSE jsonb_build_object('restraints', restraints)
        END
    )::text AS for_nodes";

const WRITE_RESTRAINTS: &str = "-- write_restraints
WITH drawn AS (
    UPDATE profile_versions SET profile_version = profile_version + 1 RETURNING profile_version
)
INSERT INTO subjects AS stored (subject, version, profile, is_deleted, restraints)
SELECT $1, profile_version, '{}', true, $2 FROM drawn
ON CONFLICT (subject) DO UPDATE SET
    version = excluded.version, restraints = excluded.restraints, updated_at = now()
RETURNING
    version,
    (
        profile || CASE grants WHEN '[]' THEN '{}' ELSE jsonb_build_object('grants', grants) END
        || CASE restraints
            WHEN '[]' THEN '{}' ELSE jsonb_build_object('restraints', restraints)
        END
    )::text AS for_nodes";

const RENUMBER_SUBJECTS: &str = "-- renumber_subjects
WITH numbered AS (
    SELECT subject, $1 + row_number() OVER (ORDER BY version) AS version FROM subjects
),
moved AS (
    UPDATE subjects SET version = numbered.version FROM numbered
    WHERE subjects.subject = numbered.subject
    RETURNING subjects.version
)
UPDATE profile_versions
SET profile_version = greatest($1 + 1, (SELECT coalesce(max(version), 0) FROM moved))";

impl Ledger {
    /// Gives every profile a version above `announced`, in their order, unless versions are above it already. For a
    /// ledger that was restored to an earlier point; writes every row of `subjects`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn renumber_subjects(&self, announced: u64) -> Result<(), LedgerError> {
        let tx = self.begin().await?;
        let outcome = renumber(&tx, announced).await;
        tx.end(outcome).await
    }

    /// What is, or was, configured for the subject at `path`; none when nothing ever was.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn subject(&self, path: &str) -> Result<Option<SubjectRow>, LedgerError> {
        let rows = self.connection().await?.rows(SUBJECT, &[&path]).await?;
        rows.first().map(read).transpose()
    }

    /// The rows whose version is above `version`, in the order of versions; at most `limit` and at most 1,000. Whoever goes
    /// on from the last version of the answer misses none.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn subjects_changed_after(
        &self,
        version: u64,
        limit: u32,
    ) -> Result<Vec<SubjectRow>, LedgerError> {
        let limit = i64::from(limit.min(ROWS_MAX));
        let connection = self.connection().await?;
        let rows = connection.rows(SUBJECTS_CHANGED_AFTER, &[&signed(version)?, &limit]).await?;
        rows.iter().map(read).collect()
    }

    /// The roots with a profile, unless `all` only those with a limit of their own that follows usage; those after `after` in
    /// the order of bytes, at most `limit` and at most 1,000.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn configured_roots(
        &self,
        after: &str,
        all: bool,
        limit: u32,
    ) -> Result<Vec<SubjectRow>, LedgerError> {
        let limit = i64::from(limit.min(ROWS_MAX));
        let connection = self.connection().await?;
        let rows = connection.rows(CONFIGURED_ROOTS, &[&after, &all, &limit]).await?;
        rows.iter().map(read).collect()
    }

    /// The last version that a profile was given; 0 before the first.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn profile_version(&self) -> Result<u64, LedgerError> {
        let row = self.connection().await?.row(PROFILE_VERSION, &[]).await?;
        unsigned(column(&row, "profile_version")?)
    }

    /// Makes `profile`, JSON text, the profile of the subject at `path`, if what is in force is as expected, and records
    /// the act with the profiles before and after. The subject's grants stay.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when the profile is no JSON object or above 16 kB, or the act is out of its bounds.
    /// [`LedgerError::Conflict`] when others write for too long.
    pub async fn put_subject(
        &self,
        path: &str,
        expected: Expected,
        profile: &str,
        act: &Act<'_>,
    ) -> Result<PutOutcome, LedgerError> {
        let tx = self.begin().await?;
        let outcome = put(&tx, path, expected, profile, act).await;
        tx.end(outcome).await
    }

    /// Deletes the profile of the subject at `path`, if what is in force is as expected, and records the act with the
    /// profile that was. The row stays, empty but for its grants and with a new version, so that versions only grow.
    ///
    /// # Errors
    ///
    /// As [`Ledger::put_subject`].
    pub async fn delete_subject(
        &self,
        path: &str,
        expected: Expected,
        act: &Act<'_>,
    ) -> Result<DeleteOutcome, LedgerError> {
        let tx = self.begin().await?;
        let outcome = delete(&tx, path, expected, act).await;
        tx.end(outcome).await
    }
}

async fn put(
    tx: &Tx,
    path: &str,
    expected: Expected,
    profile: &str,
    act: &Act<'_>,
) -> Result<PutOutcome, LedgerError> {
    let before = lock(tx, path).await?;
    let found = before.as_ref().map_or(0, |row| row.version);
    if !expected.fits(found) {
        return Ok(PutOutcome::Stale { found });
    }
    let (version, created_at, for_nodes) = write(tx, path, profile, false).await?;
    let before = before.map(|row| row.profile);
    audit_log::insert(tx, act, before.as_deref(), Some(profile)).await?;
    tell(tx, path, version, before.as_deref(), profile).await?;
    Ok(PutOutcome::Put { version, created_at, for_nodes })
}

async fn delete(
    tx: &Tx,
    path: &str,
    expected: Expected,
    act: &Act<'_>,
) -> Result<DeleteOutcome, LedgerError> {
    let Some(before) = lock(tx, path).await? else { return Ok(DeleteOutcome::Absent) };
    if !expected.fits(before.version) {
        return Ok(DeleteOutcome::Stale { found: before.version });
    }
    let (version, _, for_nodes) = write(tx, path, "{}", true).await?;
    audit_log::insert(tx, act, Some(&before.profile), None).await?;
    tell(tx, path, version, Some(&before.profile), "{}").await?;
    Ok(DeleteOutcome::Deleted { version, for_nodes })
}

/// Tells of a new profile, and from which plan to which it went.
async fn tell(
    tx: &Tx,
    path: &str,
    version: u64,
    before: Option<&str>,
    after: &str,
) -> Result<(), LedgerError> {
    let plan = |text: &str| serde_json::from_str(text).ok().map(|it: Value| it["plan"].clone());
    let data = serde_json::json!({
        "version": version,
        "previous_plan": before.and_then(plan),
        "plan": plan(after),
    });
    let subject = Some(path.to_owned());
    let signal = Signal::new(Uuid::now_v7(), SignalKind::Configured, subject, data);
    feed::add(tx, &[], &[signal]).await
}

/// Keeps other writers out until the transaction ends, and answers the profile in force. In two statements: one that had
/// to wait for the lock would read the subject as it was before.
async fn lock(tx: &Tx, path: &str) -> Result<Option<SubjectRow>, LedgerError> {
    lock_versions(tx).await?;
    let rows = tx.rows(SUBJECT, &[&path]).await?;
    let row = rows.first().map(read).transpose()?;
    Ok(row.filter(|row| !row.is_deleted))
}

/// Keeps other writers of profiles and grants out until the transaction ends.
pub(super) async fn lock_versions(tx: &Tx) -> Result<(), LedgerError> {
    tx.row(LOCK_PROFILE_VERSION, &[]).await.map(drop)
}

/// The version of the subject's row and what nodes go by; none when nothing was ever configured.
pub(super) async fn in_force(tx: &Tx, path: &str) -> Result<Option<(u64, String)>, LedgerError> {
    let rows = tx.rows(SUBJECT, &[&path]).await?;
    let row = rows.first().map(read).transpose()?;
    Ok(row.map(|row| (row.version, row.for_nodes)))
}

/// Makes `grants`, a JSON array, the open grants of the subject, and answers the new version and what nodes go by.
pub(super) async fn write_grants(
    tx: &Tx,
    path: &str,
    grants: &str,
) -> Result<(u64, String), LedgerError> {
    let row = tx.row(WRITE_GRANTS, &[&path, &json(grants)?]).await?;
    Ok((unsigned(column(&row, "version")?)?, column(&row, "for_nodes")?))
}

/// Makes `restraints`, a JSON array, what is in force on the subject, and answers the new version and what nodes go by.
pub(super) async fn write_restraints(
    tx: &Tx,
    path: &str,
    restraints: &str,
) -> Result<(u64, String), LedgerError> {
    let row = tx.row(WRITE_RESTRAINTS, &[&path, &json(restraints)?]).await?;
    Ok((unsigned(column(&row, "version")?)?, column(&row, "for_nodes")?))
}

async fn write(
    tx: &Tx,
    path: &str,
    profile: &str,
    is_deleted: bool,
) -> Result<(u64, DateTime<Utc>, String), LedgerError> {
    let row = tx.row(WRITE_SUBJECT, &[&path, &json(profile)?, &is_deleted]).await?;
    let version = unsigned(column(&row, "version")?)?;
    Ok((version, column(&row, "created_at")?, column(&row, "for_nodes")?))
}

async fn renumber(tx: &Tx, announced: u64) -> Result<(), LedgerError> {
    let newest: i64 = column(&tx.row(LOCK_PROFILE_VERSION, &[]).await?, "profile_version")?;
    let announced = signed(announced)?;
    if newest < announced {
        tx.execute(RENUMBER_SUBJECTS, &[&announced]).await?;
    }
    Ok(())
}

fn read(row: &Row) -> Result<SubjectRow, LedgerError> {
    Ok(SubjectRow {
        subject: column(row, "subject")?,
        version: unsigned(column(row, "version")?)?,
        profile: column(row, "profile")?,
        for_nodes: column(row, "for_nodes")?,
        created_at: column(row, "created_at")?,
        updated_at: column(row, "updated_at")?,
        is_deleted: column(row, "is_deleted")?,
    })
}
