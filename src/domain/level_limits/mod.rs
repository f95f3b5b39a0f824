//! From a subject and its profiles to the limits that a request is measured against.

use std::collections::BTreeSet;

use super::calendar::Calendar;
use super::catalogue::Catalogue;
use super::limit::Limit;
use super::period::Period;
use super::plan::Plan;
use super::profile::Profile;
use super::restraint::Block;
use super::restraint::Restraint;
use super::subject::Subject;
use super::units::Metric;
use super::units::Units;

/// What holds for one level of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelLimits<'a> {
    /// The level; 1 is the root.
    pub depth: u8,
    /// The level's plan; `None` when it has none.
    pub plan: Option<&'a str>,
    /// The limits on the level, at most [`Catalogue::LIMITS_MAX`] and one for each metric and period: of its plan, its
    /// overrides, and those that levels above set for each of its scope. None of them has an `each` left.
    pub limits: Vec<Limit>,
    /// The features of the path down to this level; the last level's are the request's.
    pub features: BTreeSet<&'a str>,
    /// The calendar that the level's windows follow.
    pub calendar: Calendar,
    /// Why the level's profile refuses every request, if it does.
    pub block: Option<Block>,
}

impl LevelLimits<'_> {
    /// Makes the limit of a metric and a period higher, if the level has it.
    pub fn raise(&mut self, metric: &Metric, period: Period, units: Units) {
        let is_meant = |limit: &&mut Limit| limit.metric == *metric && limit.period == period;
        if let Some(limit) = self.limits.iter_mut().find(is_meant) {
            limit.max = limit.max.map(|max| max.saturating_add(units.get()));
        }
    }
}

/// Why a subject has no limits that a request could be measured against.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelLimitsError {
    /// No level has a plan or a limit of its own: no access.
    #[error("no level has a plan")]
    NoPlan,
    /// A profile names a plan that the catalogue does not define (any more).
    #[error("level {depth} has the plan {plan:?}, which the catalogue does not define")]
    UnknownPlan {
        /// The level.
        depth: u8,
        /// The plan's name.
        plan: String,
    },
    /// Plan, overrides and the levels above give a level more limits than a script may loop over.
    #[error("level {depth} must have at most {} limits, got {count}", Catalogue::LIMITS_MAX)]
    TooManyLimits {
        /// The level.
        depth: u8,
        /// How many it would have.
        count: usize,
    },
}

/// What holds for each level of the subject, root first. `profiles` are those of the levels, root first; a level without
/// one has nothing configured.
///
/// A level's plan is its profile's, else that of its scope, else, on the last level only, the anonymous or the default
/// plan. A limit of the profile replaces the plan's with the same metric, period and `each`. Limits with `each` hold for
/// the deeper levels of that scope. Where several then meet on one metric and period of a level, the level's own override
/// wins, else the one with the lowest ceiling, else the level's own.
///
/// A path has the features of all its plans; profiles switch them on and off, a deeper one after those above it.
///
/// # Errors
///
/// [`LevelLimitsError`]: the subject has no access, or its profiles do not fit the catalogue.
pub fn limits_of<'a>(
    catalogue: &'a Catalogue,
    subject: &Subject,
    profiles: &[&'a Profile],
) -> Result<Vec<LevelLimits<'a>>, LevelLimitsError> {
    static NOTHING: Profile = Profile::NOTHING;
    let profiles = profiles.iter().copied().chain(std::iter::repeat(&NOTHING));
    let levels: Vec<Level<'a>> = (1..=subject.depth())
        .zip(profiles)
        .map(|(depth, profile)| Level::new(catalogue, subject, depth, profile))
        .collect::<Result<_, _>>()?;
    if levels.iter().all(|level| level.plan.is_none() && level.profile.limits.is_empty()) {
        return Err(LevelLimitsError::NoPlan);
    }
    (1..=levels.len()).map(|count| last_of(&levels[..count], subject)).collect()
}

/// What is configured for a level.
struct Level<'a> {
    depth: u8,
    plan: Option<(&'a str, &'a Plan)>,
    profile: &'a Profile,
}

impl<'a> Level<'a> {
    fn new(
        catalogue: &'a Catalogue,
        subject: &Subject,
        depth: u8,
        profile: &'a Profile,
    ) -> Result<Self, LevelLimitsError> {
        let is_last = depth == subject.depth();
        let of_last = if subject.is_anonymous() {
            &catalogue.anonymous_plan
        } else {
            &catalogue.default_plan
        };
        let name = profile.plan.as_ref();
        let name = name.or_else(|| catalogue.scope_plans.get(subject.scope(depth)));
        let Some(name) = name.or_else(|| of_last.as_ref().filter(|_| is_last)) else {
            return Ok(Self { depth, plan: None, profile });
        };
        let unknown = || LevelLimitsError::UnknownPlan { depth, plan: name.clone() };
        let plan = catalogue.plans.get(name).ok_or_else(unknown)?;
        Ok(Self { depth, plan: Some((name, plan)), profile })
    }

    /// The limits of the plan that the profile does not replace, then those of the profile, which are overrides.
    fn limits(&self) -> impl Iterator<Item = (&'a Limit, bool)> {
        let overrides = &self.profile.limits;
        let of_plan = self.plan.map_or(&[][..], |(_, plan)| &plan.limits);
        let kept = of_plan.iter().filter(|it| !overrides.iter().any(|own| own.is_same_entry(it)));
        kept.map(|limit| (limit, false)).chain(overrides.iter().map(|limit| (limit, true)))
    }
}

/// What holds for the last of the levels.
fn last_of<'a>(
    levels: &[Level<'a>],
    subject: &Subject,
) -> Result<LevelLimits<'a>, LevelLimitsError> {
    let [above @ .., level] = levels else { return Err(LevelLimitsError::NoPlan) };
    let depth = level.depth;
    let mut limits = merged(above, level, subject.scope(depth));
    if limits.len() > Catalogue::LIMITS_MAX {
        return Err(LevelLimitsError::TooManyLimits { depth, count: limits.len() });
    }
    restrain(&mut limits, level.profile);
    Ok(LevelLimits {
        depth,
        plan: level.plan.map(|(name, _)| name),
        limits,
        features: features(levels),
        calendar: level.profile.calendar(),
        block: level.profile.block(),
    })
}

fn merged(above: &[Level<'_>], level: &Level<'_>, scope: &str) -> Vec<Limit> {
    let own = level.limits().filter(|(limit, _)| limit.each.is_none());
    let for_each = above.iter().flat_map(Level::limits).filter(|(limit, _)| {
        let each = limit.each.as_ref();
        each.is_some_and(|each| each.as_str() == scope)
    });
    let mut merged: Vec<(Limit, bool)> = Vec::new();
    for (limit, is_override) in own.chain(for_each.map(|(limit, _)| (limit, false))) {
        let limit = Limit { each: None, ..limit.clone() };
        let known = merged.iter_mut().find(|(known, _)| known.is_same_entry(&limit));
        match known {
            None => merged.push((limit, is_override)),
            Some((known, false)) if ceiling(&limit) < ceiling(known) => *known = limit,
            Some(_) => {}
        }
    }
    merged.into_iter().map(|(limit, _)| limit).collect()
}

/// Adds the limits that rules have put on the level, where it has no lower one. A level that is full of limits keeps them.
fn restrain(limits: &mut Vec<Limit>, profile: &Profile) {
    for limit in profile.restraints.iter().filter_map(Restraint::limit) {
        let has_room = limits.len() < Catalogue::LIMITS_MAX;
        match limits.iter_mut().find(|known| known.is_same_entry(&limit)) {
            Some(known) if ceiling(&limit) < ceiling(known) => *known = limit,
            None if has_room => limits.push(limit),
            Some(_) | None => {}
        }
    }
}

fn ceiling(limit: &Limit) -> Units {
    limit.ceiling().unwrap_or(Units::MAX)
}

fn features<'a>(levels: &[Level<'a>]) -> BTreeSet<&'a str> {
    let plans = levels.iter().filter_map(|level| level.plan);
    let mut on: BTreeSet<&str> =
        plans.flat_map(|(_, plan)| plan.features.iter().map(String::as_str)).collect();
    for (feature, is_on) in levels.iter().flat_map(|level| &level.profile.features) {
        if *is_on {
            on.insert(feature);
        } else {
            on.remove(feature.as_str());
        }
    }
    on
}

#[cfg(test)]
mod tests;
