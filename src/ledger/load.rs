//! What a load starts from: counters, holds, grants, profiles and cursor of one instant.

use chrono::DateTime;
use chrono::Utc;
use tokio_postgres::Row;

use crate::domain::Window;

use super::Ledger;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::Params;
use super::tx::column;

/// The counters and profiles of some subjects, and the cursor up to which the counters include the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The shard's epoch.
    pub epoch: u64,
    /// The last event that is in the counters.
    pub seq: u64,
    /// Counters whose windows have not ended, in the order of their keys.
    pub counters: Vec<Counter>,
    /// What open reservations hold of counters of days and longer, in the order of their keys.
    pub held: Vec<HeldCounter>,
    /// The grants of which something is used, in the order of their levels and metrics; revoked ones too, which holds from
    /// before may still be charged to.
    pub grants: Vec<GrantUsed>,
    /// The last version that a profile of any subject was given; 0 before the first.
    pub profile_version: u64,
    /// Profiles of the subjects that have, or once had, one, in the order of their paths.
    pub profiles: Vec<LevelProfile>,
}

/// What is configured for one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelProfile {
    /// The level of a subject.
    pub subject: String,
    /// The profile's version, from 1.
    pub version: u64,
    /// What nodes go by, the profile with its open grants: JSON text, an object; empty when there is nothing of either.
    pub profile: String,
}

/// What open reservations hold of one counter until one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCounter {
    /// The level of a subject.
    pub subject: String,
    /// What is counted.
    pub metric: String,
    /// The period's name; `lifetime` for a grant.
    pub period: String,
    /// First second of the window, in Unix seconds.
    pub window_start_s: i64,
    /// First second after the window, in Unix seconds; of a grant when it ends.
    pub window_end_s: i64,
    /// The grant whose units are held; `None` when they are a limit's.
    pub grant: Option<u64>,
    /// When the units are free by themselves, in Unix seconds.
    pub until_s: i64,
    /// Units held.
    pub units: i64,
}

/// What is used of one grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantUsed {
    /// The level of a subject that has it.
    pub subject: String,
    /// What it is of.
    pub metric: String,
    /// The grant.
    pub id: u64,
    /// When it ends, in Unix seconds.
    pub end_s: i64,
    /// Units used, never 0.
    pub used: i64,
}

/// What is used of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The level of a subject.
    pub subject: String,
    /// What is counted.
    pub metric: String,
    /// The period's name.
    pub period: String,
    /// First second of the window, in Unix seconds.
    pub window_start_s: i64,
    /// First second after the window, in Unix seconds.
    pub window_end_s: i64,
    /// Units used; negative only when something is wrong.
    pub used: i64,
    /// Units carried into the window; `None` when the window before was not carried over, which is not the same as 0.
    pub carried: Option<i64>,
    /// Units that refunds gave back in the window.
    pub refunded: i64,
    /// When an admin last cleared the counter, in Unix milliseconds.
    pub reset_at_ms: Option<i64>,
}

/// One statement is one snapshot: the counters hold exactly the events up to the cursor, and the profiles are those of
/// that instant. A row carries a counter, a hold, a grant, a profile or, when there is none of these, the cursor alone.
#[doc(hidden)]
pub const BASE: &str = "-- base
SELECT
    cursor.epoch, cursor.seq, drawn.profile_version,
    level.subject, level.metric, level.period, level.window_start, level.window_end, level.used,
    level.carried, level.refunded, level.reset_at, level.version, level.profile, level.grant_id,
    level.until
FROM outbox_cursors AS cursor
CROSS JOIN profile_versions AS drawn
LEFT JOIN (
    SELECT
        counter.subject COLLATE \"C\" AS subject, counter.metric, counter.period,
        counter.window_start, counter.window_end, counter.used,
        CASE WHEN counter.rolled_over THEN counter.carried END AS carried, counter.refunded,
        counter.reset_at, NULL::bigint AS version, NULL::text AS profile, NULL::bigint AS grant_id,
        NULL::timestamptz AS until
    FROM usage_counters AS counter
    WHERE counter.subject COLLATE \"C\" = ANY ($2) AND counter.window_end > $3
    UNION ALL
    SELECT
        hold.level, hold.metric, hold.period, hold.window_start, hold.window_end,
        sum(hold.units)::bigint, NULL, NULL, NULL, NULL, NULL, hold.grant_id, hold.until
    FROM reservation_holds AS hold
    WHERE hold.level = ANY ($2) AND hold.until > $3 AND hold.window_end > $3
    GROUP BY
        hold.level, hold.metric, hold.period, hold.window_start, hold.window_end, hold.grant_id,
        hold.until
    UNION ALL
    SELECT
        given.subject, given.metric, NULL, NULL, coalesce(given.expires_at, to_timestamp($4::bigint)),
        given.used, NULL, NULL, NULL, NULL, NULL, given.id, NULL
    FROM grants AS given
    WHERE given.subject = ANY ($2) AND given.used <> 0
        AND (given.expires_at IS NULL OR given.expires_at > $3)
    UNION ALL
    SELECT
        configured.subject, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, configured.version,
        (
            configured.profile
            || CASE configured.grants
                WHEN '[]' THEN '{}' ELSE jsonb_build_object('grants', configured.grants)
            END
            || CASE configured.restraints
                WHEN '[]' THEN '{}' ELSE jsonb_build_object('restraints', configured.restraints)
            END
        )::text, NULL, NULL
    FROM subjects AS configured WHERE configured.subject = ANY ($2)
) AS level ON true
WHERE cursor.shard = $1
ORDER BY
    level.subject, level.metric, level.period, level.window_start, level.grant_id, level.until";

impl Ledger {
    /// The counters, holds and grants of `subjects`, all of `shard`, that end after `ended_after`, with the cursor that they
    /// belong to, and the profiles of `subjects`, in one snapshot.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Internal`] when there is no such shard.
    pub async fn base(
        &self,
        shard: u16,
        subjects: &[&str],
        ended_after: DateTime<Utc>,
    ) -> Result<Base, LedgerError> {
        let connection = self.connection().await?;
        let never_s = Window::LIFETIME.end_s;
        let params: Params<'_> = &[&i64::from(shard), &subjects, &ended_after, &never_s];
        let rows = connection.rows(BASE, params).await?;
        let first = rows.first().ok_or_else(|| LedgerError::Internal("no such shard".into()))?;
        let mut base = Base {
            epoch: unsigned(column(first, "epoch")?)?,
            seq: unsigned(column(first, "seq")?)?,
            counters: Vec::with_capacity(rows.len()),
            held: Vec::new(),
            grants: Vec::new(),
            profile_version: unsigned(column(first, "profile_version")?)?,
            profiles: Vec::new(),
        };
        rows.iter().try_for_each(|row| base.add(row))?;
        Ok(base)
    }
}

impl Base {
    /// Adds what a row carries.
    fn add(&mut self, row: &Row) -> Result<(), LedgerError> {
        let metric: Option<String> = column(row, "metric")?;
        let until: Option<DateTime<Utc>> = column(row, "until")?;
        let grant: Option<i64> = column(row, "grant_id")?;
        match (metric, until, grant) {
            (None, ..) => self.profiles.extend(profile(row)?),
            (Some(metric), None, None) => self.counters.push(counter(row, metric)?),
            (Some(metric), None, Some(id)) => self.grants.push(grant_used(row, metric, id)?),
            (Some(_), Some(_), _) => self.held.push(held(row)?),
        }
        Ok(())
    }
}

/// The hold in a row.
pub(super) fn held(row: &Row) -> Result<HeldCounter, LedgerError> {
    let second = |name| column::<DateTime<Utc>>(row, name).map(|at| at.timestamp());
    let grant: Option<i64> = column(row, "grant_id")?;
    Ok(HeldCounter {
        subject: column(row, "subject")?,
        metric: column(row, "metric")?,
        period: column(row, "period")?,
        window_start_s: second("window_start")?,
        window_end_s: second("window_end")?,
        grant: grant.map(unsigned).transpose()?,
        until_s: second("until")?,
        units: column(row, "used")?,
    })
}

fn grant_used(row: &Row, metric: String, id: i64) -> Result<GrantUsed, LedgerError> {
    Ok(GrantUsed {
        subject: column(row, "subject")?,
        metric,
        id: unsigned(id)?,
        end_s: column::<DateTime<Utc>>(row, "window_end")?.timestamp(),
        used: column(row, "used")?,
    })
}

fn counter(row: &Row, metric: String) -> Result<Counter, LedgerError> {
    let reset_at: Option<DateTime<Utc>> = column(row, "reset_at")?;
    Ok(Counter {
        subject: column(row, "subject")?,
        metric,
        period: column(row, "period")?,
        window_start_s: column::<DateTime<Utc>>(row, "window_start")?.timestamp(),
        window_end_s: column::<DateTime<Utc>>(row, "window_end")?.timestamp(),
        used: column(row, "used")?,
        carried: column(row, "carried")?,
        refunded: column(row, "refunded")?,
        reset_at_ms: reset_at.map(|at| at.timestamp_millis()),
    })
}

/// The profile in a row, if it carries one.
fn profile(row: &Row) -> Result<Option<LevelProfile>, LedgerError> {
    let Some(profile) = column(row, "profile")? else { return Ok(None) };
    let version = unsigned(column(row, "version")?)?;
    Ok(Some(LevelProfile { subject: column(row, "subject")?, version, profile }))
}
