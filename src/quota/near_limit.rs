//! Subjects that are near a limit.

use std::collections::BTreeSet;
use std::collections::HashMap;

use crate::domain::Catalogue;
use crate::domain::Metric;
use crate::domain::Profile;
use crate::domain::Subject;
use crate::domain::Units;
use crate::domain::analytics::NearLimit;
use crate::domain::limits_of;
use crate::ledger::OpenCounter;

use super::Quota;
use super::error::QuotaError;

/// The most counters that are looked at: those used most.
const COUNTERS_MAX: u32 = 5_000;

impl Quota {
    /// The counters of the metric with a day's window or a longer one that are at `percent` (1–100) of their limit or
    /// above, nearest first; at most `limit`. Goes by the counters in Postgres, and looks at the 5,000 used most of those
    /// that could be so near.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when the analysts' store is away.
    pub async fn near_limit(
        &self,
        metric: &Metric,
        percent: u8,
        limit: usize,
    ) -> Result<Vec<NearLimit>, QuotaError> {
        let edition = self.edition();
        let Some(lowest) = self.lowest_max(&edition.catalogue, metric).await? else {
            return Ok(Vec::new());
        };
        let used_min = lowest.saturating_mul(percent.into()).div_ceil(100);
        let used_min = i64::try_from(used_min).unwrap_or(i64::MAX);
        let counters = self
            .ledger
            .open_counters(self.counters.redis_now(), metric.as_str(), used_min, COUNTERS_MAX)
            .await;
        let counters = counters.map_err(QuotaError::of_ledger)?;
        let profiles = self.profiles_of(&counters).await?;
        let of_counter = |counter| near(&edition.catalogue, &profiles, metric, counter);
        let mut found: Vec<NearLimit> = counters.iter().filter_map(of_counter).collect();
        found.retain(|it| it.used_permille >= u64::from(percent) * 10);
        found.sort_by(|a, b| (b.used_permille, &a.subject).cmp(&(a.used_permille, &b.subject)));
        found.truncate(limit);
        Ok(found)
    }

    /// The lowest limit on the metric that anybody can have, but 0.
    async fn lowest_max(
        &self,
        catalogue: &Catalogue,
        metric: &Metric,
    ) -> Result<Option<u64>, QuotaError> {
        let own = self.ledger.lowest_max(metric.as_str()).await.map_err(QuotaError::of_ledger)?;
        let limits = catalogue.plans.values().flat_map(|plan| &plan.limits);
        let of_metric = limits.filter(|limit| limit.metric == *metric);
        let planned =
            of_metric.filter_map(|limit| limit.max).map(Units::get).filter(|max| *max > 0);
        Ok(planned.chain(own).min())
    }

    /// The profiles of all levels of the counters' subjects.
    async fn profiles_of(
        &self,
        counters: &[OpenCounter],
    ) -> Result<HashMap<String, Profile>, QuotaError> {
        let subjects: Vec<Subject> =
            counters.iter().filter_map(|it| Subject::parse(&it.subject).ok()).collect();
        let levels: BTreeSet<&str> = subjects.iter().flat_map(Subject::levels).collect();
        let levels: Vec<&str> = levels.into_iter().collect();
        let rows = self.ledger.profiles_of(&levels).await.map_err(QuotaError::of_ledger)?;
        let parsed = rows.into_iter().map(|(subject, profile)| {
            let profile = Profile::parse_stored(&profile);
            Ok((subject, profile.map_err(|error| QuotaError::Internal(error.into()))?))
        });
        parsed.collect()
    }
}

/// How near a counter is to the limit that its subject has now; none when it has no such limit.
fn near(
    catalogue: &Catalogue,
    profiles: &HashMap<String, Profile>,
    metric: &Metric,
    counter: &OpenCounter,
) -> Option<NearLimit> {
    static NOTHING: Profile = Profile::NOTHING;
    let subject = Subject::parse(&counter.subject).ok()?;
    let own: Vec<&Profile> =
        subject.levels().map(|level| profiles.get(level).unwrap_or(&NOTHING)).collect();
    let levels = limits_of(catalogue, &subject, &own).ok()?;
    let mut limits = levels.last()?.limits.iter();
    let limit = limits.find(|it| it.metric == *metric && it.period.as_str() == counter.period)?;
    let max = limit.max.map(Units::get).filter(|max| *max > 0)?;
    let used_permille = u128::from(counter.used) * 1_000 / u128::from(max);
    Some(NearLimit {
        subject: counter.subject.clone(),
        limit: limit.name(),
        used: counter.used,
        max,
        used_permille: u64::try_from(used_permille).unwrap_or(u64::MAX),
        resets_at: counter.window_end,
    })
}
