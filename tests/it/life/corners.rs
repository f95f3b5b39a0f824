//! What random commands found, each by its fewest commands.

use std::time::Duration;

use headroom::domain::LimitState;
use headroom::domain::Profile;
use headroom::domain::Units;
use headroom::quota::Expected;
use headroom::quota::NewCount;
use headroom::quota::Order;
use headroom::quota::Quota;
use headroom::quota::SetOrder;

use super::fixture::MINUTE;
use super::fixture::USER;
use super::fixture::commit;
use super::fixture::counts;
use super::fixture::counts_of;
use super::fixture::ending;
use super::fixture::messages;
use super::fixture::purchase;
use super::fixture::reserve;
use super::fixture::start;
use super::fixture::start_on;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::orders::actor;

const DAY_MS: i64 = 86_400_000;

/// A catalogue with the plans `only`, which is the default, and `other`, each with limits in TOML.
fn plans(only: &str, other: &str) -> String {
    format!(
        "metrics = [\"messages\", \"exports\"]\ndefault_plan = \"only\"\n\
         [plans.only]\nlimits = [{only}]\n[plans.other]\nlimits = [{other}]\n"
    )
}

async fn lose_redis(app: &TestApp) {
    app.flush().await;
    redis::cmd("FLUSHDB").exec_async(&mut app.redis().await).await.unwrap();
}

async fn evict(app: &TestApp) {
    app.flush().await;
    let key = headroom::counters::keys::subject(orders::shard_of(USER), USER);
    redis::cmd("DEL").arg(key).exec_async(&mut app.redis().await).await.unwrap();
}

async fn put(quota: &Quota, path: &str, profile: &str) {
    let (subject, profile) = (orders::subject(path), Profile::parse(profile).unwrap());
    quota.put_subject(&subject, profile, Expected::Any, &actor()).await.unwrap();
}

async fn messages_of(quota: &Quota) -> LimitState {
    let usage = quota.usage(&orders::subject(USER)).await.unwrap();
    usage.limits.into_iter().find(|it| it.metric.as_str() == "messages").unwrap()
}

/// Guards holds: what a late commit took counts, also when Redis was lost before the hold was swept.
#[tokio::test]
async fn a_late_commit_counts_though_the_sweeper_found_the_hold_lost() {
    let app = start(100).await;
    let quota = app.quota();
    let held = reserve(quota, 10).await;
    lose_redis(&app).await;
    app.clock.advance(61_000);
    assert_eq!(quota.expire_due().await.unwrap(), 1);
    let ended = commit(quota, &held, 7).await.unwrap();
    assert!(ended.late);
    assert_eq!((counts(&ended.limits[0]), ended.plan.as_str()), ((7, 0, 93, 0), "only"));
    app.finish().await;
}

/// Guards promise 1: a hold that is extended to the end that it has is in Postgres still.
#[tokio::test]
async fn a_hold_that_is_extended_to_the_same_end_is_loaded() {
    let app = start(100).await;
    let quota = app.quota();
    let day = Duration::from_hours(24);
    let held = quota.reserve(messages(USER, 10), day).await.unwrap();
    app.flush().await;
    quota.extend(&ending(quota, &held), day).await.unwrap();
    evict(&app).await;
    assert_eq!(counts_of(quota, USER).await, (0, 10, 90, 0));
    app.finish().await;
}

/// Guards holds: the sweep goes on past a hold of which nothing was left to extend.
#[tokio::test]
async fn a_hold_whose_windows_ended_before_it_was_extended_is_swept() {
    let limits = "{ metric = \"messages\", period = \"minute\", max = 9 }";
    let app = start_on(plans(limits, "")).await;
    let quota = app.quota();
    let held = quota.reserve(messages(USER, 3), Duration::from_mins(10)).await.unwrap();
    app.flush().await;
    app.clock.advance(120_000);
    orders::accept(quota, USER, 1).await;
    quota.extend(&ending(quota, &held), MINUTE).await.unwrap();
    lose_redis(&app).await;
    assert_eq!(quota.open_reservations(&orders::subject(USER)).await.unwrap().len(), 1);
    app.clock.advance(70_000);
    assert_eq!(quota.expire_due().await.unwrap(), 1);
    app.finish().await;
}

/// Guards promise 1: of minutes and hours a hold from before a loss has nothing to give back.
#[tokio::test]
async fn a_hold_that_was_lost_leaves_the_holds_of_others_alone() {
    let limits = "{ metric = \"messages\", period = \"hour\", max = 9, sliding = true }";
    let app = start_on(plans(limits, "")).await;
    let quota = app.quota();
    let day = Duration::from_hours(24);
    let lost = quota.reserve(messages(USER, 3), day).await.unwrap();
    lose_redis(&app).await;
    quota.reserve(messages(USER, 4), day).await.unwrap();
    quota.release(&ending(quota, &lost)).await.unwrap();
    assert_eq!(counts_of(quota, USER).await, (0, 4, 5, 0));
    app.finish().await;
}

/// Guards ADR 13: a hold that Redis has lost is measured by the limits in force, whichever node was told of them.
#[tokio::test]
async fn a_hold_that_was_lost_goes_by_the_profile_in_force() {
    let catalogue = Some(orders::messages_a_month(100));
    let app = TestApp::start_with(Options { nodes: 2, catalogue, ..Options::default() }).await;
    let (quota, other) = (app.quota(), app.quota_of(1));
    let held = reserve(quota, 10).await;
    lose_redis(&app).await;
    assert_eq!(counts_of(quota, USER).await, (0, 10, 90, 0));
    put(other, USER, r#"{"limits": [{"metric": "messages", "period": "month", "max": 5}]}"#).await;
    let ended = commit(quota, &held, 7).await.unwrap();
    assert!(ended.overage);
    assert_eq!(ended.limits[0].max, Units::new(5).ok());
    app.finish().await;
}

/// Guards I2: what was used of a grant counts for the holds that were measured against it, also when it is revoked.
#[tokio::test]
async fn a_commit_takes_no_more_of_a_revoked_grant_than_there_was() {
    let app = start(0).await;
    let (quota, subject) = (app.quota(), orders::subject(USER));
    let grant = quota.give_grant(&subject, &purchase(10), &actor()).await.unwrap();
    assert!(quota.consume(messages(USER, 8)).await.unwrap().allowed);
    let held = reserve(quota, 2).await;
    quota.revoke_grant(&subject, grant.grant.id, &actor()).await.unwrap();
    evict(&app).await;
    assert!(commit(quota, &held, 9).await.unwrap().overage);
    app.flush().await;
    assert_eq!(quota.grants(&subject).await.unwrap()[0].used, 10);
    app.finish().await;
}

/// Guards ADR 14: no counter grows past what counts exactly.
#[tokio::test]
async fn a_commit_above_the_largest_count_leaves_the_subject_readable() {
    let app = start(100).await;
    let quota = app.quota();
    let held = reserve(quota, 1).await;
    let count = NewCount::Absolute(Units::MAX);
    let set = SetOrder { metric: orders::metric("messages"), period: None, count };
    quota.set_usage(&orders::subject(USER), &set, &actor()).await.unwrap();
    assert!(commit(quota, &held, 40).await.unwrap().overage);
    assert_eq!(counts_of(quota, USER).await.0, Units::MAX.get());
    app.finish().await;
}

/// Guards promise 4: a shadow limit says the same of a hold, again under the same key, and has what is carried.
#[tokio::test]
async fn a_hold_says_the_same_of_a_shadow_limit_again() {
    let limits = "{ metric = \"messages\", period = \"month\", max = 3, mode = \"shadow\" }";
    let app = start_on(plans(limits, "")).await;
    let order = || Order { idempotency_key: Some("k".to_owned()), ..messages(USER, 5) };
    let first = app.quota().reserve(order(), MINUTE).await.unwrap();
    let again = app.quota().reserve(order(), MINUTE).await.unwrap();
    assert!(first.limits[0].would_deny && again.replayed);
    assert_eq!(first.limits, again.limits);
    app.finish().await;
}

/// Guards holds: whatever grants have, the limit is named of which no more may be held.
#[tokio::test]
async fn a_hold_that_is_refused_names_the_share_that_may_be_held() {
    let limits = "{ metric = \"messages\", period = \"month\", max = 100, hold_max = 5 }";
    let app = start_on(plans(limits, "")).await;
    app.quota().give_grant(&orders::subject(USER), &purchase(10), &actor()).await.unwrap();
    let refused = reserve(app.quota(), 8).await;
    assert!(!refused.allowed && refused.limits[0].violated);
    app.finish().await;
}

const ROLLING: &str = "{ metric = \"messages\", period = \"day\", max = 10, rollover = 3 }";

/// Guards promise 1: what a commit takes in the day before is not carried, however late it is.
#[tokio::test]
async fn a_late_commit_in_the_day_before_is_not_carried() {
    let app = start_on(plans(ROLLING, "")).await;
    let quota = app.quota();
    let held = quota.reserve(messages(USER, 9), Duration::from_secs(1)).await.unwrap();
    app.clock.advance(DAY_MS - app.clock.now_ms() % DAY_MS + DAY_MS - 1_000);
    commit(quota, &held, 9).await.unwrap();
    assert_eq!(messages_of(quota).await.carried.get(), 1);
    app.finish().await;
}

/// Guards rollover: a window that begins with an admin's value has what the one before left.
#[tokio::test]
async fn a_window_that_is_set_first_has_what_was_left() {
    let app = start_on(plans(ROLLING, "")).await;
    let quota = app.quota();
    orders::accept(quota, USER, 1).await;
    app.clock.advance(DAY_MS);
    let count = NewCount::Absolute(Units::new(4).unwrap());
    let set = SetOrder { metric: orders::metric("messages"), period: None, count };
    quota.set_usage(&orders::subject(USER), &set, &actor()).await.unwrap();
    let state = messages_of(quota).await;
    assert_eq!((state.used.get(), state.carried.get()), (4, 3));
    app.finish().await;
}

/// Guards promise 1: what was carried counts, with holds and without, when the plan does not roll over any more.
#[tokio::test]
async fn what_was_carried_counts_on_another_plan() {
    let other = "{ metric = \"messages\", period = \"day\", max = 10 }";
    let app = start_on(plans(ROLLING, other)).await;
    let quota = app.quota();
    orders::accept(quota, USER, 1).await;
    app.clock.advance(DAY_MS);
    assert_eq!(messages_of(quota).await.carried.get(), 3);
    put(quota, USER, r#"{"plan": "other"}"#).await;
    assert_eq!(messages_of(quota).await.carried.get(), 3);
    assert!(quota.consume(messages(USER, 13)).await.unwrap().allowed);
    app.finish().await;
}

/// Guards rollover: a level rolls over by the limits that it has on the path that is asked for.
#[tokio::test]
async fn a_level_within_a_path_rolls_over_by_the_limits_of_the_path() {
    let own = "{ metric = \"messages\", period = \"day\", max = 1 }";
    let each =
        "{ metric = \"messages\", period = \"day\", max = 9, rollover = 3, each = \"user\" }";
    let app = start_on(plans(own, each)).await;
    put(app.quota(), "org:a", r#"{"plan": "other"}"#).await;
    let path = "org:a/user:u_1/project:p";
    assert!(app.quota().consume(orders::one(path, "exports")).await.unwrap().allowed);
    app.finish().await;
}
