//! `PUT /v1/subjects/{subject}/usage/{metric}` and `POST …/usage/{metric}:decrement`.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::bad_input::assert_problem;
use super::keys::fenced_key;
use super::keys::key;
use super::move_to;
use super::told;
use super::with_catalogue;
use crate::support::TestApp;
use crate::support::caller::answer;

const FIELDS: &str = "/v1/subjects/user:u_1/usage/fields";
const CATALOGUE: &str = r#"
    metrics = ["fields"]
    default_plan = "p"
    [plans.p]
    limits = [
        { metric = "fields", period = "lifetime", max = 10 },
        { metric = "fields", period = "month", max = 20 },
        { metric = "fields", period = "hour", max = 15 },
    ]
"#;

async fn start() -> TestApp {
    let app = TestApp::start_with(with_catalogue(CATALOGUE)).await;
    move_to(&app, "2027-02-10T12:00:00Z");
    app
}

fn changed(body: &Value) -> Vec<(String, i64)> {
    let changed = body["changed"].as_array().unwrap().iter();
    let pair =
        |it: &Value| (it["period"].as_str().unwrap().to_owned(), it["units"].as_i64().unwrap());
    changed.map(pair).collect()
}

fn pairs(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected.iter().map(|(period, units)| ((*period).to_owned(), *units)).collect()
}

/// Guards counts of things that are counted elsewhere: set to a value, of all counters of the metric or of one.
#[tokio::test]
async fn a_count_is_set_and_answered_with_what_changed() {
    let app = start().await;
    let caller = app.caller();
    assert!(caller.charge("user:u_1", "fields", 3).await.is_allowed());

    let all = caller.overwrite(FIELDS, &json!({ "value": 7 })).await;
    let one = caller.overwrite(FIELDS, &json!({ "value": 12, "period": "lifetime" })).await;
    let same = caller.overwrite(FIELDS, &json!({ "value": 12, "period": "lifetime" })).await;
    let refused = caller.charge("user:u_1", "fields", 1).await;
    let lower = caller.overwrite(FIELDS, &json!({ "value": 9, "period": "lifetime" })).await;

    assert_eq!(all.status, StatusCode::OK, "{all:?}");
    assert_eq!(changed(&all.body), pairs(&[("month", 4), ("lifetime", 4)]));
    assert_eq!(
        all.body["changed"][0],
        json!({
            "metric": "fields", "period": "month", "units": 4,
            "window_start": "2027-02-01T00:00:00Z", "window_end": "2027-03-01T00:00:00Z",
        })
    );
    assert_eq!(all.body["changed"][1]["window_end"], Value::Null);
    let id: Uuid = all.body["event_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
    assert_eq!(changed(&one.body), pairs(&[("lifetime", 5)]));
    let limits = one.body["usage"]["limits"].as_array().unwrap();
    let used: Vec<u64> = limits.iter().map(|limit| limit["used"].as_u64().unwrap()).collect();
    assert_eq!(used, [12, 7, 3], "hours count what was charged");
    assert_eq!(limits[0]["overage"], 2, "a set may go above the limit");
    assert_eq!(changed(&same.body), []);
    assert_eq!(refused.body["violated-policies"], json!(["fields-lifetime"]));
    assert_eq!(changed(&lower.body), pairs(&[("lifetime", -3)]));
    app.finish().await;
}

/// Guards what is given back: at most to zero.
#[tokio::test]
async fn a_decrement_stops_at_zero() {
    let app = start().await;
    let caller = app.caller();
    let path = format!("{FIELDS}:decrement");
    assert!(caller.charge("user:u_1", "fields", 5).await.is_allowed());

    let one = caller.post(&path, &json!({ "amount": 1, "period": "month" })).await;
    let many = caller.post(&path, &json!({ "amount": 2_147_483_648_u64 })).await;
    let nothing = caller.post(&path, &json!({ "amount": 1 })).await;
    let again = caller.charge("user:u_1", "fields", 10).await;

    assert_eq!(changed(&one.body), pairs(&[("month", -1)]), "{one:?}");
    assert_eq!(changed(&many.body), pairs(&[("month", -4), ("lifetime", -5)]));
    assert_eq!((nothing.status, changed(&nothing.body)), (StatusCode::OK, vec![]));
    assert!(again.is_allowed(), "{again:?}");
    app.finish().await;
}

/// Guards promise 4 for acts: a decrement that is sent again is done once, and a key is for one act.
#[tokio::test]
async fn an_act_under_one_key_is_done_once() {
    let app = start().await;
    let caller = app.caller();
    let less = async |amount: u64| {
        let request = caller.request(Method::POST, &format!("{FIELDS}:decrement"));
        let request = request.header("idempotency-key", "\"k-1\"");
        answer(request.json(&json!({ "amount": amount }))).await
    };
    assert!(caller.charge("user:u_1", "fields", 5).await.is_allowed());

    let (first, again, other) = (less(2).await, less(2).await, less(3).await);

    assert_eq!(changed(&first.body), pairs(&[("month", -2), ("lifetime", -2)]), "{first:?}");
    assert_eq!(again.body["event_id"], first.body["event_id"]);
    assert_eq!(again.body["changed"], first.body["changed"]);
    assert_eq!(told(&other), (422, "idempotency_mismatch"));
    let usage = caller.get("/v1/subjects/user:u_1/usage?metric=fields").await;
    assert_eq!((usage.used("fields-lifetime"), usage.used("fields-hour")), (3, 5));
    app.finish().await;
}

/// Guards the forms of both: what is wrong is named with its bound, and other words after a metric are no route.
#[tokio::test]
async fn a_count_out_of_bounds_or_of_an_unknown_metric_is_refused() {
    let app = start().await;
    let caller = app.caller();
    let decrement = format!("{FIELDS}:decrement");
    let period = "must be day, week, month or lifetime";

    for (body, words) in [
        (json!({ "value": 9_007_199_254_740_992_u64 }), "value must be at most 9007199254740991"),
        (json!({ "value": -1 }), "value is not valid"),
        (json!({ "value": 0.5 }), "value is not valid"),
        (json!({}), "missing field `value`"),
        (json!({ "value": 1, "amount": 1 }), "amount is not valid: unknown field"),
        (json!({ "value": 1, "period": "year" }), "period is not valid"),
        (json!({ "value": 1, "period": "hour" }), period),
    ] {
        let answer = caller.overwrite(FIELDS, &body).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", &[words]);
    }
    for (body, words) in [
        (json!({ "amount": 0 }), "amount must be 1 to 2147483648"),
        (json!({ "amount": 2_147_483_649_u64 }), "amount must be 1 to 2147483648"),
        (json!({ "amount": -1 }), "amount is not valid"),
        (json!({ "amount": 1, "period": "minute" }), period),
    ] {
        let answer = caller.post(&decrement, &body).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", &[words]);
    }
    let usage = "/v1/subjects/user:u_1/usage";
    let (set, less) = (json!({ "value": 1 }), json!({ "amount": 1 }));
    let unknown = [
        caller.overwrite(&format!("{usage}/tokens"), &set).await,
        caller.post(&format!("{usage}/tokens:decrement"), &less).await,
    ];
    assert!(unknown.iter().all(|it| told(it) == (404, "unknown_metric")), "{unknown:?}");
    for path in [FIELDS.to_owned(), format!("{FIELDS}:increment"), format!("{FIELDS}:decrement:")] {
        let answer = caller.post(&path, &less).await;
        assert_eq!(told(&answer), (404, "unknown_route"), "{path}");
    }
    assert_eq!(app.flush().await, 0);
    app.finish().await;
}

/// Guards who may rewrite counts, and where.
#[tokio::test]
async fn counts_are_changed_by_admins_within_their_fence() {
    let app = start().await;
    let body = json!({ "value": 1 });
    let less = json!({ "amount": 1 });
    let member = "/v1/subjects/org:acme%2Fuser:u_1/usage/fields";
    let fenced = app.caller().with_key(&fenced_key(&app, &["admin"], "org:acme").await);
    let others = app.caller().with_key(&key(&app, &["check", "consume", "read"]).await);
    let nobody = app.caller().with_key("nobody's key");

    assert_eq!(fenced.overwrite(member, &body).await.status, StatusCode::OK);
    assert_eq!(told(&fenced.overwrite(FIELDS, &body).await), (404, "unknown_subject"));
    let below = fenced.post(&format!("{FIELDS}:decrement"), &less).await;
    assert_eq!(told(&below), (404, "unknown_subject"));
    for (caller, expected) in
        [(others, (403, "permission_denied")), (nobody, (401, "unauthenticated"))]
    {
        assert_eq!(told(&caller.overwrite(FIELDS, &body).await), expected);
        assert_eq!(told(&caller.post(&format!("{FIELDS}:decrement"), &less).await), expected);
    }
    app.finish().await;
}
