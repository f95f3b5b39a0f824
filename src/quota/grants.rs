//! Grants: bonus units of a subject, and limits that are raised for a while.

use chrono::DateTime;
use chrono::Utc;

use crate::domain::GrantSource;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Subject;
use crate::domain::Units;
use crate::ledger::Action;
use crate::ledger::GrantOutcome;
use crate::ledger::NewGrant;
use crate::ledger::OtherMonths;

use super::Quota;
use super::actor::Actor;
use super::error::QuotaError;
use super::identity;
use super::profiles::level_profile;

pub use crate::ledger::GrantRow;

/// What an idempotency key of a grant belongs to.
const GRANT_CREATE: &str = "grant.create";

/// A grant that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantOrder {
    /// What it is of.
    pub metric: Metric,
    /// How many units, at least 1.
    pub amount: Units,
    /// With a period, the limit of that metric and period is so much higher, and nothing is used up.
    pub period: Option<Period>,
    /// When it ends; `None` is never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Where it comes from.
    pub source: GrantSource,
    /// What is to be said of it, at most 500 bytes.
    pub note: Option<String>,
}

/// Where a grant is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    /// Units of it are left.
    Open,
    /// All of it is used.
    UsedUp,
    /// It has ended with its time.
    Expired,
    /// It was taken back.
    Revoked,
}

impl GrantState {
    /// The name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::UsedUp => "used_up",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// The state of a grant at an instant.
    #[must_use]
    pub fn of(row: &GrantRow, at: DateTime<Utc>) -> Self {
        if row.revoked_at.is_some() {
            Self::Revoked
        } else if row.grant.end_s() <= at.timestamp() {
            Self::Expired
        } else if left(row) == 0 {
            Self::UsedUp
        } else {
            Self::Open
        }
    }
}

/// Units that are not used.
fn left(row: &GrantRow) -> u64 {
    row.grant.amount.get().saturating_sub(u64::try_from(row.used).unwrap_or(0))
}

impl Quota {
    /// Where a grant is in its life now, and how many units of it are left: none of one that is not open.
    #[must_use]
    pub fn standing(&self, row: &GrantRow) -> (GrantState, u64) {
        let state = GrantState::of(row, self.counters.redis_now());
        (state, if state == GrantState::Open { left(row) } else { 0 })
    }

    /// Gives the subject a grant. When this returns, every node goes by it. With the actor's idempotency key one is made,
    /// however often it is asked for while answers are kept, and in the rest of the month.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownMetric`], [`QuotaError::TooManyGrants`], [`QuotaError::Unavailable`].
    pub async fn give_grant(
        &self,
        subject: &Subject,
        order: &GrantOrder,
        actor: &Actor,
    ) -> Result<GrantRow, QuotaError> {
        if !self.has_metric(&order.metric) {
            return Err(QuotaError::UnknownMetric);
        }
        let now = self.counters.redis_now();
        let payload = format!("{order:?}");
        let identity = identity::of_act(GRANT_CREATE, subject, &payload, actor, now);
        let ttl = self.options.idempotency_ttl;
        let ids = identity::of_act_in_other_months(GRANT_CREATE, subject, actor, now, ttl);
        let new = NewGrant {
            event_id: identity.event_id,
            other_months: OtherMonths { ids: &ids, since: now - ttl },
            metric: &order.metric,
            amount: order.amount,
            period: order.period,
            expires_s: order.expires_at.map(|at| at.timestamp()),
            source: order.source,
            note: order.note.as_deref(),
        };
        let act = actor.act(Action::GrantCreate, subject.as_str());
        let made = self.ledger.create_grant(subject.as_str(), &new, now, &act).await;
        match made.map_err(QuotaError::of_ledger)? {
            GrantOutcome::TooManyGrants => Err(QuotaError::TooManyGrants),
            GrantOutcome::Created(change) if !is_as_asked(&change.grant, order) => {
                Err(QuotaError::IdempotencyMismatch)
            }
            GrantOutcome::Created(change) => {
                let path = subject.as_str();
                let profile = level_profile(path, change.version, change.for_nodes);
                self.bring_into_force(profile).await?;
                Ok(change.grant)
            }
        }
    }

    /// Takes a grant back. What was used of it stays used.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownGrant`], [`QuotaError::Unavailable`].
    pub async fn revoke_grant(
        &self,
        subject: &Subject,
        id: u64,
        actor: &Actor,
    ) -> Result<GrantRow, QuotaError> {
        let (path, now) = (subject.as_str(), self.counters.redis_now());
        let act = actor.act(Action::GrantRevoke, path);
        let revoked = self.ledger.revoke_grant(path, id, now, &act).await;
        let change = revoked.map_err(QuotaError::of_ledger)?.ok_or(QuotaError::UnknownGrant)?;
        self.bring_into_force(level_profile(path, change.version, change.for_nodes)).await?;
        Ok(change.grant)
    }

    /// Every grant of the subject, ended and revoked ones too, newest first, at most 1,000. What is used of each is as far as
    /// the log goes.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn grants(&self, subject: &Subject) -> Result<Vec<GrantRow>, QuotaError> {
        self.ledger.grants_of(subject.as_str()).await.map_err(QuotaError::of_ledger)
    }
}

fn is_as_asked(made: &GrantRow, order: &GrantOrder) -> bool {
    let GrantOrder { metric, amount, period, expires_at, source, .. } = order;
    let expires_s = expires_at.map(|at| at.timestamp());
    made.grant.metric == *metric
        && (made.grant.amount, made.grant.period, made.grant.expires_s, made.source)
            == (*amount, *period, expires_s, *source)
}
