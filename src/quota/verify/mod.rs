//! The checker behind `headroom verify`: reads both stores and proves the invariants I1–I8 of `docs/ARCHITECTURE.md`.
//!
//! It reads what a load reads, but adds the outbox up by itself, without the scripts and without the links between
//! events, so that a mistake there shows. It is exact under load: a subject and the outbox are read in one transaction of
//! Redis, the counters and the cursor in one snapshot of Postgres before it.

mod shard;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ledger::Disagreement;
use crate::ledger::IncidentRow;

use super::Quota;
use super::error::QuotaError;

/// Differences that are asked for at once.
const DIFFERENCES_MAX: u32 = 10_000;
/// Failures that are named for one invariant; the rest is counted.
const FAILURES_NAMED_MAX: usize = 100;
/// The log, and the lives of units.
const STEPS_BESIDE_SHARDS: u64 = 2;

/// An invariant, how much of it was examined, and what breaks it.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// `I1` … `I8`.
    pub name: &'static str,
    /// What must hold.
    pub about: &'static str,
    /// How many things were looked at.
    pub examined: u64,
    /// How many of them break the invariant.
    pub broken: u64,
    /// The first of them.
    pub failures: Vec<String>,
}

impl Check {
    fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about, examined: 0, broken: 0, failures: Vec::new() }
    }

    fn expect(&mut self, holds: bool, failure: impl FnOnce() -> String) {
        self.examined += 1;
        if !holds {
            self.broken += 1;
            if self.failures.len() < FAILURES_NAMED_MAX {
                self.failures.push(failure());
            }
        }
    }
}

/// What the checker found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// One check an invariant, in order.
    pub checks: Vec<Check>,
    /// Rows in the message log.
    pub events: u64,
    /// Rows in the counters' table.
    pub counters: u64,
    /// Events in the outbox and not yet in Postgres.
    pub pending: u64,
    /// Levels that are loaded in Redis.
    pub loaded: u64,
    /// Recoveries so far.
    pub incidents: u64,
    /// Upper bound of the events that Redis lost so far.
    pub lost_at_most: u64,
    /// Outbox entries that were set aside.
    pub dead_letters: u64,
}

impl Report {
    /// Whether every invariant holds.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.checks.iter().all(|check| check.broken == 0)
    }
}

/// The checks under way.
struct Progress {
    i1: Check,
    i2: Check,
    i3: Check,
    i4: Check,
    i5: Check,
    i6: Check,
    i7: Check,
    i8: Check,
    /// Units above hard limits, by the place of the level in its path, metric and period: an event charges each once at
    /// most.
    excess: BTreeMap<(u8, String, &'static str), u64>,
    pending: u64,
    loaded: u64,
}

impl Progress {
    fn new() -> Self {
        Self {
            i1: Check::new("I1", "a counter in postgres is the sum of its logged events"),
            i2: Check::new(
                "I2",
                "a counter in redis is the one in postgres plus the outbox after the cursor",
            ),
            i3: Check::new(
                "I3",
                "no counter is below zero or above a hard limit by more than redis lost",
            ),
            i4: Check::new("I4", "the outbox is not trimmed past the cursor"),
            i5: Check::new("I5", "the places of events are contiguous from the cursor on"),
            i6: Check::new(
                "I6",
                "both stores agree on the epoch, and no counter is of a later one",
            ),
            i7: Check::new("I7", "an event is in the log once"),
            i8: Check::new(
                "I8",
                "a reservation ends once, holds are those of the open ones, gifts have both sides",
            ),
            excess: BTreeMap::new(),
            pending: 0,
            loaded: 0,
        }
    }
}

fn differs(what: &str, it: &Disagreement) -> String {
    let Disagreement { id, kept, logged } = it;
    format!("{what} {id}: {kept:?} is kept, {logged:?} is logged")
}

impl Quota {
    /// Reads both stores and checks every invariant.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away.
    pub async fn verify(&self) -> Result<Report, QuotaError> {
        self.verify_with(&|| {}).await
    }

    /// How often [`Quota::verify_with`] says that it went on.
    #[must_use]
    pub fn verify_steps(&self) -> u64 {
        u64::from(self.shard_count()) + STEPS_BESIDE_SHARDS
    }

    /// As [`Quota::verify`]; calls `step` whenever a part of the work is done.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away.
    pub async fn verify_with(&self, step: &(dyn Fn() + Sync)) -> Result<Report, QuotaError> {
        let mut progress = Progress::new();
        for shard in 0..self.shard_count() {
            self.verify_shard(shard, &mut progress).await?;
            step();
        }
        self.verify_log(&mut progress).await?;
        step();
        self.verify_lives(&mut progress).await?;
        step();
        let totals = self.ledger.totals().await.map_err(QuotaError::of_ledger)?;
        progress.i7.examined = totals.events;
        progress.i7.broken = totals.duplicates;
        let lost_at_most = self.lost_at_most().await?;
        let excess = progress.excess.values().copied().max().unwrap_or(0);
        let excess_at_most = self.excess_at_most(excess).await?;
        progress.i3.expect(excess <= excess_at_most, || {
            format!("{excess} units above hard limits, but losses explain {excess_at_most} at most")
        });
        let Progress { i1, i2, i3, i4, i5, i6, i7, i8, pending, loaded, .. } = progress;
        Ok(Report {
            checks: vec![i1, i2, i3, i4, i5, i6, i7, i8],
            events: totals.events,
            counters: totals.counters,
            pending,
            loaded,
            incidents: totals.incidents,
            lost_at_most,
            dead_letters: totals.dead_letters,
        })
    }

    async fn verify_log(&self, progress: &mut Progress) -> Result<(), QuotaError> {
        let differences =
            self.ledger.log_sums_differ(DIFFERENCES_MAX).await.map_err(QuotaError::of_ledger)?;
        let totals = self.ledger.totals().await.map_err(QuotaError::of_ledger)?;
        for it in &differences {
            progress.i1.expect(false, || {
                format!(
                    "{} {} {} from {}: {} by the counter {:?}, by the log {:?}",
                    it.subject,
                    it.metric,
                    it.period,
                    it.window_start_s,
                    it.tally,
                    it.counted,
                    it.logged
                )
            });
        }
        progress.i1.examined = totals.counters;
        Ok(())
    }

    /// Reservations, holds, grants and gifts against the events in the log.
    async fn verify_lives(&self, progress: &mut Progress) -> Result<(), QuotaError> {
        let of = QuotaError::of_ledger;
        for it in self.ledger.grants_differ(DIFFERENCES_MAX).await.map_err(of)? {
            progress.i1.expect(false, || differs("grant", &it));
        }
        for it in self.ledger.reservations_differ(DIFFERENCES_MAX).await.map_err(of)? {
            progress.i8.expect(false, || differs("reservation", &it));
        }
        for it in self.ledger.holds_differ(DIFFERENCES_MAX).await.map_err(of)? {
            progress.i8.expect(false, || differs("hold", &it));
        }
        let halves = self.ledger.transfers_differ(DIFFERENCES_MAX).await.map_err(of)?;
        if halves.is_empty() {
            return Ok(());
        }
        // What the giver's shard has not flushed yet looks so, too.
        self.flushed(0..self.shard_count()).await?;
        let still = self.ledger.transfers_differ(DIFFERENCES_MAX).await.map_err(of)?;
        for it in still.iter().filter(|it| halves.iter().any(|half| half.id == it.id)) {
            progress.i8.expect(false, || differs("gift", it));
        }
        Ok(())
    }

    async fn lost_at_most(&self) -> Result<u64, QuotaError> {
        let incidents = self.ledger.incidents(10_000).await.map_err(QuotaError::of_ledger)?;
        Ok(incidents.iter().map(|incident| incident.lost_at_most).sum())
    }

    /// What may have been accepted beyond a limit: what Redis lost, and what it accepted before that was noticed. How many
    /// units a lost event had is not known, and that of the largest in the log is asked for only when it matters.
    async fn excess_at_most(&self, excess: u64) -> Result<u64, QuotaError> {
        let incidents = self.ledger.incidents(10_000).await.map_err(QuotaError::of_ledger)?;
        let units = |detail: &serde_json::Value| detail["units_on_older_state"].as_u64();
        let older: u64 = incidents.iter().filter_map(|it: &IncidentRow| units(&it.detail)).sum();
        let lost: u64 = incidents.iter().map(|it| it.lost_at_most).sum();
        if is_covered(excess, lost, older) {
            return Ok(beyond_at_most(lost, older, 1));
        }
        let largest = self.ledger.largest_charge().await.map_err(QuotaError::of_ledger)?;
        Ok(beyond_at_most(lost, older, largest))
    }
}

/// Whether units above a limit are explained, or stay unexplained, however large the events were that are lost.
const fn is_covered(excess: u64, lost: u64, older: u64) -> bool {
    lost == 0 || excess <= beyond_at_most(lost, older, 1)
}

/// Units that may be above a limit: of `lost` events of at most `largest` units, and `older` that were accepted before it was noticed.
const fn beyond_at_most(lost: u64, older: u64, largest: u64) -> u64 {
    lost.saturating_mul(largest).saturating_add(older)
}

#[cfg(test)]
mod tests {
    use super::Check;
    use super::Disagreement;
    use super::FAILURES_NAMED_MAX;
    use super::beyond_at_most;
    use super::differs;
    use super::is_covered;

    #[test]
    fn a_finding_names_the_row_and_what_both_say() {
        let id = "user:u_1 7".to_owned();
        let row = Disagreement { id, kept: Some("open".to_owned()), logged: None };

        let words = "reservation user:u_1 7: Some(\"open\") is kept, None is logged";
        assert_eq!(differs("reservation", &row), words);
    }

    #[test]
    fn the_largest_event_is_asked_for_when_it_makes_a_difference() {
        let cases = [(0, 0, 0), (9, 0, 2), (5, 3, 2), (6, 3, 2), (5, 5, 0)];

        let covered = cases.map(|(excess, lost, older)| is_covered(excess, lost, older));

        assert_eq!(covered, [true, true, true, false, true]);
        assert_eq!([beyond_at_most(3, 2, 1), beyond_at_most(3, 2, 10)], [5, 32]);
        assert_eq!(beyond_at_most(2, 1, u64::MAX), u64::MAX);
    }

    #[test]
    fn a_check_counts_all_and_names_the_first() {
        let mut check = Check::new("I1", "");

        for number in 0..FAILURES_NAMED_MAX + 2 {
            check.expect(false, || number.to_string());
            check.expect(true, || "no".to_owned());
        }

        let broken = FAILURES_NAMED_MAX as u64 + 2;
        assert_eq!((check.examined, check.broken), (2 * broken, broken));
        let named: Vec<String> = (0..FAILURES_NAMED_MAX).map(|it| it.to_string()).collect();
        assert_eq!(check.failures, named);
    }
}
