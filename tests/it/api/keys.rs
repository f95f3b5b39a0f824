//! API keys: who may do what, where, and until when.

use std::time::Duration;

use chrono::TimeDelta;
use headroom::domain::Permission;
use headroom::quota::KeyRequest;
use headroom::quota::KeyRing;
use reqwest::Method;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::ADMIN_KEY;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::Caller;
use crate::support::caller::answer;
use crate::support::poll::eventually;

fn request(permissions: &[&str]) -> KeyRequest {
    let permissions = permissions.iter().map(|name| Permission::named(name).unwrap());
    KeyRequest {
        name: "of a test".to_owned(),
        permissions: permissions.collect(),
        subject_prefix: None,
        expires_at: None,
    }
}

/// A key that the node knows already.
async fn make(app: &TestApp, request: KeyRequest) -> String {
    let key = KeyRing::create(app.ledger(), request, "cli", app.clock.now()).await.unwrap();
    app.quota().refresh_keys().await.unwrap();
    key.reveal().to_owned()
}

/// A key with those permissions, fenced into a part of the tree.
pub(crate) async fn fenced_key(app: &TestApp, permissions: &[&str], prefix: &str) -> String {
    let subject_prefix = Some(prefix.to_owned());
    make(app, KeyRequest { subject_prefix, ..request(permissions) }).await
}

/// A key with those permissions, over the whole tree.
pub(crate) async fn key(app: &TestApp, permissions: &[&str]) -> String {
    make(app, request(permissions)).await
}

/// What each kind of request answers to a caller: check, consume, read, reset.
async fn tries(caller: &Caller, subject: &str) -> [Answer; 4] {
    let body = json!({ "subject": subject, "model": "gemini-2.0-flash" });
    let path = format!("/v1/subjects/{}/usage", subject.replace('/', "%2F"));
    [
        caller.post("/v1/check", &body).await,
        caller.post("/v1/consume", &body).await,
        caller.get(&path).await,
        caller.delete(&path).await,
    ]
}

fn statuses(answers: &[Answer; 4]) -> [u16; 4] {
    answers.each_ref().map(|answer| answer.status.as_u16())
}

/// Guards least privilege: a permission opens its own routes, and admin opens all.
#[tokio::test]
async fn each_permission_opens_its_own_routes() {
    let app = TestApp::start().await;

    for (permissions, expected) in [
        (&["check"][..], [200, 403, 403, 403]),
        (&["consume"], [403, 200, 403, 403]),
        (&["read"], [403, 403, 200, 403]),
        (&["admin"], [200, 200, 200, 200]),
        (&["check", "consume", "read"], [200, 200, 200, 403]),
    ] {
        let caller = app.caller().with_key(&key(&app, permissions).await);
        let answers = tries(&caller, "user:u_1").await;
        assert_eq!(statuses(&answers), expected, "{permissions:?}");
        let refused = answers.iter().filter(|answer| answer.status == StatusCode::FORBIDDEN);
        assert!(refused.clone().all(|answer| answer.code() == "permission_denied"));
    }

    app.finish().await;
}

/// Guards the fence: outside of it nothing exists, not even the difference between a subject and none.
#[tokio::test]
async fn a_fenced_key_knows_nothing_outside_of_its_part_of_the_tree() {
    let app = TestApp::start().await;
    let prefix = Some("org:acme".to_owned());
    let fenced = make(&app, KeyRequest { subject_prefix: prefix, ..request(&["admin"]) }).await;
    let caller = app.caller().with_key(&fenced);
    assert!(app.caller().consume("org:other/user:u_1", "gemini-2.0-flash").await.is_allowed());

    for within in ["org:acme", "org:acme/user:u_1", "org:acme/team:t/user:u_2"] {
        assert_eq!(statuses(&tries(&caller, within).await), [200; 4], "{within}");
    }
    for outside in ["org:other/user:u_1", "org:never", "org:acm", "org:acme2", "user:u_1"] {
        let answers = tries(&caller, outside).await;
        assert_eq!(statuses(&answers), [404; 4], "{outside}");
        let detail = "no such subject within the caller's reach";
        assert!(answers.iter().all(|answer| answer.detail() == detail), "{answers:?}");
    }
    let anonymous = caller.post("/v1/consume", &json!({ "model": "gemini-2.0-flash" })).await;
    let chat = caller.get("/api/usage?userId=u_1").await;
    assert_eq!([anonymous.status, chat.status], [StatusCode::NOT_FOUND; 2]);
    app.finish().await;
}

/// Guards that only the exact key is a key, and that a refusal does not tell what is wrong with it.
#[tokio::test]
async fn keys_that_are_wrong_in_any_place_are_refused_alike() {
    let app = TestApp::start().await;
    let good = key(&app, &["read"]).await;
    let foreign = headroom::domain::NewApiKey::generate().unwrap();
    let wrong_digits = format!("{}{}", &good[..good.len() - 1], swapped(&good));
    let same_id = format!("{}{}", &good[..21], &foreign.reveal()[21..]);
    let long = "k".repeat(10_000);
    let wrong = [
        wrong_digits.as_str(),
        same_id.as_str(),
        foreign.reveal(),
        &good[..good.len() - 1],
        &ADMIN_KEY[1..],
        "x",
        &long,
    ];

    assert_eq!(app.caller().with_key(&good).get("/api/usage?userId=u").await.status, 200);
    let mut bodies = Vec::new();
    for key in wrong {
        let mut answer = app.caller().with_key(key).get("/api/usage?userId=u").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{key}");
        answer.body.as_object_mut().unwrap().remove("request_id");
        bodies.push(answer.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
    app.finish().await;
}

fn swapped(key: &str) -> char {
    if key.ends_with('0') { '1' } else { '0' }
}

/// Guards both headers and the scheme.
#[tokio::test]
async fn a_key_comes_as_a_bearer_or_in_a_header_of_its_own() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let get = || caller.stranger(Method::GET, "/api/usage?userId=u");

    let own = answer(get().header("x-api-key", ADMIN_KEY)).await;
    let lower = answer(get().header("authorization", format!("bearer {ADMIN_KEY}"))).await;
    let basic = answer(get().basic_auth("admin", Some(ADMIN_KEY))).await;
    let bare = answer(get().header("authorization", ADMIN_KEY)).await;
    let in_query =
        caller.stranger(Method::GET, &format!("/api/usage?userId=u&api_key={ADMIN_KEY}"));

    assert_eq!([own.status, lower.status], [StatusCode::OK; 2]);
    let in_query = answer(in_query).await;
    assert_eq!([basic.status, bare.status, in_query.status], [StatusCode::UNAUTHORIZED; 3]);
    app.finish().await;
}

/// Guards expiry, by the service's clock.
#[tokio::test]
async fn a_key_ends_with_its_expiry() {
    let app = TestApp::start().await;
    let expires_at = Some(app.clock.now() + TimeDelta::hours(1));
    let key = make(&app, KeyRequest { expires_at, ..request(&["read"]) }).await;
    let caller = app.caller().with_key(&key);

    let before = caller.get("/api/usage?userId=u").await;
    app.clock.advance(3_600_000);
    let after = caller.get("/api/usage?userId=u").await;

    assert_eq!([before.status, after.status], [StatusCode::OK, StatusCode::UNAUTHORIZED]);
    app.finish().await;
}

/// Guards revocation: every node notices within 5 s with the default settings, as it does a new key.
#[tokio::test]
async fn a_new_key_and_its_revocation_reach_every_node() {
    const WITHIN: Duration = Duration::from_secs(5);
    let app = TestApp::start_with(Options { nodes: 2, ..Options::default() }).await;
    let key =
        KeyRing::create(app.ledger(), request(&["read"]), "cli", app.clock.now()).await.unwrap();
    let callers = [0, 1].map(|node| app.caller_of(node).with_key(key.reveal()));
    let all_answer = async |status: StatusCode| {
        let answers = callers.iter().map(|caller| caller.get("/api/usage?userId=u"));
        futures_util::future::join_all(answers).await.iter().all(|it| it.status == status)
    };

    eventually("the key's use", WITHIN, || all_answer(StatusCode::OK)).await;
    assert!(KeyRing::revoke(app.ledger(), key.as_key().id(), "cli").await.unwrap());
    eventually("the key's refusal", WITHIN, || all_answer(StatusCode::UNAUTHORIZED)).await;

    app.finish().await;
}

/// Guards keys over HTTP: one is made, works on this node at once, is listed without its text, is in the audit log, and is refused at
/// once when it is revoked.
#[tokio::test]
async fn a_key_is_made_listed_and_revoked_over_http() {
    let app = TestApp::start().await;
    let admin = app.caller();
    let order = json!({ "name": "backend", "permissions": ["read"], "subject_prefix": "org:acme" });

    let made = admin.post("/v1/keys", &order).await;

    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let id = made.body["id"].as_str().unwrap().to_owned();
    let key = made.body["key"].as_str().unwrap().to_owned();
    let holder = app.caller().with_key(&key);
    let within = "/v1/subjects/org:acme%2Fuser:u_1/usage";
    assert_eq!(holder.get(within).await.status, StatusCode::OK);
    assert_eq!(holder.get("/v1/keys").await.status, StatusCode::FORBIDDEN);
    let listed = admin.get("/v1/keys").await;
    let entry = &listed.body["keys"][0];
    assert_eq!((&entry["id"], &entry["subject_prefix"]), (&json!(id), &json!("org:acme")));
    assert!(entry["revoked_at"].is_null() && !listed.text.contains(&key), "{listed:?}");

    let revoked = admin.delete(&format!("/v1/keys/{id}")).await;

    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    assert_eq!(holder.get(within).await.status, StatusCode::UNAUTHORIZED);
    let again = admin.delete(&format!("/v1/keys/{id}")).await;
    assert_eq!((again.status, again.code()), (StatusCode::NOT_FOUND, "unknown_key"));
    let acts = admin.get(&format!("/v1/audit?target={id}")).await;
    let actions: Vec<_> =
        acts.body["acts"].as_array().unwrap().iter().map(|it| &it["action"]).collect();
    assert_eq!(actions, ["key.revoke", "key.create"]);
    app.finish().await;
}

/// Guards that a key cannot be made good for nothing, and that a fenced admin cannot make one that reaches further.
#[tokio::test]
async fn a_key_with_a_wrong_order_is_not_made() {
    let app = TestApp::start().await;
    let fenced = app.caller().with_key(&fenced_key(&app, &["admin"], "org:acme").await);
    for (order, field) in [
        (json!({ "name": "", "permissions": ["read"] }), "name"),
        (json!({ "name": "a", "permissions": [] }), "permissions"),
        (json!({ "name": "a", "permissions": ["write"] }), "permissions"),
        (
            json!({ "name": "a", "permissions": ["read"], "subject_prefix": "acme" }),
            "subject_prefix",
        ),
        (
            json!({ "name": "a", "permissions": ["read"], "expires_at": "2020-01-01T00:00:00Z" }),
            "expires_at",
        ),
    ] {
        let answer = app.caller().post("/v1/keys", &order).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "invalid_request"));
        assert!(answer.text.contains(field), "{answer:?}");
    }

    let answer = fenced.post("/v1/keys", &json!({ "name": "a", "permissions": ["read"] })).await;

    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    app.finish().await;
}
