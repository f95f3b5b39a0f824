//! From an order to the sheet it is measured against.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use chrono::DateTime;
use chrono::Utc;

use crate::counters::PackedSheet;
use crate::domain::Amount;
use crate::domain::Block;
use crate::domain::Calendar;
use crate::domain::Catalogue;
use crate::domain::GrantLine;
use crate::domain::LevelLimits;
use crate::domain::LevelLimitsError;
use crate::domain::Limit;
use crate::domain::Line;
use crate::domain::Memo;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Profile;
use crate::domain::Sheet;
use crate::domain::Subject;
use crate::domain::limits_of;

use super::error::MissingFeature;
use super::error::QuotaError;
use super::order::Ask;
use super::order::Order;
use super::profiles::LevelProfiles;

/// Resolutions kept at once. Requests that differ in profiles, scopes, model rule or metric have different ones; past
/// the bound all are made anew.
const RESOLUTIONS_MAX: usize = 8_192;

/// What a resolution depends on, besides the catalogue and the windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    profiles: [u64; Subject::LEVELS_MAX],
    /// A hash, under a key of this process, of the scopes of the path.
    scopes: u64,
    charge: Charge,
}

/// What is charged, as far as the catalogue knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Charge {
    /// A model rule, by its place in the catalogue.
    Model(usize),
    /// One metric.
    Metric(Metric),
    /// Every limit of every level, adding nothing.
    Everything,
    /// No limit: to find out whether profiles are as they are believed to be.
    Nothing,
}

/// What a request is measured against.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The limits; for the script.
    pub(super) sheet: Arc<PackedSheet>,
    /// What the edge makes of those limits. Their windows, and the scopes of the levels, are the same in all answers.
    pub(super) memo: Arc<Memo>,
    /// The features that the subject has.
    pub(super) features: BTreeSet<String>,
    /// Where the subject can get more.
    pub(super) upgrade_url: Option<String>,
    /// The level whose profile refuses every request, and why. An admin's block is told of before a rule's.
    pub(super) block: Option<(u8, Block)>,
    /// The calendar of the last level.
    pub(super) calendar: Calendar,
}

/// A version of the catalogue, and what was resolved by it. A request keeps to one.
pub(super) struct Edition {
    pub(super) version: u64,
    pub(super) catalogue: Catalogue,
    hasher: RandomState,
    resolved: RwLock<HashMap<Key, Arc<Resolved>>>,
}

impl Edition {
    pub(super) fn new(version: u64, catalogue: Catalogue) -> Arc<Self> {
        let (hasher, resolved) = (RandomState::new(), RwLock::default());
        Arc::new(Self { version, catalogue, hasher, resolved })
    }

    /// What an order is measured against at an instant, given the profiles of the subject's levels.
    ///
    /// # Errors
    ///
    /// Which part of the order the catalogue or a profile does not allow.
    pub(super) fn order(
        &self,
        order: &Order,
        profiles: &LevelProfiles,
        at: DateTime<Utc>,
    ) -> Result<Arc<Resolved>, QuotaError> {
        let Order { subject, ask, amount, .. } = order;
        let charge = self.charge(subject, ask)?;
        let needed_feature = self.needed_feature(ask, &charge);
        let resolved = self.resolve(subject, profiles, charge, at)?;
        if let Some((depth, block)) = resolved.block {
            return Err(blocked(subject.level(depth), block, at));
        }
        if let Some(feature) = needed_feature
            && !resolved.features.contains(feature)
        {
            let (feature, upgrade_url) = (feature.to_owned(), resolved.upgrade_url.clone());
            return Err(QuotaError::FeatureNotEntitled(MissingFeature { feature, upgrade_url }));
        }
        for line in &resolved.sheet.sheet.lines {
            amount.weighted(line.weight.get()).map_err(QuotaError::AmountTooLarge)?;
        }
        Ok(resolved)
    }

    /// The limits that an ask charges, whether or not the subject may ask for it.
    ///
    /// # Errors
    ///
    /// As [`Edition::resolve`]; or the catalogue does not know what is asked for.
    pub(super) fn resolve_ask(
        &self,
        subject: &Subject,
        profiles: &LevelProfiles,
        ask: &Ask,
        at: DateTime<Utc>,
    ) -> Result<Arc<Resolved>, QuotaError> {
        self.resolve(subject, profiles, self.charge(subject, ask)?, at)
    }

    fn needed_feature<'a>(&'a self, ask: &'a Ask, charge: &Charge) -> Option<&'a str> {
        match (ask, charge) {
            (Ask::Feature(feature), _) => Some(feature),
            (_, Charge::Model(place)) => self.catalogue.models.get(*place)?.feature.as_deref(),
            _ => None,
        }
    }

    fn charge(&self, subject: &Subject, ask: &Ask) -> Result<Charge, QuotaError> {
        match ask {
            Ask::Metric(metric) if self.catalogue.has_metric(metric.as_str()) => {
                Ok(Charge::Metric(metric.clone()))
            }
            Ask::Metric(_) => Err(QuotaError::UnknownMetric),
            Ask::Feature(feature) if self.catalogue.has_feature(feature) => Ok(Charge::Nothing),
            Ask::Feature(_) => Err(QuotaError::UnknownFeature),
            Ask::Model(model) => {
                let (place, rule) =
                    self.catalogue.model(model).ok_or(QuotaError::ModelNotAllowed)?;
                if subject.is_anonymous() && !rule.anonymous {
                    return Err(QuotaError::AnonymousModel);
                }
                Ok(Charge::Model(place))
            }
        }
    }

    /// What a charge is measured against at an instant.
    ///
    /// # Errors
    ///
    /// [`QuotaError::NoPlan`], or profiles that do not fit the catalogue.
    pub(super) fn resolve(
        &self,
        subject: &Subject,
        profiles: &LevelProfiles,
        charge: Charge,
        at: DateTime<Utc>,
    ) -> Result<Arc<Resolved>, QuotaError> {
        let key = Key { profiles: profiles.ids(), scopes: self.scopes(subject), charge };
        let known = self.resolved.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known.filter(|known| known.sheet.is_current_at(at)) {
            return Ok(known);
        }
        let made = Arc::new(self.make(subject, &profiles.profiles(), &key.charge, at)?);
        let mut resolved = self.resolved.write().unwrap_or_else(PoisonError::into_inner);
        if resolved.len() >= RESOLUTIONS_MAX {
            resolved.clear();
        }
        resolved.insert(key, made.clone());
        Ok(made)
    }

    fn scopes(&self, subject: &Subject) -> u64 {
        let scopes = (1..=subject.depth()).map(|depth| subject.scope(depth));
        let mut names = [""; Subject::LEVELS_MAX];
        names.iter_mut().zip(scopes).for_each(|(name, scope)| *name = scope);
        self.hasher.hash_one(&names[..usize::from(subject.depth())])
    }

    fn make(
        &self,
        subject: &Subject,
        profiles: &[&Profile],
        charge: &Charge,
        at: DateTime<Utc>,
    ) -> Result<Resolved, QuotaError> {
        let mut levels = limits_of(&self.catalogue, subject, profiles).map_err(of_levels)?;
        let grants = live_grants(&mut levels, profiles, at);
        let last = levels.last();
        let plan = levels.iter().rev().find_map(|level| level.plan);
        let sheet = Sheet {
            plan: plan.unwrap_or_default().to_owned(),
            depth: subject.depth(),
            lines: self.lines(&levels, charge, at),
            grants: grants.lines,
            rolling: rolling(&levels, at),
            until_s: grants.until_s,
        };
        let features = last.map(|level| level.features.iter().map(|&name| name.to_owned()));
        let plan = plan.and_then(|name| self.catalogue.plans.get(name));
        Ok(Resolved {
            sheet: Arc::new(PackedSheet::charge(sheet)),
            memo: Arc::default(),
            features: features.into_iter().flatten().collect(),
            upgrade_url: plan.and_then(|plan| plan.upgrade_url.clone()),
            block: block(&levels),
            calendar: last.map_or(Calendar::UTC, |level| level.calendar),
        })
    }

    fn lines(&self, levels: &[LevelLimits<'_>], charge: &Charge, at: DateTime<Utc>) -> Vec<Line> {
        let line = |level: &LevelLimits<'_>, limit: &Limit, weight| {
            Line::at(level.depth, limit.clone(), weight, at, &level.calendar)
        };
        let all = || levels.iter().flat_map(|level| level.limits.iter().map(move |it| (level, it)));
        if *charge == Charge::Everything {
            return all().map(|(level, limit)| line(level, limit, Amount::ZERO)).collect();
        }
        let mut lines = Vec::new();
        for (metric, weight) in self.charged(charge) {
            let known = lines.len();
            let limits = all().filter(|(_, limit)| limit.metric == metric);
            lines.extend(limits.map(|(level, limit)| line(level, limit, weight)));
            // A metric that no level limits is unlimited, and counted by the month on the last.
            if let Some(last) = levels.last().filter(|_| lines.len() == known) {
                lines.push(line(last, &Limit::new(metric, Period::Month, None), weight));
            }
        }
        lines
    }

    /// The metrics of a charge, each with the units that an amount of one adds.
    fn charged(&self, charge: &Charge) -> Vec<(Metric, Amount)> {
        match charge {
            Charge::Everything | Charge::Nothing => Vec::new(),
            Charge::Metric(metric) => vec![(metric.clone(), Amount::ONE)],
            Charge::Model(place) => {
                let rule = &self.catalogue.models[*place];
                let weighted = rule.charges.iter().filter_map(|(metric, weight)| {
                    Some((metric.clone(), Amount::ONE.weighted(*weight).ok()?))
                });
                weighted.collect()
            }
        }
    }
}

/// The grants of levels that have not ended.
struct LiveGrants {
    lines: Vec<GrantLine>,
    /// When the first of them ends, in Unix seconds.
    until_s: Option<i64>,
}

/// Raises the limits that grants raise, and answers those that are bonus units.
fn live_grants(
    levels: &mut [LevelLimits<'_>],
    profiles: &[&Profile],
    at: DateTime<Utc>,
) -> LiveGrants {
    let mut live = LiveGrants { lines: Vec::new(), until_s: None };
    for (level, profile) in levels.iter_mut().zip(profiles) {
        for grant in profile.grants.iter().filter(|grant| grant.end_s() > at.timestamp()) {
            live.until_s = Some(live.until_s.map_or(grant.end_s(), |it| it.min(grant.end_s())));
            match grant.period {
                Some(period) => level.raise(&grant.metric, period, grant.amount),
                None => live.lines.push(GrantLine { depth: level.depth, grant: grant.clone() }),
            }
        }
    }
    live.lines.sort_by_key(|line| (line.depth, line.grant.end_s(), line.grant.id));
    live
}

/// The limits of levels whose windows begin with what those before them left.
fn rolling(levels: &[LevelLimits<'_>], at: DateTime<Utc>) -> Vec<Line> {
    let all = levels.iter().flat_map(|level| level.limits.iter().map(move |it| (level, it)));
    let rolling = all.filter(|(_, limit)| limit.rollover.is_some());
    rolling
        .map(|(level, limit)| {
            Line::at(level.depth, limit.clone(), Amount::ZERO, at, &level.calendar)
        })
        .collect()
}

fn of_levels(error: LevelLimitsError) -> QuotaError {
    match error {
        LevelLimitsError::NoPlan => QuotaError::NoPlan,
        // The plan went while the profile names it: no access until an admin says what the subject has.
        LevelLimitsError::UnknownPlan { .. } => {
            tracing::warn!(%error, "a profile names a plan that is gone");
            QuotaError::NoPlan
        }
        LevelLimitsError::TooManyLimits { .. } => QuotaError::Misconfigured(error),
    }
}

/// Asks for nothing, to find out whether profiles are as they are believed to be.
pub(super) fn nothing(depth: u8) -> Arc<PackedSheet> {
    Arc::new(PackedSheet::charge(Sheet { depth, ..Sheet::default() }))
}
/// The block of the first level that an admin has blocked, or else of the first that a rule has.
fn block(levels: &[LevelLimits<'_>]) -> Option<(u8, Block)> {
    let blocks = || levels.iter().filter_map(|level| Some((level.depth, level.block?)));
    blocks().find(|(_, block)| *block == Block::ByAdmin).or_else(|| blocks().next())
}

fn blocked(level: &str, block: Block, at: DateTime<Utc>) -> QuotaError {
    let level = level.to_owned();
    match block {
        Block::ByAdmin => QuotaError::Blocked(level),
        Block::ByRule { ends_s } => {
            let left_s = ends_s.saturating_sub(at.timestamp());
            QuotaError::Restrained { level, retry_after_s: u64::try_from(left_s).unwrap_or(0) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::domain::Calendar;
    use crate::domain::Grant;
    use crate::domain::Metric;
    use crate::domain::Units;

    use super::*;

    fn level(depth: u8, block: Option<Block>) -> LevelLimits<'static> {
        let (limits, features, calendar) = (Vec::new(), BTreeSet::new(), Calendar::UTC);
        LevelLimits { depth, plan: None, limits, features, calendar, block }
    }

    /// Guards what a refusal says: an admin's block stands until an admin takes it back, however long a rule's is.
    #[test]
    fn an_admin_s_block_goes_before_that_of_a_rule() {
        let by_rule = Block::ByRule { ends_s: 100 };
        let blocks = |first, second| block(&[level(1, first), level(2, second)]);

        assert_eq!(blocks(Some(by_rule), Some(Block::ByAdmin)), Some((2, Block::ByAdmin)));
        assert_eq!(blocks(Some(Block::ByAdmin), Some(by_rule)), Some((1, Block::ByAdmin)));
        assert_eq!(blocks(None, Some(by_rule)), Some((2, by_rule)));
        assert_eq!(blocks(None, None), None);
    }

    #[test]
    fn a_grant_lives_until_the_second_at_which_it_ends() {
        let grant = |id, expires_s| Grant {
            id,
            metric: Metric::new("messages").unwrap(),
            amount: Units::new(5).unwrap(),
            expires_s,
            period: None,
        };
        let grants = vec![grant(1, None), grant(2, Some(101)), grant(3, Some(100))];
        let profile = Profile { grants, ..Profile::NOTHING };
        let at = DateTime::from_timestamp(100, 0).unwrap();

        let live = live_grants(&mut [level(1, None)], &[&profile], at);

        let ids: Vec<u64> = live.lines.iter().map(|line| line.grant.id).collect();
        assert_eq!((ids, live.until_s), (vec![2, 1], Some(101)));
    }
}
