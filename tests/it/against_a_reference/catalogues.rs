//! Random catalogues and limits. Small numbers, few names: what is random has to meet.

use std::collections::BTreeMap;

use headroom::domain::Catalogue;
use headroom::domain::Limit;
use headroom::domain::Metric;
use headroom::domain::Mode;
use headroom::domain::ModelRule;
use headroom::domain::Period;
use headroom::domain::Plan;
use headroom::domain::Portion;
use headroom::domain::Scope;
use headroom::domain::Units;
use proptest::collection::btree_map;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::orders::metric;

pub const METRICS: &[&str] = &["messages", "tokens", "images"];
pub const FEATURES: &[&str] = &["chat", "export"];
pub const PLANS: &[&str] = &["free", "pro", "team"];

/// Limits of which no two are the same entry.
pub fn limits(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Limit>> {
    let entry = |limit: &Limit| (limit.metric.to_string(), limit.period, limit.each.clone());
    vec(limit(), count).prop_map(move |limits| {
        let distinct: BTreeMap<_, _> = limits.into_iter().map(|it| (entry(&it), it)).collect();
        distinct.into_values().collect()
    })
}

fn limit() -> impl Strategy<Value = Limit> {
    let max = prop_oneof![
        1 => Just(None),
        1 => Just(Some(0)),
        6 => (1..12_u64).prop_map(Some),
        2 => Just(Some(40)),
    ];
    let mode = prop_oneof![
        6 => Just((Mode::Hard, Portion::NONE)),
        1 => Just((Mode::Soft, Portion::Percent(50))),
        1 => (0..4_u64).prop_map(|units| (Mode::Soft, Portion::Units(Units::new(units).unwrap()))),
        1 => Just((Mode::Shadow, Portion::NONE)),
    ];
    let each = weighted(0.25, select(&["user", "project"][..]));
    let period = select(&Period::ALL[..]);
    let life = (weighted(0.2, portion()), weighted(0.2, portion()), weighted(0.3, portion()));
    let life = (life, weighted(0.1, Just(())));
    (select(METRICS), period, max, mode, each, any::<bool>(), life).prop_map(
        |(
            name,
            period,
            max,
            (mode, grace),
            each,
            sliding,
            ((hold_max, refund_max, rollover), keeps),
        )| Limit {
            mode,
            grace,
            hold_max,
            refund_max,
            rollover: rollover
                .filter(|_| max.is_some() && Period::Day <= period && period <= Period::Month),
            refundable: keeps.is_none(),
            sliding: sliding && period <= Period::Hour,
            each: each.map(|scope| Scope::new(scope).unwrap()),
            ..Limit::new(metric(name), period, max.map(|max| Units::new(max).unwrap()))
        },
    )
}

fn portion() -> impl Strategy<Value = Portion> {
    prop_oneof![
        (0..6_u64).prop_map(|units| Portion::Units(Units::new(units).unwrap())),
        select(&[20, 50, 100][..]).prop_map(Portion::Percent),
    ]
}

/// A catalogue that may lack the metric `images`, the feature `export` and the plan `team`.
pub fn catalogue() -> impl Strategy<Value = Catalogue> {
    let plans = vec((limits(1..7), any::<bool>(), any::<bool>()), PLANS.len());
    let chosen = (weighted(0.8, 0..2_usize), weighted(0.8, 0..2_usize), weighted(0.4, 0..3_usize));
    (plans, chosen, models(), 0..8_u8).prop_map(|(plans, chosen, models, lacks)| {
        let known = |names: &[&str], lacking: u8| -> Vec<String> {
            let count = names.len() - usize::from(lacks == lacking);
            names[..count].iter().map(|&name| name.to_owned()).collect()
        };
        let metrics: Vec<Metric> = known(METRICS, 1).iter().map(|name| metric(name)).collect();
        let (features, names) = (known(FEATURES, 2), known(PLANS, 3));
        let plans = plans.into_iter().map(|plan| plan_of(plan, &metrics, &features));
        let name = |place: usize| names.get(place).cloned();
        let of_orgs = chosen.2.and_then(name).map(|plan| (Scope::new("org").unwrap(), plan));
        let models = models.into_iter().map(|rule| fitting(rule, &metrics, &features));
        Catalogue {
            default_plan: chosen.0.and_then(name),
            anonymous_plan: chosen.1.and_then(name),
            scope_plans: of_orgs.into_iter().collect(),
            models: models.collect(),
            plans: names.iter().cloned().zip(plans).collect(),
            metrics,
            features,
        }
    })
}

/// A plan with some limits and perhaps both features, as far as the catalogue knows what they name.
fn plan_of(
    (limits, chat, export): (Vec<Limit>, bool, bool),
    metrics: &[Metric],
    features: &[String],
) -> Plan {
    let on = features.iter().zip([chat, export]).filter(|(_, is_on)| *is_on);
    Plan {
        features: on.map(|(name, _)| name.clone()).collect(),
        limits: limits.into_iter().filter(|it| metrics.contains(&it.metric)).collect(),
        ..Plan::default()
    }
}

/// Rules for `small`, for `big-1`, and for all that begins with `big-`.
fn models() -> impl Strategy<Value = Vec<ModelRule>> {
    let charges = btree_map(select(METRICS).prop_map(metric), 0..4_u32, 1..3);
    let feature = weighted(0.3, select(FEATURES).prop_map(str::to_owned));
    let rule = (charges, any::<bool>(), feature);
    vec(rule, 3).prop_map(|rules| {
        let rule = |(name, (charges, anonymous, feature)): (&str, _)| ModelRule {
            names: vec![name.to_owned()],
            charges,
            anonymous,
            feature,
        };
        ["small", "big-*", "big-1"].into_iter().zip(rules).map(rule).collect()
    })
}

/// The rule without what the catalogue lacks.
fn fitting(rule: ModelRule, metrics: &[Metric], features: &[String]) -> ModelRule {
    let mut charges = rule.charges;
    charges.retain(|metric, _| metrics.contains(metric));
    if charges.is_empty() {
        charges.insert(metrics[0].clone(), 1);
    }
    ModelRule { charges, feature: rule.feature.filter(|it| features.contains(it)), ..rule }
}
