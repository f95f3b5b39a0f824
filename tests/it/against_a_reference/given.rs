//! Random ends of holds, refunds, grants and gifts.

use headroom::domain::GrantSource;
use headroom::domain::Period;
use headroom::domain::Units;
use headroom::quota::GrantOrder;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::catalogues::METRICS;
use super::generate::PATHS;
use super::steps::End;
use super::steps::Gift;
use super::steps::Step;
use crate::support::orders::metric;

/// When grants end, in seconds since 1970: some in the first hours of a case, some far off.
const ENDS_S: &[i64] = &[
    1_769_817_600, // 2026-01-31
    1_772_323_200, // 2026-03-01
    1_774_742_400, // 2026-03-29
    1_798_761_600, // 2027-01-01
    1_835_395_200, // 2028-02-29
    1_893_456_000, // 2030-01-01
];

/// A command that ends, gives back or gives.
pub fn step(node: std::ops::Range<usize>) -> impl Strategy<Value = Step> {
    let (at, of, by) = (node.clone(), node.clone(), node.clone());
    prop_oneof![
        24 => (node.clone(), 0..12_usize, end())
            .prop_map(|(node, hold, end)| Step::End { node, hold, end }),
        6 => (of, 0..40_usize, weighted(0.3, 0..2_u8))
            .prop_map(|(node, event, key)| Step::Refund { node, event, key }),
        6 => (at.clone(), select(PATHS), grant())
            .prop_map(|(node, path, order)| Step::Give { node, path, order }),
        2 => (at, 0..12_usize).prop_map(|(node, grant)| Step::Revoke { node, grant }),
        4 => (node, gift()).prop_map(|(node, gift)| Step::Transfer { node, gift }),
        2 => by.prop_map(|node| Step::Sweep { node }),
    ]
}

fn end() -> impl Strategy<Value = End> {
    let amount = prop_oneof![6 => 0..5_u64, 1 => Just(40)];
    prop_oneof![
        5 => (amount, any::<bool>())
            .prop_map(|(amount, is_strict)| End::Commit { amount, is_strict }),
        2 => Just(End::Release),
        2 => select(&[1, 30, 120, 3_600][..]).prop_map(|ttl_s| End::Extend { ttl_s }),
    ]
}

fn grant() -> impl Strategy<Value = GrantOrder> {
    let period = weighted(0.25, select(&Period::ALL[..]));
    let ends = weighted(0.7, select(ENDS_S));
    let source = select(&[GrantSource::Purchase, GrantSource::Purchase, GrantSource::Admin][..]);
    (select(METRICS), 1..9_u64, period, ends, source).prop_map(
        |(name, amount, period, ends_s, source)| GrantOrder {
            metric: metric(name),
            amount: Units::new(amount).unwrap(),
            period,
            expires_at: ends_s.map(|at| chrono::DateTime::from_timestamp(at, 0).unwrap()),
            source,
            note: None,
        },
    )
}

/// Nobody gives to themselves.
fn gift() -> impl Strategy<Value = Gift> {
    let two = (select(PATHS), select(PATHS));
    let two = two.prop_filter("two subjects", |(from, to)| from != to);
    (two, select(METRICS), 1..5_u64).prop_map(|((from, to), name, amount)| Gift {
        from,
        to,
        metric: metric(name),
        amount,
    })
}
