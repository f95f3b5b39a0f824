//! Random profiles and calendars.

use headroom::domain::AnchorDay;
use headroom::domain::Calendar;
use headroom::domain::Profile;
use proptest::collection::btree_map;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::catalogues::FEATURES;
use super::catalogues::PLANS;
use super::catalogues::limits;

/// Some begin a day together and end it apart, when clocks are put forward or back.
const ZONES: &[&str] = &[
    "UTC",
    "UTC",
    "America/New_York",
    "Antarctica/Troll",
    "Asia/Kolkata",
    "Europe/Berlin",
    "Europe/London",
    "Pacific/Apia",
];
/// Of these the last three begin February's month together and end it apart.
const ANCHORS: &[i64] = &[1, 15, 28, 30, 31];
pub fn calendar() -> impl Strategy<Value = Calendar> {
    (select(ZONES), select(ANCHORS)).prop_map(|(zone, day)| Calendar::parse(zone, day).unwrap())
}

pub fn profile() -> impl Strategy<Value = Profile> {
    let calendar = prop_oneof![2 => Just(Calendar::UTC), 3 => calendar()];
    let features = btree_map(select(FEATURES).prop_map(str::to_owned), any::<bool>(), 0..2);
    (weighted(0.5, select(PLANS)), limits(0..3), features, calendar, weighted(0.1, Just(())))
        .prop_map(|(plan, limits, features, calendar, blocked)| Profile {
            plan: plan.map(str::to_owned),
            limits,
            features,
            time_zone: calendar.zone,
            anchor_day: AnchorDay::new(calendar.anchor_day.get().into()).unwrap(),
            blocked: blocked.is_some(),
            grants: Vec::new(),
            restraints: Vec::new(),
        })
}
