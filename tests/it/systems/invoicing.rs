//! Document 003: companies, with things counted by the month and totals that the application counts itself.

use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::check;
use super::command;
use super::consume;
use super::maxima;
use super::move_to;
use super::put;
use super::start;
use super::usage;
use crate::support::TestApp;

const COMPANY: &str = "company:7";
const EXPENSES: &str = "expenses_per_month";
const MONTHLY: [&str; 3] = [EXPENSES, "estimates_per_month", "ai_queries_per_month"];
const TOTALS: [&str; 2] = ["custom_fields", "recurring_invoices_active"];

async fn in_december() -> TestApp {
    let app = start("invoicing").await;
    move_to(&app, "2025-12-14T12:00:01Z");
    app
}

/// `used`, `limit` and `remaining` of a metric, as `getUsage` returns them.
async fn get_usage(app: &TestApp, metric: &str) -> [Value; 3] {
    let all = usage(app, COMPANY).await;
    let limits = all.body["limits"].as_array().unwrap();
    let limit = limits.iter().find(|limit| limit["metric"] == metric).unwrap();
    ["used", "limit", "remaining"].map(|field| limit[field].clone())
}

/// Guards `canUse`, `incrementUsage`, `getUsage` and `decrementUsage` with the document's 3, 5 and 2.
#[tokio::test]
async fn three_of_five_expenses_leave_two() {
    let app = in_december().await;

    for _ in 0..3 {
        assert!(consume(&app, COMPANY, EXPENSES, 1).await.is_allowed());
    }
    let three = get_usage(&app, EXPENSES).await;
    let can_use = check(&app, COMPANY, EXPENSES, 1).await;
    assert!(consume(&app, COMPANY, EXPENSES, 2).await.is_allowed());
    let cannot_use = check(&app, COMPANY, EXPENSES, 1).await;
    let path = format!("/v1/subjects/{COMPANY}/usage/{EXPENSES}:decrement");
    let one_less = app.caller().post(&path, &json!({ "amount": 1 })).await;
    assert_eq!(one_less.status, StatusCode::OK, "{one_less:?}");
    let can_again = check(&app, COMPANY, EXPENSES, 1).await;

    assert_eq!(three, [json!(3), json!(5), json!(2)]);
    assert!(can_use.is_allowed() && can_again.is_allowed());
    assert_eq!(cannot_use.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(get_usage(&app, EXPENSES).await, [json!(4), json!(5), json!(1)]);
    app.finish().await;
}

/// Guards `getCompanyTier`, `getAllUsage` and the document's tables, `null` being unlimited.
#[tokio::test]
async fn the_tiers_are_the_document_s_and_null_is_unlimited() {
    let app = in_december().await;
    let tier = async || command(&app, &["usage", COMPANY]).await.json()["plan"].clone();

    assert_eq!(tier().await, "free");
    let free = usage(&app, COMPANY).await;
    put(&app, COMPANY, &json!({ "plan": "starter" })).await;
    assert_eq!(tier().await, "starter");
    let starter = usage(&app, COMPANY).await;
    let unmentioned = consume(&app, COMPANY, "ai_queries_per_month", 1_000_000).await;
    put(&app, COMPANY, &json!({ "plan": "business" })).await;
    assert_eq!(tier().await, "business");
    let business = usage(&app, COMPANY).await;

    let names = ["expenses", "estimates", "ai_queries"].map(|it| format!("{it}_per_month-month"));
    let totals = TOTALS.map(|metric| format!("{metric}-lifetime"));
    let all = [&names[..], &totals[..]].concat();
    let with = |maxima: &[Value]| -> Vec<(String, Value)> {
        all.iter().cloned().zip(maxima.iter().cloned()).collect()
    };
    let of = |answer| -> Vec<(String, Value)> {
        maxima(answer).into_iter().map(|(name, max)| (name.to_owned(), max)).collect()
    };
    assert_eq!(of(&free), with(&[5, 3, 3, 2, 1].map(Value::from)));
    let mut of_starter = with(&[50, 20, 0, 5, 5].map(Value::from));
    of_starter.remove(2);
    assert_eq!(of(&starter), of_starter);
    assert!(unmentioned.is_allowed(), "what a plan does not mention is unlimited");
    assert_eq!(of(&business), with(&[const { Value::Null }; 5]));
    for metric in MONTHLY.into_iter().chain(TOTALS) {
        let can_use = check(&app, COMPANY, metric, 1 << 31).await;
        assert!(can_use.is_allowed(), "{metric}");
    }
    app.finish().await;
}

/// Guards the two kinds of the document: monthly features begin anew with the month, totals stay as they were set.
#[tokio::test]
async fn months_begin_anew_and_totals_are_as_the_application_counts_them() {
    let app = in_december().await;
    let set = async |metric: &str, value: &str| {
        command(&app, &["set", COMPANY, metric, value, "--reason", "counted again"]).await.json()
    };
    for metric in MONTHLY {
        assert!(consume(&app, COMPANY, metric, 3).await.is_allowed());
    }

    set("custom_fields", "2").await;
    set("recurring_invoices_active", "4").await;
    let full = check(&app, COMPANY, "custom_fields", 1).await;
    let over = get_usage(&app, "recurring_invoices_active").await;
    move_to(&app, "2026-01-01T00:00:00Z");
    let january = futures_util::future::join_all(MONTHLY.map(|it| get_usage(&app, it))).await;
    let fields = get_usage(&app, "custom_fields").await;
    set("custom_fields", "1").await;
    let room = check(&app, COMPANY, "custom_fields", 1).await;

    assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(over, [json!(4), json!(1), json!(0)], "more than the limit leaves nothing");
    assert!(january.iter().all(|[used, ..]| *used == json!(0)), "{january:?}");
    assert_eq!(fields, [json!(2), json!(2), json!(0)]);
    assert!(room.is_allowed());
    app.finish().await;
}
