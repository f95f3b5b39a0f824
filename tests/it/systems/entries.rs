//! Document 000: limit entries of users and projects, by the day, the month or for good.

use reqwest::StatusCode;
use serde_json::json;

use super::command;
use super::consume;
use super::move_to;
use super::put;
use super::start;
use super::usage;
use crate::support::TestApp;

const USER: &str = "user:user_123";
const PROJECT: &str = "user:user_123/project:proj_42";

async fn in_october() -> TestApp {
    let app = start("entries").await;
    move_to(&app, "2025-10-14T09:30:00Z");
    app
}

/// Guards the document's monthly entry: 37 of 100 pages, from the 1st to the last second of the 31st of October.
#[tokio::test]
async fn thirty_seven_pages_of_a_hundred_count_in_october_alone() {
    let app = in_october().await;

    let used = consume(&app, PROJECT, "page_count", 37).await;
    let one_too_many = consume(&app, PROJECT, "page_count", 64).await;
    app.flush().await;
    move_to(&app, "2025-10-31T23:59:58Z");
    let last_of_october = usage(&app, PROJECT).await;
    move_to(&app, "2025-11-01T00:00:00Z");
    let november = usage(&app, PROJECT).await;

    let pages = used.limit("page_count-month");
    assert_eq!((&pages["subject"], &pages["limit"]), (&json!(PROJECT), &json!(100)));
    assert_eq!((&pages["used"], &pages["remaining"]), (&json!(37), &json!(63)));
    assert_eq!(pages["resets_at"], "2025-11-01T00:00:00Z", "the document's end is the last second");
    assert_eq!(one_too_many.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(last_of_october.used("page_count-month"), 37);
    assert_eq!(november.used("page_count-month"), 0);
    let stored = "SELECT subject, used, window_start::text, window_end::text FROM usage_counters";
    let rows = app.postgres().await.query(stored, &[]).await.unwrap();
    let row = |row: &tokio_postgres::Row| -> (String, i64, String, String) {
        (row.get(0), row.get(1), row.get(2), row.get(3))
    };
    let (subject, used, from, to) = row(&rows[0]);
    assert_eq!((rows.len(), subject.as_str(), used), (1, PROJECT, 37));
    assert!(from.starts_with("2025-10-01 00:00:00+00"), "{from}");
    assert!(to.starts_with("2025-11-01 00:00:00+00"), "{to}");
    app.finish().await;
}

/// Guards the document's lifetime entry: 153,600 of 1,048,576 bytes that no month and no reset gives back.
#[tokio::test]
async fn storage_is_the_user_s_for_good_whoever_fills_it() {
    let app = in_october().await;

    let stored = consume(&app, USER, "storage", 153_600).await;
    let more = consume(&app, PROJECT, "storage", 1_024).await;
    move_to(&app, "2025-12-14T09:30:00Z");
    let all = command(&app, &["reset", "user:user_123/**"]).await.json();
    let later = usage(&app, USER).await;
    let too_much = consume(&app, PROJECT, "storage", 1_048_576 - 154_624 + 1).await;
    let filled = consume(&app, PROJECT, "storage", 1_048_576 - 154_624).await;

    let storage = stored.limit("storage-lifetime");
    assert_eq!((&storage["used"], &storage["limit"]), (&json!(153_600), &json!(1_048_576)));
    assert_eq!((&storage["remaining"], &storage["resets_at"]), (&json!(894_976), &json!(null)));
    assert_eq!(
        more.limit("storage-lifetime")["subject"],
        USER,
        "a project fills its user's storage"
    );
    assert_eq!(all["cleared"], json!([]), "a lifetime limit is cleared only when it is named");
    assert_eq!(later.used("storage-lifetime"), 154_624);
    assert_eq!(
        (too_much.status, too_much.code()),
        (StatusCode::TOO_MANY_REQUESTS, "limit_exceeded")
    );
    assert_eq!(too_much.header("retry-after"), "", "waiting does not help");
    assert!(filled.is_allowed());
    app.finish().await;
}

/// Guards the boolean entry: on for projects, off where a profile says so, and nothing that users have.
#[tokio::test]
async fn tests_of_two_variants_are_a_switch_of_the_project() {
    let app = in_october().await;
    let may_test = async |subject: &str| {
        let body = json!({ "subject": subject, "feature": "ab_test_enabled" });
        let check = app.caller().post("/v1/check", &body).await;
        let refused = check.code() == "feature_not_entitled";
        assert_eq!(refused, check.status == StatusCode::FORBIDDEN, "{check:?}");
        check.is_allowed()
    };

    let (of_user, of_project) = (may_test(USER).await, may_test(PROJECT).await);
    put(&app, PROJECT, &json!({ "features": { "ab_test_enabled": false } })).await;
    let switched_off = may_test(PROJECT).await;
    put(&app, USER, &json!({ "features": { "ab_test_enabled": true } })).await;
    let of_another = may_test("user:user_123/project:proj_43").await;
    let shown = command(&app, &["usage", PROJECT]).await.json();

    assert_eq!([of_user, of_project, switched_off, of_another], [false, true, false, true]);
    assert_eq!(shown["features"], json!({ "ab_test_enabled": false }));
    app.finish().await;
}

/// Guards daily entries: a limit of one project, by the day, beside those of its plan.
#[tokio::test]
async fn a_day_s_limit_is_one_project_s_own_and_back_the_next_day() {
    let app = in_october().await;
    let two = json!({ "limits": [{ "metric": "visitor_count", "period": "day", "max": 2 }] });
    put(&app, PROJECT, &two).await;

    let visits = [1, 1, 1].map(|amount| consume(&app, PROJECT, "visitor_count", amount));
    let statuses: Vec<u16> =
        futures_util::future::join_all(visits).await.iter().map(|it| it.status.as_u16()).collect();
    let elsewhere = consume(&app, "user:user_123/project:proj_43", "visitor_count", 1_000).await;
    move_to(&app, "2025-10-15T00:00:00Z");
    let tomorrow = consume(&app, PROJECT, "visitor_count", 2).await;

    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 2, "{statuses:?}");
    assert_eq!(elsewhere.limit("visitor_count-day")["unlimited"], true);
    assert!(tomorrow.is_allowed(), "{tomorrow:?}");
    app.finish().await;
}
