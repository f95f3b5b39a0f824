//! Drift: counters in Redis that are not those of Postgres plus the outbox (I2). Who looks for it, and who mends it.

mod audit;
mod compare;
mod repair;

use chrono::DateTime;
use chrono::Utc;

use crate::counters::Field;
use crate::domain::Period;
use crate::domain::Tally;
use crate::ledger::DriftRound;
use crate::ledger::DriftRow;
use crate::ledger::DriftSums;

use super::picture::Compared;

pub use self::repair::RepairOrder;
pub use self::repair::RepairPlace;
pub use self::repair::Repaired;

/// A counter that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CounterDrift {
    /// What is counted.
    pub metric: String,
    /// The period; `lifetime` for a grant.
    pub period: Period,
    /// The first second of the window; `None` for a grant.
    pub starts_at: Option<DateTime<Utc>>,
    /// The grant, when it is the count of one.
    pub grant: Option<u64>,
    /// `used`, `held`, `carried` or `refunded`.
    pub count: &'static str,
    /// What Redis says.
    pub redis: i64,
    /// What Postgres and the outbox add up to.
    pub postgres: i64,
}

/// What there is to say of drift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftReport {
    /// How much differs.
    pub sums: DriftSums,
    /// The walk under way.
    pub round: DriftRound,
    /// The last whole walk.
    pub last_round: Option<DriftRound>,
    /// What differs, the most first; not all when it is too much.
    pub found: Vec<DriftRow>,
}

impl CounterDrift {
    /// `None` when both stores agree.
    fn of(compared: &Compared<'_>) -> Option<Self> {
        let Compared { field, redis, postgres } = compared;
        let Field { metric, period, at_s, grant, tally, .. } = field;
        let starts_at = grant.is_none().then(|| DateTime::from_timestamp(*at_s, 0)).flatten();
        let count = match tally {
            Tally::Used => "used",
            Tally::Held { .. } => "held",
            Tally::Carried => "carried",
            Tally::Refunded => "refunded",
        };
        (redis != postgres).then(|| Self {
            metric: metric.clone(),
            period: *period,
            starts_at,
            grant: *grant,
            count,
            redis: *redis,
            postgres: *postgres,
        })
    }

    /// By how many units the stores differ.
    const fn units(&self) -> u64 {
        self.redis.abs_diff(self.postgres)
    }
}
