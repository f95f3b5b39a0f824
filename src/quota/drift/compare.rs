//! Comparing subjects in Redis with Postgres and the outbox.

use super::CounterDrift;
use crate::quota::Quota;
use crate::quota::error::QuotaError;

/// Subjects compared at once.
const SUBJECTS_MAX: usize = 500;
/// Outbox entries that one comparison reads, of up to 64 events each. A shard with more than that on its way into Postgres is
/// compared later.
const ENTRIES_MAX: u32 = 1_000;

/// What a comparison of subjects of one shard found.
#[derive(Default)]
pub(super) struct Comparison {
    /// Subjects that differ, each with its counters.
    pub(super) drifted: Vec<(String, Vec<CounterDrift>)>,
    /// Subjects that do not, or that are not loaded.
    pub(super) clean: Vec<String>,
    /// Subjects of a shard that cannot be compared now.
    pub(super) left_out: u64,
}

impl Quota {
    /// Compares subjects of a shard. Exact under load: what is counted between the looks at the two stores is in the outbox
    /// after the cursor, which is part of the comparison.
    pub(super) async fn compare(
        &self,
        shard: u16,
        paths: &[String],
    ) -> Result<Comparison, QuotaError> {
        let mut comparison = Comparison::default();
        for group in paths.chunks(SUBJECTS_MAX) {
            let picture = self.picture(shard, group, ENTRIES_MAX).await?;
            if !picture.is_whole() {
                comparison.left_out += group.len() as u64;
                continue;
            }
            let expected = picture.expected_counters();
            let mut clean: Vec<String> = group.to_vec();
            for state in picture.states.iter().filter(|it| it.epoch == picture.base.epoch) {
                let compared = picture.compared(state, &expected);
                let counters: Vec<_> = compared.iter().filter_map(CounterDrift::of).collect();
                if !counters.is_empty() {
                    clean.retain(|path| *path != state.path);
                    comparison.drifted.push((state.path.clone(), counters));
                }
            }
            comparison.clean.append(&mut clean);
        }
        Ok(comparison)
    }
}
