//! Limits that follow usage: computed from the rollups once a day, put as overrides, and in force for the next consume.

use chrono::TimeDelta;
use headroom::quota::Recomputation;
use headroom::quota::RecomputePlace;
use headroom::quota::Recomputed;
use serde_json::Value;
use serde_json::json;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::program::env_of;
use crate::support::program::run;

const DAY_MS: i64 = 86_400_000;

const CATALOGUE: &str = "
metrics = ['messages', 'tokens']
default_plan = 'free'
[plans.free]
limits = [
    { metric = 'messages', period = 'day', max = 100, dynamic = { percent = 120, days = 30, floor = 10, ceiling = 500 } },
]
[plans.fixed]
limits = [{ metric = 'messages', period = 'day', max = 70 }]

";

/// Nodes at noon, so that no day ends on the way.
async fn start(nodes: usize) -> TestApp {
    let catalogue = CATALOGUE.to_owned();
    let app =
        TestApp::start_with(Options { nodes, catalogue: Some(catalogue), ..Options::default() })
            .await;
    let into_the_day_ms = app.clock.now_ms().rem_euclid(DAY_MS);
    app.clock.advance(DAY_MS + DAY_MS / 2 - into_the_day_ms);
    app
}

/// A subject charges so much on each of some days, the last of which is yesterday then; all of it is in the rollups.
async fn use_daily(app: &TestApp, subject: &str, amounts: &[u64]) {
    for amount in amounts {
        if *amount > 0 {
            assert!(app.caller().charge(subject, "messages", *amount).await.is_allowed());
        }
        app.clock.advance(DAY_MS);
    }
    settle(app).await;
}

async fn settle(app: &TestApp) {
    app.flush().await;
    app.quota().fold_rollups().await.unwrap();
}

async fn recompute(app: &TestApp) {
    app.quota().recompute_all(app.quota().day_to_recompute()).await.unwrap();
}

async fn profile(app: &TestApp, subject: &str) -> Value {
    app.caller().get(&format!("/v1/subjects/{subject}")).await.body
}

/// The `max` of each of the subject's overrides.
async fn maxima(app: &TestApp, subject: &str) -> Vec<Value> {
    let body = profile(app, subject).await;
    body["limits"].as_array().unwrap().iter().map(|limit| limit["max"].clone()).collect()
}

async fn acts(app: &TestApp) -> Vec<(String, String, String)> {
    let sql = "SELECT target, action, reason FROM audit_log WHERE actor = 'headroom' ORDER BY id";
    let rows = app.postgres().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Guards the whole way: what was used makes the plan's limit an override with its reason, the audit log says who did it,
/// and the next consume goes by it. A day without usage counts as 0, and those before the first use do not.
#[tokio::test]
async fn a_plan_s_limit_follows_what_was_used() {
    let app = start(1).await;
    use_daily(&app, "user:u_1", &[40, 50, 0]).await;

    recompute(&app).await;

    let body = profile(&app, "user:u_1").await;
    let limit = &body["limits"][0];
    let today = app.quota().day_to_recompute();
    let reason = format!(
        "120 % of 30.0 a day over 3 days to {}, between 10 and 500",
        today.pred_opt().unwrap()
    );
    assert_eq!((&limit["max"], &limit["reason"]), (&json!(36), &json!(reason)), "{body}");
    assert_eq!(
        (&limit["computed_on"], &limit["of_plan"]),
        (&json!(today.to_string()), &json!(true))
    );
    let wanted = ("user:u_1".to_owned(), "subject.put".to_owned(), reason);
    assert_eq!(acts(&app).await, [wanted]);
    assert!(!app.caller().charge("user:u_1", "messages", 37).await.is_allowed());
    assert!(app.caller().charge("user:u_1", "messages", 36).await.is_allowed());
    app.finish().await;
}

/// Guards that a day is computed once, and that a result that is the same is not written.
#[tokio::test]
async fn a_day_is_computed_once_and_what_does_not_change_is_not_written() {
    let app = start(1).await;
    use_daily(&app, "user:u_1", &[30]).await;
    recompute(&app).await;
    let first = profile(&app, "user:u_1").await;
    assert!(app.caller().charge("user:u_1", "messages", 30).await.is_allowed());
    settle(&app).await;

    recompute(&app).await;
    let again = profile(&app, "user:u_1").await;
    app.clock.advance(DAY_MS);
    recompute(&app).await;
    let same = profile(&app, "user:u_1").await;
    use_daily(&app, "user:u_1", &[0]).await;
    recompute(&app).await;

    assert_eq!(first["limits"][0]["max"], json!(36));
    assert_eq!([&again["version"], &same["version"]], [&first["version"]; 2]);
    assert_eq!(maxima(&app, "user:u_1").await, [json!(24)], "120 % of 60 in 3 days");
    assert_eq!(acts(&app).await.len(), 2);
    app.finish().await;
}

/// Guards the bounds, the length of a period, and that an admin's own override stays as it is put.
#[tokio::test]
async fn a_profile_s_limits_keep_between_floor_and_ceiling_and_others_stay() {
    let app = start(1).await;
    let rule = |floor: u64, ceiling: u64| json!({ "percent": 100, "days": 7, "floor": floor, "ceiling": ceiling });
    let limit = |period: &str, dynamic: Value| json!({ "metric": "messages", "period": period, "max": 90, "dynamic": dynamic });
    let fixed = json!({ "metric": "messages", "period": "day", "max": 80 });
    let own =
        json!({ "limits": [fixed, limit("week", rule(0, 50)), limit("month", rule(5, 5_000))] });
    let low = json!({ "limits": [limit("day", rule(33, 50))] });
    assert_eq!(app.caller().put("/v1/subjects/user:u_1", "*", &own).await.status, 200);
    assert_eq!(app.caller().put("/v1/subjects/user:u_2", "*", &low).await.status, 200);
    assert!(app.caller().charge("user:u_2", "messages", 1).await.is_allowed());
    use_daily(&app, "user:u_1", &[11]).await;

    recompute(&app).await;

    let body = profile(&app, "user:u_1").await;
    assert_eq!(
        maxima(&app, "user:u_1").await,
        [json!(80), json!(50), json!(330)],
        "one's own, 77 below the ceiling, 30 days of 11: {body}"
    );
    assert_eq!(body["limits"][0], fixed);
    assert!(body["limits"][1]["of_plan"].is_null());
    assert_eq!(maxima(&app, "user:u_2").await, [json!(33)]);
    app.finish().await;
}

/// Guards against nodes that fight: of two that compute at once one writes.
#[tokio::test]
async fn two_nodes_at_once_write_one_override() {
    let app = start(2).await;
    use_daily(&app, "user:u_1", &[40]).await;
    let day = app.quota().day_to_recompute();

    let (one, other) =
        tokio::join!(app.quota_of(0).recompute_all(day), app.quota_of(1).recompute_all(day));

    one.unwrap();
    other.unwrap();
    assert_eq!(maxima(&app, "user:u_1").await, [json!(48)]);
    assert_eq!(acts(&app).await.len(), 1);
    assert!(!app.caller_of(1).charge("user:u_1", "messages", 49).await.is_allowed());
    app.finish().await;
}

/// Guards that what was computed of a plan goes with the plan: another rule is computed anew, and a fixed limit is in force again.
#[tokio::test]
async fn what_follows_a_plan_s_limit_goes_with_it() {
    let app = start(1).await;
    use_daily(&app, "user:u_1", &[40]).await;
    recompute(&app).await;
    assert_eq!(maxima(&app, "user:u_1").await, [json!(48)]);
    let plan = |limit: Value| json!({ "limits": [limit] });
    let rule = json!({ "percent": 200, "days": 30, "floor": 10, "ceiling": 500 });

    let doubled =
        plan(json!({ "metric": "messages", "period": "day", "max": 100, "dynamic": rule }));
    assert_eq!(app.caller().put("/v1/plans/free", "*", &doubled).await.status, 200);
    recompute(&app).await;
    let after_another_rule = maxima(&app, "user:u_1").await;
    let fixed = plan(json!({ "metric": "messages", "period": "day", "max": 100 }));
    assert_eq!(app.caller().put("/v1/plans/free", "*", &fixed).await.status, 200);
    recompute(&app).await;

    assert_eq!(after_another_rule, [json!(80)]);
    assert_eq!(maxima(&app, "user:u_1").await, [] as [Value; 0]);
    assert!(app.caller().charge("user:u_1", "messages", 100).await.is_allowed());
    app.finish().await;
}

/// Guards that the limits of members are never those of their root: the default plan is that of the last level alone.
#[tokio::test]
async fn a_root_with_levels_below_gets_no_limit_of_the_default_plan() {
    let app = start(1).await;
    assert!(app.caller().charge("org:a", "messages", 20).await.is_allowed());
    use_daily(&app, "org:a/user:u_1", &[40]).await;

    recompute(&app).await;

    assert_eq!(acts(&app).await, []);
    assert!(app.caller().charge("org:a/user:u_1", "messages", 100).await.is_allowed());
    app.finish().await;
}

/// Guards that a root which has its plan by itself is limited by it, whoever is below.
#[tokio::test]
async fn a_root_with_a_plan_of_its_own_follows_usage_with_levels_below() {
    let app = start(1).await;
    let own = json!({ "plan": "free" });
    assert_eq!(app.caller().put("/v1/subjects/org:a", "*", &own).await.status, 200);
    use_daily(&app, "org:a/user:u_1", &[40]).await;

    recompute(&app).await;

    assert_eq!(maxima(&app, "org:a").await, [json!(48)]);
    app.finish().await;
}

/// Guards the days that are averaged: the last ones only, of a subject that was there before.
#[tokio::test]
async fn days_before_those_that_are_averaged_do_not_count() {
    let app = start(1).await;
    let rule = json!({ "percent": 100, "days": 2, "floor": 1, "ceiling": 500 });
    let limit = json!({ "metric": "messages", "period": "day", "max": 90, "dynamic": rule });
    let own = json!({ "limits": [limit] });
    assert_eq!(app.caller().put("/v1/subjects/user:u_1", "*", &own).await.status, 200);
    use_daily(&app, "user:u_1", &[64, 32, 16, 8]).await;

    recompute(&app).await;

    assert_eq!(maxima(&app, "user:u_1").await, [json!(12)], "16 and 8 in two days");
    app.finish().await;
}

/// Guards what a node does by itself: each day once, from ten minutes after it began.
#[tokio::test]
async fn a_node_computes_a_day_once_ten_minutes_after_it_began() {
    let app = start(1).await;
    let quota = app.quota();
    use_daily(&app, "user:u_1", &[30]).await;
    let (today, none) = (app.clock.now().date_naive(), json!({}));

    let done = quota.recompute_after(None).await.unwrap();
    let first = maxima(&app, "user:u_1").await;
    assert_eq!(app.caller().put("/v1/subjects/user:u_1", "*", &none).await.status, 200);
    let again = quota.recompute_after(done).await.unwrap();
    let not_again = maxima(&app, "user:u_1").await;
    app.clock.advance(DAY_MS / 2 + 9 * 60_000);
    let still = quota.day_to_recompute();
    app.clock.advance(2 * 60_000);
    let next = quota.recompute_after(again).await.unwrap();

    assert_eq!((done, again, still), (Some(today), Some(today), today));
    assert_eq!((first, not_again), (vec![json!(36)], vec![]));
    assert_eq!((next, maxima(&app, "user:u_1").await), (today.succ_opt(), vec![json!(18)]));
    let later = today + TimeDelta::days(2);
    assert_eq!(quota.recompute_after(Some(later)).await.unwrap(), Some(later));
    app.finish().await;
}

/// Guards the one computation of a day: it waits for what other nodes accepted before the day, until that is flushed, and folds it.
#[tokio::test]
async fn a_day_is_not_computed_before_the_rollups_have_the_days_before() {
    let app = start(1).await;
    use_daily(&app, "user:u_1", &[30]).await;
    assert!(app.caller().charge("user:u_1", "messages", 60).await.is_allowed());
    app.clock.advance(DAY_MS);
    let (quota, today) = (app.quota(), app.clock.now().date_naive());
    let yesterday = today.pred_opt();

    let unflushed = quota.recompute_after(yesterday).await.unwrap();
    let before = acts(&app).await;
    app.flush().await;
    // What belongs to the day itself may wait.
    assert!(app.caller().charge("user:u_1", "messages", 1).await.is_allowed());
    let flushed = quota.recompute_after(unflushed).await.unwrap();

    assert_eq!((unflushed, before), (yesterday, vec![]));
    assert_eq!(flushed, Some(today));
    assert_eq!(maxima(&app, "user:u_1").await, [json!(54)], "120 % of 90 in 2 days");
    app.finish().await;
}

/// Guards the rule that only roots have limits that follow usage.
#[tokio::test]
async fn a_profile_below_a_root_is_refused_when_it_is_to_follow_usage() {
    let app = start(1).await;
    let rule = json!({ "percent": 120, "days": 30, "floor": 10, "ceiling": 500 });
    let body =
        json!({ "limits": [{ "metric": "messages", "period": "day", "max": 9, "dynamic": rule }] });

    let refused = app.caller().put("/v1/subjects/org:a%2Fuser:u_1", "*", &body).await;

    assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_request"));
    assert!(refused.detail().contains("dynamic is for the root of a path"), "{}", refused.detail());
    app.finish().await;
}

/// Guards the command: dry it prints what would change and changes nothing, then it does the same for good; and pages of many
/// subjects reach every one.
#[tokio::test]
async fn the_command_prints_what_changes_and_a_dry_run_changes_nothing() {
    let app = start(1).await;
    assert!(app.caller().charge("user:u_2", "messages", 50).await.is_allowed());
    use_daily(&app, "user:u_1", &[40]).await;
    let offset = ("HEADROOM_CLOCK_OFFSET_MS".to_owned(), app.clock.offset_ms().to_string());
    let env = || env_of(&app).into_iter().chain([offset.clone()]).collect::<Vec<_>>();

    let dry = run(&["recompute", "--dry-run"], env()).await;
    let after_dry = acts(&app).await;
    let one = run(&["recompute", "--subject", "user:u_1"], env()).await;
    let deeper = run(&["recompute", "--subject", "org:a/user:u_1"], env()).await;
    let order = Recomputation { day: app.quota().day_to_recompute(), dry_run: true };
    let first = app.quota().recompute_page(&RecomputePlace::first(), order).await.unwrap();

    let lines: Vec<Value> =
        dry.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{dry:?}");
    assert_eq!(
        (&lines[0]["subject"], &lines[0]["from"], &lines[0]["to"]),
        (&json!("user:u_1"), &json!(100), &json!(48))
    );
    assert_eq!((after_dry.len(), one.stdout.lines().count()), (0, 1), "{one:?}");
    assert_eq!(acts(&app).await.len(), 1);
    assert!(deeper.stderr.contains("--subject must be the root of a path"), "{deeper:?}");
    assert_eq!(first.0, [] as [Recomputed; 0], "the one that has a profile is done");
    app.finish().await;
}
