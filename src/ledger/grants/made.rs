//! Making a grant: its row, its event in the log, and its place beside the subject's profile.

use chrono::DateTime;
use chrono::Utc;
use serde_json::json;
use uuid::Uuid;

use crate::domain::Grant;
use crate::domain::Period;
use crate::domain::Signal;
use crate::domain::SignalKind;
use crate::domain::Subject;
use crate::ledger::convert;
use crate::ledger::convert::instant_s;
use crate::ledger::convert::signed;
use crate::ledger::error::LedgerError;
use crate::ledger::feed;
use crate::ledger::settings;
use crate::ledger::subjects;
use crate::ledger::tx::Tx;

use super::GrantRow;
use super::NewGrant;
use super::read;
use super::read_grant;

/// When a grant is made, by whom, and for what.
#[derive(Clone, Copy)]
pub(in crate::ledger) struct Made<'a> {
    pub(in crate::ledger) at: DateTime<Utc>,
    pub(in crate::ledger) actor: &'a str,
    pub(in crate::ledger) request_id: Option<&'a str>,
    pub(in crate::ledger) transfer_id: Option<Uuid>,
}

const OPEN_GRANTS: &str = "-- open_grants
SELECT id, metric, amount, expires_at, period FROM grants
WHERE subject = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
    AND (period IS NOT NULL OR used < amount)
ORDER BY expires_at NULLS LAST, id LIMIT $3";

const INSERT_GRANT: &str = "-- insert_grant
INSERT INTO grants (
    event_id, subject, metric, amount, period, expires_at, source, note, created_at, created_by,
    transfer_id
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
RETURNING
    id, subject, metric, amount, used, period, expires_at, source, note, created_at, created_by,
    revoked_at, transfer_id";

// It was not decided in Redis, so it has no place in an epoch; and nothing was counted.
const LOG_GRANT: &str = "-- log_grant
INSERT INTO message_logs (
    event_id, occurred_at, epoch, seq, shard, subject, kind, plan, charges, deltas, request_id,
    metadata, amount, until, settles
) VALUES ($1, $2, 0, 0, $3, $4, 'grant', '', '{}', '[]', $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING";

/// The open grants of a subject: neither revoked, nor expired by `at`, nor used up as far as Postgres knows; the earliest
/// expiry first, at most [`Grant::OPEN_MAX`].
pub(in crate::ledger) async fn open(
    tx: &Tx,
    path: &str,
    at: DateTime<Utc>,
) -> Result<Vec<Grant>, LedgerError> {
    let limit = i64::try_from(Grant::OPEN_MAX).unwrap_or(i64::MAX);
    let rows = tx.rows(OPEN_GRANTS, &[&path, &at, &limit]).await?;
    rows.iter().map(read_grant).collect()
}

/// Puts the open grants of a subject beside its profile, with a new version. Answers that and what nodes go by.
pub(in crate::ledger) async fn list(
    tx: &Tx,
    path: &str,
    at: DateTime<Utc>,
) -> Result<(u64, String), LedgerError> {
    let grants = serde_json::to_string(&open(tx, path, at).await?);
    let grants = grants.map_err(|error| LedgerError::Internal(error.into()))?;
    subjects::write_grants(tx, path, &grants).await
}

/// Inserts a grant and logs its event. Call [`list`] after the last one of a subject.
pub(in crate::ledger) async fn make(
    tx: &Tx,
    path: &str,
    new: &NewGrant<'_>,
    made: &Made<'_>,
) -> Result<GrantRow, LedgerError> {
    let expires_at = new.expires_s.map(instant_s).transpose()?;
    let row = tx
        .row(
            INSERT_GRANT,
            &[
                &new.event_id,
                &path,
                &new.metric.as_str(),
                &signed(new.amount.get())?,
                &new.period.map(Period::as_str),
                &expires_at,
                &new.source.as_str(),
                &new.note,
                &made.at,
                &made.actor,
                &made.transfer_id,
            ],
        )
        .await?;
    let grant = read(&row)?;
    log(tx, new, &grant, made).await?;
    tell(tx, SignalKind::Granted, new.event_id, &grant).await?;
    Ok(grant)
}

/// Tells of a grant that was made or taken back.
pub(super) async fn tell(
    tx: &Tx,
    kind: SignalKind,
    id: Uuid,
    row: &GrantRow,
) -> Result<(), LedgerError> {
    let data = json!({
        "grant": row.grant,
        "used": row.used,
        "source": row.source.as_str(),
        "transfer_id": row.transfer_id,
    });
    feed::add(tx, &[], &[Signal::new(id, kind, Some(row.subject.clone()), data)]).await
}

async fn log(
    tx: &Tx,
    new: &NewGrant<'_>,
    row: &GrantRow,
    made: &Made<'_>,
) -> Result<(), LedgerError> {
    let subject = Subject::parse(&row.subject);
    let subject = subject.map_err(|error| LedgerError::BadData(error.into()))?;
    let shard = i64::from(subject.shard(settings::shards(tx).await?));
    let metadata = json!({
        "grant": row.grant.id,
        "metric": row.grant.metric,
        "period": row.grant.period,
        "source": row.source.as_str(),
    });
    let metadata = metadata.to_string();
    let logged = tx
        .execute(
            LOG_GRANT,
            &[
                &new.event_id,
                &made.at,
                &shard,
                &row.subject,
                &made.request_id,
                &convert::json(&metadata)?,
                &signed(new.amount.get())?,
                &row.grant.expires_s.map(instant_s).transpose()?,
                &made.transfer_id,
            ],
        )
        .await?;
    if logged == 0 {
        return Err(LedgerError::BadData("the event id of the grant is another event's".into()));
    }
    Ok(())
}
