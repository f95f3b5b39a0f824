use headroom::ledger::ApiKeyRow;
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
    let kept = ledger.insert_key(&key("k1")).await.unwrap();
    let taken = ledger.insert_key(&ApiKeyRow { secret_sha256: [8; 32], ..key("k1") }).await;

    assert!(kept && !taken.unwrap());
    assert_eq!(ledger.keys().await.unwrap(), [key("k1")]);
    assert!(ledger.revoke_key("k1").await.unwrap());
    assert!(!ledger.revoke_key("k1").await.unwrap() && !ledger.revoke_key("k2").await.unwrap());
    assert!(ledger.keys().await.unwrap()[0].revoked_at.is_some());
}

#[tokio::test]
async fn a_permission_that_does_not_exist_is_not_kept() {
    let (_database, ledger) = fixture::ledger().await;
    let key = ApiKeyRow { permissions: vec!["root".to_owned()], ..key("k1") };

    let answer = ledger.insert_key(&key).await;

    assert!(matches!(answer, Err(LedgerError::BadData(_))));
}

#[test]
fn neither_a_hash_nor_a_connection_string_is_shown() {
    assert!(!format!("{:?}", key("k1")).contains("secret"));
    let options = fixture::options("postgres://u:hunter2@h/d");
    assert!(!format!("{options:?}").contains("hunter2"));
}
