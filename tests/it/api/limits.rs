//! What answers say of limits: warnings, overage, shadows, slices, levels and the plan that would help.

use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::bad_input::assert_problem;
use super::move_to;
use super::with_catalogue;
use crate::support::TestApp;

const TIERS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/catalogues/tiers.toml"));

async fn with_limits(limits: &str) -> TestApp {
    let catalogue =
        format!("metrics = ['messages']\ndefault_plan = 'p'\n[plans.p]\nlimits = [{limits}]");
    TestApp::start_with(with_catalogue(&catalogue)).await
}

/// Guards the way out of a refusal: where to get more, and the cheapest plan that has room.
#[tokio::test]
async fn a_refusal_names_the_cheapest_plan_with_room() {
    let app = TestApp::start_with(with_catalogue(TIERS)).await;
    let caller = app.caller();
    assert!(caller.charge("user:u_1", "ai_generations", 10).await.is_allowed());

    let refused = caller.charge("user:u_1", "ai_generations", 1).await;
    let many = caller.charge("user:u_1", "ai_generations", 91).await;
    let more_than_any = caller.charge("user:u_1", "ai_generations", 491).await;
    let of_another_limit = caller.charge("user:u_1", "exports", 2).await;
    let ask = json!({ "subject": "user:u_1", "metric": "ai_generations" });
    let with_200 = caller.post("/v1/check?on_deny=200", &ask).await;

    assert_eq!(refused.code(), "limit_exceeded", "{refused:?}");
    assert_eq!(of_another_limit.body["recommended_plan"], "starter", "{of_another_limit:?}");
    for (answer, plan) in [(&refused, "starter"), (&many, "growth"), (&with_200, "starter")] {
        assert_eq!(answer.body["recommended_plan"], plan, "{answer:?}");
        assert_eq!(answer.body["upgrade_url"], "https://app.example/billing/upgrade");
    }
    assert_eq!((with_200.status, &with_200.body["allowed"]), (StatusCode::OK, &json!(false)));
    assert_eq!(more_than_any.body.get("recommended_plan"), None);
    app.finish().await;
}

/// Guards warnings: they begin at the limit's own percentages.
#[tokio::test]
async fn warnings_begin_at_the_percentages_of_the_limit() {
    let app = with_limits(
        "{ metric = 'messages', period = 'month', max = 10, warning_percent = 50, critical_percent = 70 },
         { metric = 'messages', period = 'lifetime', max = 10 }",
    )
    .await;
    let caller = app.caller();

    for (used, of_month, of_default) in [
        (4, "none", "none"),
        (5, "warning", "none"),
        (7, "critical", "none"),
        (8, "critical", "warning"),
        (10, "critical", "critical"),
    ] {
        let usage = caller.get("/v1/subjects/user:u_1/usage").await;
        let answer =
            caller.charge("user:u_1", "messages", used - usage.used("messages-month")).await;
        let warnings =
            ["messages-month", "messages-lifetime"].map(|name| &answer.limit(name)["warning"]);
        assert_eq!(warnings, [of_month, of_default], "{used}");
    }
    app.finish().await;
}

/// Guards soft limits: what is above the limit is accepted and marked, up to the grace.
#[tokio::test]
async fn a_soft_limit_marks_what_is_above_it_and_ends_at_its_grace() {
    let app = with_limits(
        "{ metric = 'messages', period = 'month', max = 10, mode = 'soft', grace = '20%' }",
    )
    .await;
    let caller = app.caller();

    let within = caller.charge("user:u_1", "messages", 10).await;
    let above = caller.charge("user:u_1", "messages", 2).await;
    let beyond = caller.charge("user:u_1", "messages", 1).await;

    assert_eq!(within.limit("messages-month").get("overage"), None);
    assert!(above.is_allowed(), "{above:?}");
    let state = above.limit("messages-month");
    assert_eq!((&state["overage"], &state["remaining"]), (&json!(2), &json!(0)));
    assert_eq!((&state["mode"], &state["limit"]), (&json!("soft"), &json!(10)));
    assert!(above.header("ratelimit").starts_with("\"messages-month\";r=0;"), "{above:?}");
    assert_eq!(beyond.code(), "limit_exceeded");
    assert_eq!(beyond.limit("messages-month")["overage"], 2);
    app.finish().await;
}

/// Guards shadow limits: they refuse nobody, and say whom they would have refused.
#[tokio::test]
async fn a_shadow_limit_says_what_it_would_have_denied() {
    let app =
        with_limits("{ metric = 'messages', period = 'month', max = 2, mode = 'shadow' }").await;
    let caller = app.caller();
    let ask =
        |amount: u64| json!({ "subject": "user:u_1", "metric": "messages", "amount": amount });

    let within = caller.charge("user:u_1", "messages", 2).await;
    let looked = caller.post("/v1/check", &ask(1)).await;
    let nothing = caller.post("/v1/check", &ask(0)).await;
    let above = caller.charge("user:u_1", "messages", 1).await;
    let usage = caller.get("/v1/subjects/user:u_1/usage").await;

    for (answer, expected) in
        [(within, None), (looked, Some(true)), (nothing, None), (above, Some(true))]
    {
        assert!(answer.is_allowed(), "{answer:?}");
        let would_deny = answer.limit("messages-month").get("would_deny").and_then(Value::as_bool);
        assert_eq!(would_deny, expected, "{answer:?}");
    }
    assert_eq!(usage.limit("messages-month")["overage"], 1);
    assert_eq!(usage.limit("messages-month").get("would_deny"), None, "a look asks for nothing");
    app.finish().await;
}

/// Guards what replays say: the same, also of a limit that had something to add.
#[tokio::test]
async fn a_replay_repeats_what_shadows_and_slices_said() {
    let app = with_limits(
        "{ metric = 'messages', period = 'month', max = 0, mode = 'shadow' },
         { metric = 'messages', period = 'hour', max = 5, sliding = true }",
    )
    .await;
    let send = async || {
        let body = json!({ "subject": "user:u_1", "metric": "messages" });
        let request = app.caller().request(reqwest::Method::POST, "/v1/consume").json(&body);
        crate::support::caller::answer(request.header("idempotency-key", "k-1")).await
    };

    let (first, again) = (send().await, send().await);

    assert_eq!(first.limit("messages-month")["would_deny"], true);
    assert_eq!(first.limit("messages-hour")["sliding"], true);
    assert!(again.is_replayed());
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("ratelimit-policy"), first.header("ratelimit-policy"));
    app.finish().await;
}

/// Guards sliding limits in answers: the trailing period as the window, and after a refusal when enough has left it.
#[tokio::test]
async fn a_sliding_limit_is_told_by_its_period_and_its_slice() {
    let app =
        with_limits("{ metric = 'messages', period = 'hour', max = 3, sliding = true }").await;
    move_to(&app, "2027-02-10T12:03:00Z");
    let caller = app.caller();

    let first = caller.charge("user:u_1", "messages", 3).await;
    let soon = caller.charge("user:u_1", "messages", 1).await;
    let looked_at =
        caller.post("/v1/check", &json!({ "subject": "user:u_1", "metric": "messages" })).await;
    move_to(&app, "2027-02-10T13:02:00Z");
    let still = caller.charge("user:u_1", "messages", 1).await;
    move_to(&app, "2027-02-10T13:10:00Z");
    let later = caller.charge("user:u_1", "messages", 1).await;

    let state = first.limit("messages-hour");
    assert_eq!(
        (&state["sliding"], &state["resets_at"]),
        (&json!(true), &json!("2027-02-10T12:10:00Z"))
    );
    assert_eq!(first.header("ratelimit-policy"), "\"messages-hour\";q=3;w=3600");
    assert_eq!(still.code(), "limit_exceeded", "59 minutes later they all count");
    // All at 13:10, when the slice of 12:00 counts no more.
    for (refused, minutes) in [(&soon, 67), (&looked_at, 67), (&still, 8)] {
        let retry_s: u64 = refused.header("retry-after").parse().unwrap();
        assert!(
            (60 * minutes - 59..=60 * minutes).contains(&retry_s),
            "{minutes} minutes: {retry_s}"
        );
    }
    assert!(later.is_allowed(), "{later:?}");
    app.finish().await;
}

/// Guards all-or-nothing over the levels of a path, and that the refusing one is named.
#[tokio::test]
async fn the_level_that_refuses_is_named_and_the_other_is_left_alone() {
    let catalogue = r#"
        metrics = ["messages"]
        scope_plans = { org = "org", user = "user" }
        [plans.org]
        limits = [{ metric = "messages", period = "month", max = 3 }]
        [plans.user]
        limits = [{ metric = "messages", period = "month", max = 2 }]
    "#;
    let app = TestApp::start_with(with_catalogue(catalogue)).await;
    let caller = app.caller();
    let [first, second] = ["org:acme/user:u_1", "org:acme/user:u_2"];
    assert!(caller.charge(first, "messages", 2).await.is_allowed());

    let by_user = caller.charge(first, "messages", 1).await;
    assert!(caller.charge(second, "messages", 1).await.is_allowed());
    let by_org = caller.charge(second, "messages", 1).await;

    let pairs = [(&by_user, "user.messages-month"), (&by_org, "org.messages-month")];
    for (answer, name) in pairs {
        let (status, words) = (StatusCode::TOO_MANY_REQUESTS, [name]);
        assert_eq!((answer.status, answer.code()), (status, "limit_exceeded"), "{answer:?}");
        assert!(words.iter().all(|word| answer.detail().contains(word)), "{answer:?}");
        assert_eq!(answer.body["violated-policies"], json!([name]));
    }
    assert_eq!(by_user.limit("user.messages-month")["subject"], first);
    assert_eq!(by_org.limit("org.messages-month")["subject"], "org:acme");
    let used = |name: &str| by_org.used(name);
    assert_eq!([used("org.messages-month"), used("user.messages-month")], [3, 1]);
    let policy = by_org.header("ratelimit-policy");
    assert!(
        policy.contains("\"org.messages-month\"") && policy.contains("\"user.messages-month\"")
    );
    app.finish().await;
}

/// Guards that a feature check does not pass for want of limits while Redis is away.
#[tokio::test]
async fn a_check_without_limits_is_not_let_through_while_redis_is_away() {
    let catalogue =
        "metrics = []\nfeatures = ['export']\ndefault_plan = 'p'\n[plans.p]\nfeatures = ['export']";
    let mut app = TestApp::start_with(with_catalogue(catalogue)).await;
    let body = json!({ "subject": "user:u_1", "feature": "export" });
    assert!(app.caller().post("/v1/check", &body).await.is_allowed());

    app.stores.redis.stop().await.unwrap();
    let answer = app.caller().post("/v1/check", &body).await;

    assert_problem(&answer, StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", &[]);
    app.stores.redis.restart().await.unwrap();
    app.finish().await;
}
