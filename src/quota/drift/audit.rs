//! The drift auditor: a bounded number of keys a second, for ever.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use super::CounterDrift;
use super::DriftReport;
use crate::ledger::DriftLook;
use crate::ledger::DriftStep;
use crate::ledger::NewDrift;
use crate::quota::Quota;
use crate::quota::error::QuotaError;
use crate::telemetry::names;

/// Findings that a step looks at again.
const AGAIN_MAX: u32 = 20;
/// Findings that a report lists.
const FOUND_MAX: u32 = 100;

impl Quota {
    /// One step: looks at about `keys_max` of Redis' keys and compares the subjects among them, and those that were found
    /// before. What differs in two steps in a row counts as drift. Does nothing but set the gauges when another node took a
    /// step less than its pause ago; this one's pause is `pause`.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away; the step is taken again.
    pub async fn audit_drift(&self, keys_max: u32, pause: Duration) -> Result<(), QuotaError> {
        let step = self.ledger.take_drift_step(pause, AGAIN_MAX).await;
        if let Some(step) = step.map_err(QuotaError::of_ledger)? {
            self.take_step(step, keys_max).await?;
        }
        let sums = self.ledger.drift_sums().await.map_err(QuotaError::of_ledger)?;
        metrics::gauge!(names::DRIFT_UNITS).set(gauge(sums.units));
        metrics::gauge!(names::DRIFT_SUBJECTS).set(gauge(sums.subjects));
        Ok(())
    }

    async fn take_step(&self, step: DriftStep, keys_max: u32) -> Result<(), QuotaError> {
        // A database of more shards may have been restored.
        let (shard, cursor) =
            if step.shard < self.shard_count() { (step.shard, step.cursor) } else { (0, 0) };
        let scanned = self.counters.scan_subjects(shard, cursor, keys_max).await;
        let (cursor, paths) = scanned.map_err(QuotaError::of_counters)?;
        // A scan may name a key twice.
        let mut by_shard: BTreeMap<u16, BTreeSet<String>> = BTreeMap::new();
        by_shard.entry(shard).or_default().extend(paths);
        for (path, shard) in step.again.iter().filter(|(_, shard)| *shard < self.shard_count()) {
            by_shard.entry(*shard).or_default().insert(path.clone());
        }
        let look = self.look_at(by_shard, &step.again).await?;
        metrics::counter!(names::DRIFT_COMPARED_TOTAL).increment(look.compared);
        let (next, is_round_over) = match cursor {
            0 if shard + 1 < self.shard_count() => ((shard + 1, 0), false),
            0 => ((0, 0), true),
            cursor => ((shard, cursor), false),
        };
        let ended = self.ledger.end_drift_step(&look, next, is_round_over).await;
        ended.map_err(QuotaError::of_ledger)
    }

    async fn look_at(
        &self,
        by_shard: BTreeMap<u16, BTreeSet<String>>,
        again: &[(String, u16)],
    ) -> Result<DriftLook, QuotaError> {
        let mut look = DriftLook::default();
        for (shard, paths) in by_shard {
            let paths: Vec<String> = paths.into_iter().collect();
            let comparison = self.compare(shard, &paths).await?;
            look.compared += (comparison.drifted.len() + comparison.clean.len()) as u64;
            look.left_out += comparison.left_out;
            // Nothing was known of the others.
            let mut clean = comparison.clean;
            clean.retain(|path| again.iter().any(|(known, _)| known == path));
            look.clean.append(&mut clean);
            for (subject, counters) in comparison.drifted {
                look.drifted.push(new_drift(subject, shard, &counters)?);
            }
        }
        Ok(look)
    }

    /// What the auditor found: how much differs, the 100 subjects that differ most, and how far it has come.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn drift(&self) -> Result<DriftReport, QuotaError> {
        let of = QuotaError::of_ledger;
        let (round, last_round) = self.ledger.drift_rounds().await.map_err(of)?;
        let sums = self.ledger.drift_sums().await.map_err(of)?;
        let found = self.ledger.drift_page(FOUND_MAX).await.map_err(of)?;
        Ok(DriftReport { sums, round, last_round, found })
    }
}

fn new_drift(
    subject: String,
    shard: u16,
    counters: &[CounterDrift],
) -> Result<NewDrift, QuotaError> {
    let units = counters.iter().map(CounterDrift::units).fold(0, u64::saturating_add);
    let counters = serde_json::to_string(counters);
    let counters = counters.map_err(|error| QuotaError::Internal(error.into()))?;
    Ok(NewDrift { subject, shard, units, counters })
}

fn gauge(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::gauge;

    #[test]
    fn a_gauge_shows_counts_up_to_32_bits() {
        let shown = [0, 3, u64::from(u32::MAX), u64::MAX].map(|count| gauge(count).to_string());

        assert_eq!(shown, ["0", "3", "4294967295", "4294967295"]);
    }
}
