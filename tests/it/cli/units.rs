//! `headroom grant`, `grants`, `grant-revoke`, `transfer`, `reservations`, `release` and `refund`.

use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::assert_refused;
use super::on;
use crate::support::TestApp;

async fn usage(app: &TestApp, subject: &str) -> [u64; 3] {
    let usage = app.caller().get(&format!("/v1/subjects/{subject}/usage")).await;
    let limit = usage.limit("messages-month");
    ["used", "reserved", "granted_remaining"].map(|name| limit[name].as_u64().unwrap())
}

/// Guards what support gives: in force on the node that runs when the command ends, shown, and taken back.
#[tokio::test]
async fn grants_are_given_shown_and_revoked() {
    let app = TestApp::start().await;
    let grant = ["grant", "user:u_1", "messages", "50", "--expires", "2999-01-01T00:00:00Z"];

    let more = ["--source", "promotion", "--note", "spring sale", "--reason", "ticket 4711"];
    let given = on(&app, &[&grant[..], &more].concat()).await.json();
    let between = usage(&app, "user:u_1").await;
    let raise = ["--period", "month"];
    let raised = on(&app, &[&grant[..], &raise].concat()).await.json();
    let limit = app.caller().get("/v1/subjects/user:u_1/usage").await;
    let spent = app.caller().charge("user:u_1", "messages", 160).await;
    let id = given["id"].to_string();
    let list = on(&app, &["grants", "user:u_1"]).await.json();
    let revoked = on(&app, &["grant-revoke", "user:u_1", &id]).await.json();
    let again = on(&app, &["grant-revoke", "user:u_1", &id]).await;
    let audit = on(&app, &["audit", "--target", "user:u_1"]).await.json();

    assert_eq!((&given["source"], &given["note"]), (&json!("promotion"), &json!("spring sale")));
    assert_eq!((&given["created_by"], &given["state"]), (&json!("cli"), &json!("open")));
    assert_eq!(between, [0, 0, 50]);
    assert_eq!(
        (&raised["period"], limit.limit("messages-month")["limit"].as_u64()),
        (&json!("month"), Some(150))
    );
    assert!(spent.is_allowed(), "{spent:?}");
    let of = |it: &Value| (it["amount"].clone(), it["used"].clone(), it["remaining"].clone());
    let listed: Vec<_> = list.as_array().unwrap().iter().map(of).collect();
    assert_eq!(listed, [(json!(50), json!(0), json!(50)), (json!(50), json!(10), json!(40))]);
    assert_eq!((&revoked["state"], &revoked["remaining"]), (&json!("revoked"), &json!(0)));
    assert_refused(&again, &["no such grant"]);
    let acts = audit.as_array().unwrap().iter();
    let acts: Vec<_> = acts.map(|act| act["action"].as_str().unwrap()).collect();
    assert_eq!(acts, ["grant.revoke", "grant.create", "grant.create"]);
    assert_eq!(audit[2]["reason"], "ticket 4711");
    app.finish().await;
}

/// Guards gifts from the command line: both sides on the node that runs, and nothing when the giver has too little.
#[tokio::test]
async fn a_transfer_moves_units_of_grants() {
    let app = TestApp::start().await;
    on(&app, &["grant", "user:u_1", "messages", "10", "--source", "purchase"]).await.json();

    let moved = on(&app, &["transfer", "user:u_1", "user:u_2", "messages", "4"]).await.json();
    let refused = on(&app, &["transfer", "user:u_1", "user:u_2", "messages", "7"]).await;

    assert_eq!((&moved["state"], &moved["amount"]), (&json!("done"), &json!(4)));
    assert_refused(&refused, &["the grants do not have as much"]);
    assert_eq!(
        (usage(&app, "user:u_1").await, usage(&app, "user:u_2").await),
        ([0, 0, 6], [0, 0, 4])
    );
    app.finish().await;
}

/// Guards work that went wrong: what hangs is listed and released, and what was charged is given back.
#[tokio::test]
async fn a_reservation_is_released_and_an_event_refunded() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let body = json!({ "subject": "user:u_1", "metric": "messages", "amount": 7 });
    let held = caller.post("/v1/reservations", &body).await;
    let charged = caller.charge("user:u_1", "messages", 3).await;
    let event = charged.event_id().to_string();

    let list = on(&app, &["reservations", "user:u_1"]).await.json();
    let id = list[0]["reservation_id"].as_str().unwrap();
    let released = on(&app, &["release", id]).await.json();
    let refunded = on(&app, &["refund", &event]).await.json();

    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list[0]["reservation_id"], held.body["reservation_id"]);
    assert_eq!((&list[0]["metric"], &list[0]["amount"]), (&json!("messages"), &json!(7)));
    assert_eq!((&released["returned"], &released["subject"]), (&json!(7), &json!("user:u_1")));
    assert_eq!(
        (&refunded["refunds"], &refunded["refunded"][0]["units"]),
        (&json!(event), &json!(3))
    );
    assert_eq!(usage(&app, "user:u_1").await, [0, 0, 0]);
    assert_eq!(on(&app, &["reservations", "user:u_1"]).await.json(), json!([]));
    assert_refused(&on(&app, &["release", id]).await, &["has ended"]);
    app.finish().await;
}

/// Guards that a mistyped command names the argument and changes nothing.
#[tokio::test]
async fn an_argument_that_is_wrong_is_named() {
    let app = TestApp::start().await;
    let (long, unknown) = ("x".repeat(501), Uuid::now_v7().to_string());
    let give: [&str; 4] = ["grant", "user:u_1", "messages", "5"];
    let with = |more: &[&'static str]| [&give[..], more].concat();
    let noted = [&give[..], &["--note", &long]].concat();
    let wrong: [(Vec<&str>, &[&str]); 14] = [
        (vec!["grant", "u_1", "messages", "5"], &["SUBJECT", "scope:id"]),
        (vec!["grant", "user:u_1", "Messages", "5"], &["METRIC", "1 to 64"]),
        (vec!["grant", "user:u_1", "tokens", "5"], &["the metric is not in the catalogue"]),
        (vec!["grant", "user:u_1", "messages", "0"], &["AMOUNT must be between 1 and 2147483648"]),
        (with(&["--source", "gift"]), &["--source must be admin, promotion or purchase"]),
        (with(&["--period", "month"]), &["--period needs --expires"]),
        (with(&["--period", "year"]), &["--period must be minute"]),
        (with(&["--expires", "2020-01-01T00:00:00Z"]), &["--expires must be in the future"]),
        (noted, &["--note must be at most 500 bytes"]),
        (vec!["grants", "u_1"], &["SUBJECT"]),
        (
            vec!["transfer", "user:u_1", "user:u_1", "messages", "5"],
            &["TO must be another subject"],
        ),
        (vec!["transfer", "user:u_1", "u_2", "messages", "5"], &["TO", "scope:id"]),
        (vec!["release", "rsv_x"], &["no such reservation"]),
        (vec!["refund", &unknown], &["no such event"]),
    ];

    for (arguments, words) in wrong {
        assert_refused(&on(&app, &arguments).await, words);
    }

    assert_eq!(on(&app, &["grants", "user:u_1"]).await.json(), json!([]));
    assert_eq!(usage(&app, "user:u_1").await, [0, 0, 0]);
    app.finish().await;
}
