//! Random commands and profiles.

use headroom::domain::Period;
use headroom::domain::Units;
use headroom::quota::Ask;
use headroom::quota::NewCount;
use headroom::quota::ResetScope;
use headroom::quota::SetOrder;
use proptest::option;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::catalogues::FEATURES;
use super::catalogues::METRICS;
use super::catalogues::catalogue;
use super::given;
use super::limits::UNITS_MAX;
use super::profiles::calendar;
use super::profiles::profile;
use super::steps::Asked;
use super::steps::Jump;
use super::steps::Step;
use super::steps::Want;
use crate::support::orders::metric;

/// Those that come twice are asked for more often.
pub const PATHS: &[&str] = &[
    "org:a",
    "org:a/user:1",
    "org:a/user:1",
    "org:a/user:1",
    "org:a/user:2",
    "org:a/user:1/project:p",
    "user:1",
    "user:1",
    "user:1/project:q",
    "anonymous:x",
];
const MODELS: &[&str] = &["small", "big-1", "big-2", "big-2", "small", "other"];
/// Instants at which calendars are busy.
const STARTS: &[&str] = &[
    "2026-01-30T22:59:59.999Z",
    "2026-02-28T06:30:00Z",
    "2026-03-08T06:30:00Z",
    "2026-03-29T00:59:30Z",
    "2026-10-25T00:00:00Z",
    "2026-12-31T23:30:00Z",
    "2028-02-28T12:00:00Z",
];

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const DAY_MS: i64 = 1_440 * MINUTE_MS;

/// When a case begins.
pub fn start_ms() -> impl Strategy<Value = i64> {
    let at_ms = |text: &&str| text.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    select(STARTS).prop_map(move |text| at_ms(&text).timestamp_millis())
}

/// A command to one of two nodes.
pub fn step() -> BoxedStrategy<Step> {
    let (node, path) = (0..2_usize, select(PATHS));
    let (at, of) = (node.clone(), path.clone());
    prop_oneof![
        80 => (node.clone(), asked(), want())
            .prop_map(|(node, asked, want)| order(node, asked, want)),
        50 => given::step(node.clone()),
        12 => (node.clone(), path.clone()).prop_map(|(node, path)| Step::Look { node, path }),
        10 => (node.clone(), path.clone(), profile())
            .prop_map(|(node, path, profile)| Step::Put { node, path, profile }),
        3 => (node.clone(), path.clone()).prop_map(|(node, path)| Step::Delete { node, path }),
        3 => (node.clone(), catalogue()).prop_map(|(node, catalogue)| Step::Replace { node, catalogue }),
        5 => (node.clone(), path.clone(), set())
            .prop_map(|(node, path, order)| Step::Set { node, path, order }),
        5 => (at.clone(), of.clone(), scope())
            .prop_map(|(node, path, scope)| Step::Reset { node, path, scope }),
        10 => jump().prop_map(Step::Move),
        8 => (of, any::<bool>())
            .prop_map(|(path, with_profile)| Step::Evict { path, with_profile }),
        1 => Just(Step::ForgetScripts),
        4 => at.prop_map(|node| Step::Flush { node }),
        1 => node.prop_map(|node| Step::Recover { node }),
    ]
    .boxed()
}

fn want() -> impl Strategy<Value = Want> {
    let ttl_s = select(&[1, 5, 30, 61, 300, 3_600, 86_400][..]);
    prop_oneof![
        4 => Just(Want::Consume),
        1 => Just(Want::Check),
        3 => ttl_s.prop_map(|ttl_s| Want::Reserve { ttl_s }),
    ]
}

/// Nothing is never held: the amount of a reserve is 1 at least.
fn order(node: usize, mut asked: Asked, want: Want) -> Step {
    let is_feature = matches!(asked.ask, Ask::Feature(_));
    let want = if is_feature && want.is_hold() { Want::Check } else { want };
    if want.is_hold() {
        asked.amount = asked.amount.max(1);
    }
    Step::Order { node, asked, want }
}

fn asked() -> impl Strategy<Value = Asked> {
    let metric = select(METRICS).prop_map(|name| Ask::Metric(metric(name)));
    let model = select(MODELS).prop_map(|name| Ask::Model(name.to_owned()));
    let feature = select(FEATURES).prop_map(|name| Ask::Feature(name.to_owned()));
    let amount = prop_oneof![20 => 0..4_u64, 1 => Just(40), 1 => Just(1 << 20)];
    let ask = prop_oneof![4 => metric, 4 => model];
    prop_oneof![
        6 => (select(PATHS), ask, amount)
            .prop_map(|(path, ask, amount)| Asked { path, ask, amount, key: None }),
        2 => keyed(),
        1 => (select(PATHS), feature)
            .prop_map(|(path, ask)| Asked { path, ask, amount: 0, key: None }),
    ]
}

/// Under few keys little is asked for, so that the same comes again.
fn keyed() -> impl Strategy<Value = Asked> {
    (select(&PATHS[2..4]), 1..3_u64, 0..3_u8).prop_map(|(path, amount, key)| {
        let ask = Ask::Metric(metric("messages"));
        Asked { path, ask, amount, key: Some(key) }
    })
}

fn set() -> impl Strategy<Value = SetOrder> {
    let units = prop_oneof![6 => 0..25_u64, 1 => Just(UNITS_MAX)];
    let period = option::of(select(&Period::ALL[2..]));
    (select(METRICS), period, units, any::<bool>()).prop_map(|(name, period, units, is_less)| {
        let units = Units::new(units).unwrap();
        let count = if is_less { NewCount::Less(units) } else { NewCount::Absolute(units) };
        SetOrder { metric: metric(name), period, count }
    })
}

fn scope() -> impl Strategy<Value = ResetScope> {
    let name = weighted(0.4, select(METRICS).prop_map(metric));
    (name, weighted(0.3, select(&Period::ALL[..])))
        .prop_map(|(metric, period)| ResetScope { metric, period })
}

fn jump() -> impl Strategy<Value = Jump> {
    let by = select(
        &[
            1,
            SECOND_MS,
            9_999,
            10 * SECOND_MS,
            MINUTE_MS,
            61 * SECOND_MS,
            10 * MINUTE_MS,
            60 * MINUTE_MS,
            DAY_MS,
            3 * DAY_MS,
            31 * DAY_MS,
        ][..],
    );
    let to_end = (select(&Period::ALL[..5]), calendar(), any::<bool>())
        .prop_map(|(period, calendar, before)| Jump::ToEnd { period, calendar, before });
    prop_oneof![by.prop_map(Jump::By), to_end]
}
