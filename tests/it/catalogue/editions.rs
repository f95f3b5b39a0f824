//! The catalogue is replaced while it is used.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use headroom::domain::Catalogue;
use headroom::domain::Units;
use headroom::quota::CatalogueChange;
use headroom::quota::Expected;
use headroom::quota::Quota;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::poll;

const MEMBER: &str = "org:acme/user:u_1";
const CALLERS: usize = 16;
/// Answers that a caller waits for at most.
const ANSWERS_MAX: usize = 100_000;
/// How long another node may go by the edition before.
const BEHIND_MAX: Duration = Duration::from_secs(2);
const EDITIONS: u64 = 4;

/// Two limits on each of two levels, all with the same number.
fn text(max: u64) -> String {
    let limits = ["day", "month"]
        .map(|period| format!("{{ metric = 'messages', period = '{period}', max = {max} }}"));
    let limits = limits.join(", ");
    format!(
        "metrics = ['messages']\ndefault_plan = 'member'\nscope_plans = {{ org = 'team' }}\n\
         [plans.member]\nlimits = [{limits}]\n[plans.team]\nlimits = [{limits}]\n"
    )
}

async fn replace(quota: &Quota, max: u64) {
    let change = CatalogueChange::All(Catalogue::parse(&text(max)).unwrap());
    quota.change_catalogue(change, Expected::Any, &orders::actor()).await.unwrap();
}

/// The number that all limits of an answer have; panics when they differ.
async fn number(quota: &Quota) -> u64 {
    let decision = quota.check(orders::one(MEMBER, "messages")).await.unwrap();
    let numbers = decision.limits.iter().map(|state| state.max.map_or(0, Units::get));
    let numbers: Vec<u64> = numbers.collect();
    assert_eq!(numbers, [numbers[0]; 4], "an answer of two editions");
    numbers[0]
}

/// What a node answers one after the other until it is over.
async fn watch(quota: &Quota, is_over: &AtomicBool) -> Vec<u64> {
    let mut numbers = Vec::new();
    while !is_over.load(Ordering::Relaxed) && numbers.len() < ANSWERS_MAX {
        numbers.push(number(quota).await);
    }
    numbers
}

/// Waits until a node goes by an edition that another was given just now.
async fn arrives(quota: &Quota, edition: u64) {
    let is_there = || async { number(quota).await == edition };
    poll::eventually("the edition on the other node", BEHIND_MAX, is_there).await;
}

/// Guards promise 1: a request keeps to one edition, the node that replaces the catalogue goes by it at once, and the other
/// within two seconds; no node goes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_catalogue_is_in_force_on_the_other_node_within_two_seconds() {
    let catalogue = Some(text(10));
    let options = Options { nodes: 2, catalogue, ..Options::default() };
    let app = TestApp::start_with(options.patient()).await;
    let is_over = AtomicBool::new(false);

    let callers = (0..CALLERS).map(|caller| watch(app.quota_of(caller % 2), &is_over));
    let admin = async {
        for edition in 2..=EDITIONS {
            let here = usize::try_from(edition % 2).unwrap();
            replace(app.quota_of(here), edition * 10).await;
            assert_eq!(number(app.quota_of(here)).await, edition * 10);
            arrives(app.quota_of(1 - here), edition * 10).await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let (watched, ()) = tokio::join!(join_all(callers), admin);

    assert!(watched.iter().all(|numbers| numbers.is_sorted()), "back to an edition before");
    let seen: BTreeSet<u64> = watched.into_iter().flatten().collect();
    assert!(seen.is_superset(&BTreeSet::from([20, 30])), "{seen:?}");
    assert!(seen.is_subset(&BTreeSet::from([10, 20, 30, 40])), "{seen:?}");
    app.finish().await;
}
