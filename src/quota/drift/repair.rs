//! `headroom repair`: counters in Redis made again from Postgres and the outbox.

use serde_json::json;

use super::CounterDrift;
use crate::counters::LoadOutcome;
use crate::domain::Subject;
use crate::domain::Window;
use crate::ledger::Action;
use crate::quota::Quota;
use crate::quota::actor::Actor;
use crate::quota::error::QuotaError;
use crate::quota::error::Store;
use crate::quota::loader;

/// Keys that a page looks at.
const KEYS_MAX: u32 = 500;
/// Snapshots that are taken before a repair gives up because the outbox is trimmed ahead of each.
const SNAPSHOTS_MAX: usize = 8;
/// Counters that a row of the audit log tells of: keeps it below its bound of 64 kB.
const COUNTERS_MAX: usize = 100;

/// What is to be repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairOrder {
    /// One subject's own level; all loaded subjects when `None`.
    pub subject: Option<Subject>,
    /// Whether nothing is written.
    pub is_dry_run: bool,
}

/// How far a repair of all subjects has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairPlace {
    shard: u16,
    cursor: u64,
}

/// A subject that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Repaired {
    /// The level of a subject.
    pub subject: String,
    /// Its counters that differ.
    pub counters: Vec<CounterDrift>,
    /// Whether they were made again; `false` in a dry run, and when too many of the subject's events are on their way into
    /// Postgres.
    pub repaired: bool,
}

impl Quota {
    /// One page of a repair: finds what differs in two looks in a row, writes a row of the audit log for each, and makes its
    /// counters again from Postgres and the outbox, as a load does. Events are never dropped, and counters of minutes and
    /// hours, which Redis alone keeps, stay. Answers the place of the next page; `None` after the last.
    ///
    /// Postgres is taken at its word: that its counters are the sums of the log is what `headroom verify` proves (I1).
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away; what was repaired stays so, and repairing again is safe.
    pub async fn repair_page(
        &self,
        place: RepairPlace,
        order: &RepairOrder,
        actor: &Actor,
    ) -> Result<(Vec<Repaired>, Option<RepairPlace>), QuotaError> {
        let (shard, paths, next) = match &order.subject {
            Some(subject) => {
                let shard = subject.shard(self.shard_count());
                (shard, vec![subject.as_str().to_owned()], None)
            }
            None => self.scanned(place).await?,
        };
        let suspects = self.compare(shard, &paths).await?;
        let suspects: Vec<String> = suspects.drifted.into_iter().map(|(path, _)| path).collect();
        let mut repaired = Vec::new();
        for (subject, counters) in self.compare(shard, &suspects).await?.drifted {
            let done = !order.is_dry_run && self.repair(shard, &subject, &counters, actor).await?;
            repaired.push(Repaired { subject, counters, repaired: done });
        }
        Ok((repaired, next))
    }

    async fn scanned(
        &self,
        RepairPlace { shard, cursor }: RepairPlace,
    ) -> Result<(u16, Vec<String>, Option<RepairPlace>), QuotaError> {
        let scanned = self.counters.scan_subjects(shard, cursor, KEYS_MAX).await;
        let (cursor, mut paths) = scanned.map_err(QuotaError::of_counters)?;
        paths.sort_unstable();
        paths.dedup();
        let next = match cursor {
            0 if shard + 1 < self.shard_count() => Some(RepairPlace { shard: shard + 1, cursor }),
            0 => None,
            cursor => Some(RepairPlace { shard, cursor }),
        };
        Ok((shard, paths, next))
    }

    /// The audit log first: a row without its repair says more than a repair without its row.
    async fn repair(
        &self,
        shard: u16,
        subject: &str,
        counters: &[CounterDrift],
        actor: &Actor,
    ) -> Result<bool, QuotaError> {
        let told = |count: fn(&CounterDrift) -> i64| {
            let rows = counters.iter().take(COUNTERS_MAX).map(|it| {
                let CounterDrift { metric, period, starts_at, grant, count: of, .. } = it;
                json!({ "metric": metric, "period": period, "starts_at": starts_at, "grant": grant, of.to_owned(): count(it) })
            });
            json!({ "counters": rows.collect::<Vec<_>>(), "in_all": counters.len() }).to_string()
        };
        let (before, after) = (told(|it| it.redis), told(|it| it.postgres));
        let act = actor.act(Action::SubjectRepair, subject);
        let recorded = self.ledger.record(&act, Some(&before), Some(&after)).await;
        recorded.map_err(QuotaError::of_ledger)?;
        let levels = [subject.to_owned()];
        let is_done = self.set_again(shard, &levels).await?;
        if is_done {
            self.ledger.drop_drift(&levels).await.map_err(QuotaError::of_ledger)?;
        }
        Ok(is_done)
    }

    /// `false` when the level has too many events on their way into Postgres. A level that is not loaded needs no repair.
    async fn set_again(&self, shard: u16, levels: &[String]) -> Result<bool, QuotaError> {
        for _ in 0..SNAPSHOTS_MAX {
            let ended_after = self.counters.redis_now() - loader::ENDED_MARGIN;
            let names: Vec<&str> = levels.iter().map(String::as_str).collect();
            let read_after = ended_after - Window::ENDS_APART_MAX;
            let base = self.ledger.base(shard, &names, read_after).await;
            let base = base.map_err(QuotaError::of_ledger)?;
            let snapshot = loader::snapshot(&base, levels, ended_after);
            let outcome = self.counters.repair(shard, &snapshot).await;
            match outcome.map_err(QuotaError::of_counters)? {
                LoadOutcome::Loaded(_) => return Ok(true),
                LoadOutcome::LoadedBut(..) => return Ok(false),
                LoadOutcome::ReadAgain => {}
                LoadOutcome::Fault(_) => return Err(QuotaError::away(Store::Redis)),
            }
        }
        Err(QuotaError::away(Store::Postgres))
    }
}
