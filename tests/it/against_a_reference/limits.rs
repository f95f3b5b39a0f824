//! Which limits hold for a path, worked out anew: by maps, from the rules as they are written in the documents.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use headroom::domain::Calendar;
use headroom::domain::Catalogue;
use headroom::domain::Limit;
use headroom::domain::Mode;
use headroom::domain::Period;
use headroom::domain::Plan;
use headroom::domain::Portion;
use headroom::domain::Profile;
use headroom::quota::Ask;

/// The largest count there is.
pub const UNITS_MAX: u64 = (1 << 53) - 1;

/// What holds for one level of a path.
pub struct Level<'a> {
    pub path: String,
    pub calendar: Calendar,
    pub limits: Vec<Limit>,
    plan: Option<&'a str>,
    is_blocked: bool,
}

/// What holds for a path, root first.
pub struct Rules<'a> {
    pub levels: Vec<Level<'a>>,
    pub features: BTreeSet<&'a str>,
}

/// A level's name of an entry in a list of limits.
type Entry = (String, Period, Option<String>);

/// The rules of a path.
///
/// # Errors
///
/// The code of the refusal.
pub fn rules<'a>(
    catalogue: &'a Catalogue,
    profiles: &'a BTreeMap<String, Profile>,
    path: &str,
) -> Result<Rules<'a>, String> {
    let paths = levels_of(path);
    let profiles: Vec<Option<&Profile>> = paths.iter().map(|path| profiles.get(path)).collect();
    let mut plans = Vec::new();
    for (place, profile) in profiles.iter().enumerate() {
        let is_last = place + 1 == paths.len();
        let name = plan_name(catalogue, &paths[place], *profile, is_last);
        let plan = name.map(|name| catalogue.plans.get(name).map(|plan| (name, plan)));
        plans.push(plan.map(|it| it.ok_or("no_plan".to_owned())).transpose()?);
    }
    let has_own = profiles.iter().flatten().any(|profile| !profile.limits.is_empty());
    if plans.iter().all(Option::is_none) && !has_own {
        return Err("no_plan".to_owned());
    }
    let entries: Vec<_> = plans.iter().zip(&profiles).map(|it| entries(*it.0, *it.1)).collect();
    let levels = paths.into_iter().enumerate().map(|(place, path)| Level {
        calendar: profiles[place].map_or(Calendar::UTC, Profile::calendar),
        limits: limits_on(&entries, place, scope_of(&path)),
        plan: plans[place].map(|(name, _)| name),
        is_blocked: profiles[place].is_some_and(|profile| profile.blocked),
        path,
    });
    Ok(Rules { levels: levels.collect(), features: features(&plans, &profiles) })
}

impl Rules<'_> {
    pub fn last(&self) -> &Level<'_> {
        &self.levels[self.levels.len() - 1]
    }

    /// The plan that answers name: the deepest.
    pub fn plan(&self) -> String {
        let named = self.levels.iter().rev().find_map(|level| level.plan);
        named.unwrap_or_default().to_owned()
    }

    /// The first level that is blocked.
    pub fn blocked(&self) -> Option<&str> {
        self.levels.iter().find(|level| level.is_blocked).map(|level| level.path.as_str())
    }
}

/// `["org:a", "org:a/user:1"]` of `org:a/user:1`.
fn levels_of(path: &str) -> Vec<String> {
    let segments: Vec<&str> = path.split('/').collect();
    (1..=segments.len()).map(|depth| segments[..depth].join("/")).collect()
}

fn scope_of(path: &str) -> &str {
    path.split('/').next_back().unwrap().split(':').next().unwrap()
}

fn plan_name<'a>(
    catalogue: &'a Catalogue,
    path: &str,
    profile: Option<&'a Profile>,
    is_last: bool,
) -> Option<&'a str> {
    if let Some(name) = profile.and_then(|profile| profile.plan.as_deref()) {
        return Some(name);
    }
    if let Some(name) = catalogue.scope_plans.get(scope_of(path)) {
        return Some(name);
    }
    match (is_last, path.starts_with("anonymous:")) {
        (true, true) => catalogue.anonymous_plan.as_deref(),
        (true, false) => catalogue.default_plan.as_deref(),
        (false, _) => None,
    }
}

/// The limits that a level's plan and profile name, and whether the profile does.
fn entries(
    plan: Option<(&str, &Plan)>,
    profile: Option<&Profile>,
) -> BTreeMap<Entry, (Limit, bool)> {
    let of_plan = plan.into_iter().flat_map(|(_, plan)| &plan.limits).map(|it| (it, false));
    let own = profile.into_iter().flat_map(|profile| &profile.limits).map(|it| (it, true));
    let named = of_plan.chain(own).map(|(limit, is_own)| {
        let each = limit.each.as_ref().map(ToString::to_string);
        ((limit.metric.to_string(), limit.period, each), (limit.clone(), is_own))
    });
    named.collect()
}

/// The limits on the level at `place`: of each metric and period the level's own override, else the tightest of its plan's
/// and of those that levels above set for each of its scope.
fn limits_on(entries: &[BTreeMap<Entry, (Limit, bool)>], place: usize, scope: &str) -> Vec<Limit> {
    let mut chosen: BTreeMap<(String, Period), (u64, Limit)> = BTreeMap::new();
    let own = entries[place].iter().filter(|((_, _, each), _)| each.is_none());
    let above = entries[..place].iter().flatten();
    let above = above.filter(|((_, _, each), _)| each.as_deref() == Some(scope));
    let ranked = own
        .map(|(_, (limit, is_override))| (limit, if *is_override { 0 } else { 1 + ceiling(limit) }))
        .chain(above.map(|(_, (limit, _))| (limit, 1 + ceiling(limit))));
    for (limit, rank) in ranked {
        let name = (limit.metric.to_string(), limit.period);
        let limit = Limit { each: None, ..limit.clone() };
        match chosen.get(&name) {
            Some((known, _)) if *known <= rank => {}
            _ => drop(chosen.insert(name, (rank, limit))),
        }
    }
    chosen.into_values().map(|(_, limit)| limit).collect()
}

/// The count that a limit never lets a charge pass.
pub fn ceiling(limit: &Limit) -> u64 {
    let Some(max) = limit.max else { return UNITS_MAX };
    let max = max.get();
    match (limit.mode, limit.grace) {
        (Mode::Hard, _) => max,
        (Mode::Shadow, _) => UNITS_MAX,
        (Mode::Soft, Portion::Units(units)) => UNITS_MAX.min(max + units.get()),
        (Mode::Soft, Portion::Percent(percent)) => {
            UNITS_MAX.min(max + max * u64::from(percent) / 100)
        }
    }
}

/// The units of a portion of a limit's max.
pub fn portion(portion: Portion, max: u64) -> u64 {
    match portion {
        Portion::Units(units) => units.get(),
        Portion::Percent(percent) => max * u64::from(percent) / 100,
    }
}

/// A bound that a limit has beside its max; a share of no max is none.
fn bound(of: Option<Portion>, limit: &Limit) -> Option<u64> {
    match (of?, limit.max) {
        (Portion::Units(units), _) => Some(units.get()),
        (share, max) => max.map(|max| portion(share, max.get())),
    }
}

/// The most that reservations hold at once.
pub fn hold_max(limit: &Limit) -> Option<u64> {
    bound(limit.hold_max, limit)
}

/// The most that refunds give back in a window.
pub fn refund_max(limit: &Limit) -> Option<u64> {
    bound(limit.refund_max, limit)
}

fn features<'a>(
    plans: &[Option<(&'a str, &'a Plan)>],
    profiles: &[Option<&'a Profile>],
) -> BTreeSet<&'a str> {
    let of_plans = plans.iter().flatten().flat_map(|(_, plan)| &plan.features);
    let mut is_on: BTreeMap<&str, bool> = of_plans.map(|name| (name.as_str(), true)).collect();
    for profile in profiles.iter().flatten() {
        is_on.extend(profile.features.iter().map(|(name, on)| (name.as_str(), *on)));
    }
    is_on.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect()
}

/// What is asked for.
pub struct Charges {
    /// Metrics, and the units that an amount of one charges.
    pub of_one: Vec<(String, u64)>,
    /// The feature that is needed.
    pub feature: Option<String>,
}

/// What the catalogue makes of an ask.
///
/// # Errors
///
/// The code of the refusal.
pub fn charges(catalogue: &Catalogue, path: &str, ask: &Ask) -> Result<Charges, String> {
    match ask {
        Ask::Metric(metric) if catalogue.metrics.contains(metric) => {
            Ok(Charges { of_one: vec![(metric.to_string(), 1)], feature: None })
        }
        Ask::Metric(_) => Err("unknown_metric".to_owned()),
        Ask::Feature(feature) if catalogue.features.contains(feature) => {
            Ok(Charges { of_one: Vec::new(), feature: Some(feature.clone()) })
        }
        Ask::Feature(_) => Err("unknown_feature".to_owned()),
        Ask::Model(model) => {
            let covers =
                |glob: &String| glob.strip_suffix('*').is_some_and(|it| model.starts_with(it));
            let rules = &catalogue.models;
            let exact = rules.iter().find(|rule| rule.names.contains(model));
            let rule = exact.or_else(|| rules.iter().find(|rule| rule.names.iter().any(covers)));
            let rule = rule.ok_or("model_not_allowed")?;
            if path.starts_with("anonymous:") && !rule.anonymous {
                return Err("anonymous_model".to_owned());
            }
            let charges =
                rule.charges.iter().map(|(it, weight)| (it.to_string(), (*weight).into()));
            Ok(Charges { of_one: charges.collect(), feature: rule.feature.clone() })
        }
    }
}
