//! `headroom keys`.

use reqwest::StatusCode;

use super::assert_refused;
use super::on;
use crate::support::TestApp;

/// Guards the life of a key on the command line: shown once, listed without its text, gone after its revocation.
#[tokio::test]
async fn a_key_is_made_listed_and_revoked() {
    let app = TestApp::start().await;
    let create = [
        "keys",
        "create",
        "--name",
        "the chat",
        "--permissions",
        "check,consume",
        "--subject-prefix",
        "org:acme",
        "--expires-at",
        "2126-01-01T00:00:00Z",
    ];

    let created = on(&app, &create).await;

    let key = created.stdout.strip_suffix('\n').unwrap();
    assert!(key.starts_with("hr_live_") && key.len() == 59, "{created:?}");
    let id = key.split('_').nth(2).unwrap();
    let listed = on(&app, &["keys", "list"]).await;
    listed.assert_hides(key.rsplit('_').next().unwrap());
    let listed = listed.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!((&listed[0]["id"], &listed[0]["name"]), (&id.into(), &"the chat".into()));
    assert_eq!(listed[0]["permissions"], serde_json::json!(["check", "consume"]));
    assert_eq!(listed[0]["subject_prefix"], "org:acme");
    assert_eq!(listed[0]["expires_at"], "2126-01-01T00:00:00Z");
    app.quota().refresh_keys().await.unwrap();
    let caller = app.caller().with_key(key);
    let used = caller.consume("org:acme/user:u_1", "gemini-2.0-flash").await;
    assert_eq!(used.status, StatusCode::OK);
    let revoked = on(&app, &["keys", "revoke", id]).await;
    assert_eq!((revoked.code, revoked.stdout.as_str()), (0, "revoked\n"));
    assert!(!on(&app, &["keys", "list"]).await.json()[0]["revoked_at"].is_null());
    let again = on(&app, &["keys", "revoke", id]).await;
    assert_refused(&again, &["there is no key in force with that id"]);
    app.finish().await;
}

/// Guards that a request for a key which makes no sense makes none.
#[tokio::test]
async fn a_key_that_makes_no_sense_is_not_made() {
    let app = TestApp::start().await;
    let long = "n".repeat(101);
    let wrong: [(&[&str], &str); 7] = [
        (&["--name", "n", "--permissions", "read,write"], "\"write\" is none of check"),
        (&["--name", "", "--permissions", "read"], "the name must be 1 to 100"),
        (&["--name", &long, "--permissions", "read"], "the name must be 1 to 100"),
        (&["--name", "n"], "--permissions"),
        (&["--name", "n", "--permissions", "read", "--subject-prefix", "acme"], "subject prefix"),
        (&["--name", "n", "--permissions", "read", "--expires-at", "soon"], "--expires-at"),
        (
            &["--name", "n", "--permissions", "read", "--expires-at", "2020-01-01T00:00:00Z"],
            "in the future",
        ),
    ];

    for (options, words) in wrong {
        let arguments = [&["keys", "create"], options].concat();
        assert_refused(&on(&app, &arguments).await, &[words]);
    }

    assert_eq!(on(&app, &["keys", "list"]).await.json(), serde_json::json!([]));
    app.finish().await;
}
