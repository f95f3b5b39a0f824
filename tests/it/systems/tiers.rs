//! Document 001: three tiers, warnings before the end, and refusals that say where to get more.

use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::consume;
use super::maxima;
use super::put;
use super::start;
use super::usage;

/// Guards the document's table.
#[tokio::test]
async fn each_tier_has_the_document_s_numbers() {
    let app = start("tiers").await;

    for (plan, generations, projects, exports) in
        [("free", 10, 3, 1), ("starter", 100, 10, 10), ("growth", 500, 50, 50)]
    {
        let subject = format!("user:of_{plan}");
        if plan != "free" {
            put(&app, &subject, &json!({ "plan": plan })).await;
        }
        let usage = usage(&app, &subject).await;
        assert_eq!(usage.body["plan"], plan);
        let wanted = [
            ("ai_generations-month", json!(generations)),
            ("projects-lifetime", json!(projects)),
            ("exports-month", json!(exports)),
        ];
        assert_eq!(maxima(&usage), wanted);
        for (name, max) in wanted {
            let (metric, _) = name.split_once('-').unwrap();
            let max = max.as_u64().unwrap();
            assert!(consume(&app, &subject, metric, max).await.is_allowed(), "{plan} {metric}");
            let refused = consume(&app, &subject, metric, 1).await;
            assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{plan} {metric}");
        }
    }
    app.finish().await;
}

/// Guards the document's audit entry: 5 attempted, 8 of 10 used, 2 left, and the way to more.
#[tokio::test]
async fn five_more_of_ten_after_eight_are_refused_with_two_left() {
    let app = start("tiers").await;
    assert!(consume(&app, "user:uuid", "ai_generations", 8).await.is_allowed());

    let refused = consume(&app, "user:uuid", "ai_generations", 5).await;
    let fitting = consume(&app, "user:uuid", "ai_generations", 2).await;

    assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "limit_exceeded"));
    assert_eq!(refused.body["upgrade_url"], "https://app.example/billing/upgrade");
    assert_eq!(refused.body["recommended_plan"], "starter");
    assert_eq!(refused.body["violated-policies"], json!(["ai_generations-month"]));
    let limit = refused.limit("ai_generations-month");
    assert_eq!(
        [&limit["limit"], &limit["used"], &limit["remaining"]],
        [&json!(10), &json!(8), &json!(2)]
    );
    assert!(fitting.is_allowed(), "a refusal takes nothing: {fitting:?}");
    app.finish().await;
}

/// Guards the document's idempotency: a client's key under its old name, for a user and a metric.
#[tokio::test]
async fn the_document_s_idempotency_header_charges_once() {
    let app = start("tiers").await;
    let generate = async |user: &str| {
        let body = json!({ "subject": user, "metric": "ai_generations" });
        let request = app.caller().request(reqwest::Method::POST, "/v1/consume").json(&body);
        crate::support::caller::answer(request.header("x-idempotency-key", "unique-key")).await
    };

    let (first, again) = (generate("user:user-123").await, generate("user:user-123").await);
    let other = generate("user:user-124").await;

    assert_eq!(
        [first.is_replayed(), again.is_replayed(), other.is_replayed()],
        [false, true, false]
    );
    assert_eq!(again.used("ai_generations-month"), 1);
    assert_eq!(usage(&app, "user:user-123").await.used("ai_generations-month"), 1);
    app.finish().await;
}

/// Guards the banner's severities: a warning at 80 %, critical at 95 %.
#[tokio::test]
async fn warnings_begin_at_eighty_and_at_ninety_five_percent() {
    let app = start("tiers").await;
    put(&app, "user:u_1", &json!({ "plan": "starter" })).await;

    let mut warnings: Vec<Value> = Vec::new();
    for amount in [79, 1, 14, 1, 5] {
        let answer = consume(&app, "user:u_1", "ai_generations", amount).await;
        assert!(answer.is_allowed(), "{answer:?}");
        warnings.push(answer.limit("ai_generations-month")["warning"].clone());
    }

    assert_eq!(warnings, ["none", "warning", "warning", "critical", "critical"]);
    app.finish().await;
}
