//! What rules do to subjects, beside telling of them.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::alerts::alerts;
use super::alerts::evaluate;
use super::alerts::only;
use super::alerts::start;
use super::streamed::Stream;
use crate::api::bad_input::assert_problem;
use crate::support::TestApp;
use crate::support::caller::Caller;
use crate::support::caller::answer;

const SUBJECT: &str = "/v1/subjects/user:u_1";

/// A rule about counters that were set, which fires for `user:u_1` at once.
async fn fire(app: &TestApp, nodes: usize, action: Value) {
    let caller = app.caller();
    only(
        &caller,
        &json!({
            "kind": "bypass", "threshold": 1, "window_s": 3_600, "cooldown_s": 3_600, "enabled": true,
            "action": action
        }),
    )
    .await;
    caller.overwrite(&format!("{SUBJECT}/usage/messages"), &json!({ "value": 1 })).await;
    app.flush().await;
    evaluate(app, nodes).await;
}

/// Moves the end of all restraints to now, as time would, and lets the nodes look.
async fn let_time_pass(app: &TestApp, nodes: usize) {
    app.postgres().await.execute("UPDATE restraints SET ends_at = now()", &[]).await.unwrap();
    evaluate(app, nodes).await;
}

/// What was done to the subject by rules, newest first: the act, who, and why.
async fn acts(caller: &Caller) -> Vec<(String, String, String)> {
    let body = caller.get("/v1/audit?target=user:u_1").await.body;
    let text = |act: &Value, name: &str| act[name].as_str().unwrap_or_default().to_owned();
    let acts = body["acts"].as_array().unwrap().iter();
    let acts = acts.map(|act| (text(act, "action"), text(act, "actor"), text(act, "reason")));
    acts.filter(|(action, ..)| action.starts_with("restraint")).collect()
}

/// Guards that a rule blocks a subject on every node from the next request on, visibly and with its reason, and only until its
/// time has passed.
#[tokio::test]
async fn a_rule_blocks_a_subject_on_every_node_until_its_time_has_passed() {
    let app = start(2).await;
    let mut stream =
        Stream::open(&app.caller_of(1), "?types=subject-restrained,subject-unrestrained", None)
            .await;
    app.caller_of(1).consume("user:u_1", "gemini").await;

    fire(&app, 2, json!({ "block": { "for_s": 3_600 } })).await;

    for node in 0..2 {
        let caller = app.caller_of(node);
        let refused = caller.consume("user:u_1", "gemini").await;
        let words = ["user:u_1 is blocked for a while"];
        assert_problem(&refused, StatusCode::TOO_MANY_REQUESTS, "abuse_detected", &words);
        let kind = "https://iana.org/assignments/http-problem-types#abnormal-usage-detected";
        assert_eq!(refused.body["type"], kind);
        let retry_after_s: u64 = refused.header("retry-after").parse().unwrap();
        assert!((3_000..=3_600).contains(&retry_after_s), "{refused:?}");
        let gateway = caller.request(Method::GET, "/v1/forward-auth?deny=403&metric=messages");
        let gateway = answer(gateway.header("x-headroom-subject", "user:u_1")).await;
        assert_eq!((gateway.status.as_u16(), gateway.code()), (403, "abuse_detected"));
        assert_eq!(gateway.header("x-headroom-status"), "429");
        assert_eq!(gateway.header("x-headroom-code"), "abuse_detected");
        assert!(caller.consume("user:u_2", "gemini").await.is_allowed());
    }
    let told = stream.next().await.unwrap();
    assert_eq!(
        (told.kind.as_str(), &told.body["subject"]),
        ("subject-restrained", &json!("user:u_1"))
    );
    let shown = &app.caller().get(SUBJECT).await.body;
    let restraint = &shown["restraints"][0];
    assert_eq!(shown["blocked"], json!(false), "an admin did not");
    assert_eq!(restraint["rule"], json!("mine"));
    assert_eq!(restraint["action"], json!({ "block": { "for_s": 3_600 } }));
    assert_eq!(restraint["reason"], json!("bypass 1, from 1"));
    assert!(restraint["ends_s"].as_i64().unwrap() > app.clock.now_ms() / 1_000 + 3_000);

    let_time_pass(&app, 2).await;

    for node in 0..2 {
        assert!(app.caller_of(node).consume("user:u_1", "gemini").await.is_allowed());
    }
    assert_eq!(stream.next().await.unwrap().kind, "subject-unrestrained");
    assert_eq!(app.caller().get(SUBJECT).await.body.get("restraints"), None);
    let act =
        |action: &str, reason: &str| (action.to_owned(), "headroom".to_owned(), reason.to_owned());
    let wanted = [
        act("restraint.end", "its time has passed"),
        act("restraint.put", "rule mine: bypass 1, from 1"),
    ];
    assert_eq!(acts(&app.caller()).await, wanted, "each once, of two nodes");
    app.finish().await;
}

/// Guards that a rule slows a subject: a limit of the minute beside the others, which goes again.
#[tokio::test]
async fn a_rule_slows_a_subject_by_a_limit_of_the_minute() {
    let app = start(1).await;
    let caller = app.caller();
    app.clock.stop_at(app.clock.now_ms());

    let slow = json!({ "slow": { "metric": "messages", "per_minute": 2, "for_s": 60 } });
    fire(&app, 1, slow).await;

    for _ in 0..2 {
        assert!(caller.consume("user:u_1", "gemini").await.is_allowed());
    }
    let refused = caller.consume("user:u_1", "gemini").await;
    assert_eq!(refused.code(), "limit_exceeded");
    assert_eq!(refused.limit("messages-minute")["limit"], json!(2));
    assert!(caller.consume("user:u_2", "gemini").await.is_allowed());
    let_time_pass(&app, 1).await;
    assert!(caller.consume("user:u_1", "gemini").await.is_allowed());
    app.finish().await;
}

/// Guards that what a rule has put on a subject stays over a restart and over a change of the profile, and that an admin can
/// lift it.
#[tokio::test]
async fn a_restraint_stays_until_it_ends_or_an_admin_lifts_it() {
    let mut app = start(1).await;
    fire(&app, 1, json!({ "block": { "for_s": 3_600 } })).await;

    let put = app.caller().put(SUBJECT, "*", &json!({ "time_zone": "Europe/Berlin" })).await;
    assert_eq!(put.body["restraints"][0]["rule"], json!("mine"), "{put:?}");
    app.stop_nodes().await;
    app.add_node().await;
    evaluate(&app, 1).await;

    let caller = app.caller();
    assert_eq!(caller.consume("user:u_1", "gemini").await.code(), "abuse_detected");
    assert_eq!(caller.delete_if(SUBJECT, "*").await.status.as_u16(), 204);
    assert_eq!(caller.consume("user:u_1", "gemini").await.code(), "abuse_detected");
    for _ in 0..2 {
        let lifted = caller.delete(&format!("{SUBJECT}/restraints")).await;
        assert_eq!(lifted.status.as_u16(), 204, "{lifted:?}");
        assert!(caller.consume("user:u_1", "gemini").await.is_allowed());
    }
    let (action, actor, _) = acts(&caller).await.remove(0);
    assert_eq!((action.as_str(), actor.as_str()), ("restraint.end", "bootstrap"));
    app.finish().await;
}

/// Guards the bound of one look, and that whoever it leaves out is found by the next.
#[tokio::test]
async fn a_rule_that_finds_many_goes_on_with_the_others_the_next_time() {
    let app = start(1).await;
    let block = json!({
        "kind": "denial_rate", "threshold": 5, "window_s": 60, "cooldown_s": 3_600, "enabled": true,
        "action": { "block": { "for_s": 60 } }
    });
    only(&app.caller(), &block).await;
    let many = "INSERT INTO denial_minutes (minute, subject, denials)
        SELECT date_trunc('minute', now()), 'user:u_' || number, 5
        FROM generate_series(1, 130) AS number";
    app.postgres().await.execute(many, &[]).await.unwrap();
    let count = "SELECT count(*), count(DISTINCT subject) FROM restraints WHERE ended_at IS NULL";

    let mut found = Vec::new();
    for _ in 0..3 {
        evaluate(&app, 1).await;
        let row = app.postgres().await.query_one(count, &[]).await.unwrap();
        found.push((row.get::<_, i64>(0), row.get::<_, i64>(1)));
    }

    assert_eq!(found, [(100, 100), (130, 130), (130, 130)]);
    assert_eq!(alerts(&app.caller()).await.len(), 100, "the latest");
    app.finish().await;
}

/// Guards that a rule can only do what there is, and for a bounded time; and that nobody puts a restraint by hand.
#[tokio::test]
async fn a_rule_that_could_do_nothing_is_refused() {
    let app = start(1).await;
    let caller = app.caller();
    let rule = |field: &str, value: Value| {
        let mut rule = json!({
            "kind": "bypass", "threshold": 1, "window_s": 60, "cooldown_s": 0, "enabled": true
        });
        rule[field] = value;
        rule
    };
    let slow = |metric: &str| json!({ "slow": { "metric": metric, "per_minute": 1, "for_s": 60 } });
    for (rule, code) in [
        (rule("action", slow("nothing")), "unknown_metric"),
        (rule("action", json!({ "block": { "for_s": 0 } })), "invalid_request"),
        (rule("action", json!({ "block": { "for_s": 2_678_401 } })), "invalid_request"),
        (rule("action", json!({ "warn": {} })), "invalid_request"),
        (rule("channels", json!(["00000000-0000-7000-8000-000000000000"])), "unknown_webhook"),
    ] {
        let answer = caller.overwrite("/v1/alerts/mine", &rule).await;
        assert_eq!(answer.code(), code, "{answer:?}");
    }
    let restraint =
        json!({ "rule": "r", "reason": "", "ends_s": 1, "action": { "block": { "for_s": 1 } } });
    let answer = caller.put_new(SUBJECT, &json!({ "restraints": [restraint] })).await;
    assert!(answer.detail().contains("rules make them"), "{answer:?}");
    app.finish().await;
}
