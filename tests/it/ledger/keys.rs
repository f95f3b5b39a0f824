use headroom::ledger::Action;
use headroom::ledger::ApiKeyRow;
use headroom::ledger::AuditFilter;
use headroom::ledger::LedgerError;

use super::fixture;

fn key(id: &str) -> ApiKeyRow {
    ApiKeyRow {
        id: id.to_owned(),
        secret_sha256: [7; 32],
        name: "backend".to_owned(),
        permissions: vec!["consume".to_owned(), "read".to_owned()],
        subject_prefix: Some("org:acme".to_owned()),
        created_at: fixture::DAY.start_at(),
        expires_at: Some(fixture::DAY.end_at()),
        revoked_at: None,
    }
}

#[tokio::test]
async fn a_key_is_kept_once_and_revoked_once() {
    let (_database, ledger) = fixture::ledger().await;
    let create = fixture::act(Action::KeyCreate, "k1");
    let revoke = async |id| ledger.revoke_key(id, &fixture::act(Action::KeyRevoke, id)).await;
    let kept = ledger.insert_key(&key("k1"), &create).await.unwrap();
    let other = ApiKeyRow { secret_sha256: [8; 32], ..key("k1") };
    let taken = ledger.insert_key(&other, &create).await.unwrap();

    assert!(kept && !taken);
    assert_eq!(ledger.keys().await.unwrap(), [key("k1")]);
    assert!(revoke("k1").await.unwrap());
    assert!(!revoke("k1").await.unwrap() && !revoke("k2").await.unwrap());
    assert!(ledger.keys().await.unwrap()[0].revoked_at.is_some());
}

/// Who made a key and who revoked it is known; what changed nothing is no act, and a secret is told nowhere.
#[tokio::test]
async fn a_key_that_is_made_or_revoked_is_in_the_audit_log_without_its_secret() {
    let (_database, ledger) = fixture::ledger().await;
    let create = fixture::act(Action::KeyCreate, "k1");
    let revoke = fixture::act(Action::KeyRevoke, "k1");
    for _ in 0..2 {
        ledger.insert_key(&key("k1"), &create).await.unwrap();
    }
    for _ in 0..2 {
        ledger.revoke_key("k1", &revoke).await.unwrap();
    }

    let acts = ledger.audit_page(AuditFilter::default(), 10).await.unwrap();

    let done: Vec<_> = acts.iter().map(|row| (&*row.action, &*row.target)).collect();
    assert_eq!(done, [("key.revoke", "k1"), ("key.create", "k1")]);
    let after: serde_json::Value = serde_json::from_str(acts[1].after.as_ref().unwrap()).unwrap();
    assert_eq!(
        after,
        serde_json::json!({
            "name": "backend",
            "permissions": ["consume", "read"],
            "subject_prefix": "org:acme",
            "expires_at": "2026-11-23T00:00:00Z",
        })
    );
}

#[tokio::test]
async fn a_permission_that_does_not_exist_is_not_kept() {
    let (_database, ledger) = fixture::ledger().await;
    let key = ApiKeyRow { permissions: vec!["root".to_owned()], ..key("k1") };

    let answer = ledger.insert_key(&key, &fixture::act(Action::KeyCreate, "k1")).await;

    assert!(matches!(answer, Err(LedgerError::BadData(_))));
}

#[test]
fn neither_a_hash_nor_a_connection_string_is_shown() {
    assert!(!format!("{:?}", key("k1")).contains("secret"));
    let options = fixture::options("postgres://u:hunter2@h/d");
    assert!(!format!("{options:?}").contains("hunter2"));
}
