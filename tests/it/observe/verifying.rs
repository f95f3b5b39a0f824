//! Verification: what is wrong in both stores is told, and what a loss explains is not.

use headroom::quota::CatalogueChange;
use headroom::quota::Expected;
use serde_json::json;

use super::add_units;
use super::key_of;
use super::options;
use super::state_of;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::orders::accept;
use crate::support::orders::used;

const SUBJECT: &str = "user:u_1";
const MAX: u64 = 10;
/// Half of ten units may be carried into the next month.
const ROLLING: &str = r#"
metrics = ["messages"]
default_plan = "only"
[plans.only]
limits = [{ metric = "messages", period = "month", max = 10, rollover = "50%" }]
"#;

async fn start(catalogue: String) -> TestApp {
    TestApp::start_with(Options { catalogue: Some(catalogue), ..options() }).await
}

/// Adds units to the subject's window in which `used` are, in both stores behind the service's back, as if it had been charged
/// beside its limits.
async fn add_to_both(app: &TestApp, used: u64, units: i64) {
    app.flush().await;
    let used = i64::try_from(used).unwrap();
    let mut state = state_of(app, SUBJECT).await;
    let counter = state.counters.iter_mut().find(|(_, counted)| *counted == used);
    counter.unwrap().1 += units;
    state.write(&app.redis().await, &key_of(SUBJECT)).await;
    let sql = "UPDATE usage_counters SET used = used + $1 WHERE subject = $2 AND used = $3";
    let changed = app.postgres().await.execute(sql, &[&units, &SUBJECT, &used]).await.unwrap();
    assert_eq!(changed, 1, "{used} are used in one window");
}

/// What breaks of the comparison of both stores, and of the bounds of counters.
async fn broken(app: &TestApp) -> (u64, u64) {
    let report = app.verify().await;
    let of = |name| report.checks.iter().find(|check| check.name == name).unwrap().broken;
    (of("I2"), of("I3"))
}

/// Guards the guard of promise 1: units above a hard limit are told, to the unit, though both stores agree on them.
#[tokio::test]
async fn units_above_a_hard_limit_are_told_though_both_stores_agree() {
    let app = start(orders::messages_a_month(MAX)).await;
    accept(app.quota(), SUBJECT, MAX - 1).await;

    add_to_both(&app, MAX - 1, 1).await;
    assert_eq!(broken(&app).await, (0, 0), "as much as the limit");
    add_to_both(&app, MAX, 1).await;
    assert_eq!(broken(&app).await, (0, 1), "one unit more");
    assert_eq!(used(app.quota(), SUBJECT).await, MAX + 1);
}

/// Guards against false alarms: a limit may have been lowered below what is used, by a profile or a later catalogue.
#[tokio::test]
async fn units_above_a_limit_that_may_have_been_another_are_not_told() {
    for is_profile in [true, false] {
        let app = start(orders::messages_a_month(MAX)).await;
        accept(app.quota(), SUBJECT, MAX).await;
        add_to_both(&app, MAX, 1).await;
        assert_eq!(broken(&app).await, (0, 1));

        if is_profile {
            let plan = json!({ "plan": "only" });
            let put = app.caller().put(&format!("/v1/subjects/{SUBJECT}"), "*", &plan).await;
            assert!(put.status.is_success(), "{put:?}");
        } else {
            let only = app.quota().catalogue().catalogue.plans["only"].clone();
            let change = CatalogueChange::Plan("another".to_owned(), only);
            let (quota, actor) = (app.quota(), orders::actor());
            quota.change_catalogue(change, Expected::Any, &actor).await.unwrap();
        }

        assert_eq!(broken(&app).await, (0, 0), "a profile: {is_profile}");
    }
}

/// Guards rollover: what was carried into a window is no unit above its limit, and what is used beyond it is.
#[tokio::test]
async fn units_that_were_carried_are_not_above_the_limit() {
    let app = start(ROLLING.to_owned()).await;
    accept(app.quota(), SUBJECT, 8).await;
    app.clock.advance(31 * 86_400_000);
    accept(app.quota(), SUBJECT, MAX + 2).await;
    assert!(!orders::consume(app.quota(), SUBJECT).await.unwrap().allowed);
    app.flush().await;
    assert_eq!(broken(&app).await, (0, 0), "two were carried");

    add_to_both(&app, MAX + 2, 1).await;

    assert_eq!(broken(&app).await, (0, 1), "one unit more");
}

/// Guards that only what is used may be below zero, by what a reset takes off and Redis then loses: no hold may.
#[tokio::test]
async fn what_is_held_below_zero_is_told() {
    let app = start(orders::messages_a_month(MAX)).await;
    accept(app.quota(), SUBJECT, 1).await;
    // What Redis loses explains some units above a limit, and some of which a reset took off too much; a hold it does not.
    let outbox = headroom::counters::keys::outbox(orders::shard_of(SUBJECT));
    redis::cmd("DEL").arg(outbox).exec_async(&mut app.redis().await).await.unwrap();
    app.flush().await;
    assert_eq!(app.verify().await.lost_at_most, 1);
    let minute = std::time::Duration::from_mins(1);
    let reserved = app.quota().reserve(orders::one(SUBJECT, "messages"), minute).await.unwrap();
    assert!(reserved.allowed);
    app.flush().await;
    let state = state_of(&app, SUBJECT).await;
    let hold = state.names().into_iter().find(|name| name.contains('@')).unwrap().to_owned();

    add_units(&app, SUBJECT, &hold, -1).await;
    assert_eq!(broken(&app).await, (1, 0), "none is held");
    add_units(&app, SUBJECT, &hold, -1).await;
    assert_eq!(broken(&app).await, (1, 1), "less than none is held");
}
