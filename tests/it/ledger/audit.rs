use headroom::ledger::Act;
use headroom::ledger::Action;
use headroom::ledger::AuditFilter;
use headroom::ledger::AuditRow;
use headroom::ledger::LedgerError;

use super::fixture;

fn ids(rows: &[AuditRow]) -> Vec<u64> {
    rows.iter().map(|row| row.id).collect()
}

#[tokio::test]
async fn an_act_is_read_as_it_was_recorded() {
    let (_database, ledger) = fixture::ledger().await;
    let act = fixture::act(Action::UsageSet, "user:u_1");

    ledger.record(&act, Some(r#"{"used": 3}"#), Some(r#"{"used": 9}"#)).await.unwrap();

    let rows = ledger.audit_page(AuditFilter::default(), 10).await.unwrap();
    let expected = AuditRow {
        id: 1,
        occurred_at: rows[0].occurred_at,
        actor: "k_1".to_owned(),
        action: "usage.set".to_owned(),
        target: "user:u_1".to_owned(),
        reason: Some("a test".to_owned()),
        before: Some(r#"{"used": 3}"#.to_owned()),
        after: Some(r#"{"used": 9}"#.to_owned()),
        request_id: Some("r_1".to_owned()),
    };
    assert_eq!(rows, [expected]);
}

/// The enum and the check of the table name the same acts.
#[tokio::test]
async fn every_action_can_be_recorded_and_no_other() {
    let (database, ledger) = fixture::ledger().await;
    let all = [
        Action::SubjectPut,
        Action::SubjectDelete,
        Action::UsageReset,
        Action::UsageSet,
        Action::UsageDecrement,
        Action::CatalogueReplace,
        Action::PlanPut,
        Action::ModelPut,
        Action::KeyCreate,
        Action::KeyRevoke,
    ];
    for action in all {
        let act = Act { actor: "cli", action, target: "user:u_1", reason: None, request_id: None };
        ledger.record(&act, None, None).await.unwrap();
    }

    let rows = ledger.audit_page(AuditFilter::default(), 100).await.unwrap();
    let names: Vec<_> = rows.iter().rev().map(|row| &*row.action).collect();
    assert_eq!(names, all.map(Action::as_str));
    let other = "INSERT INTO audit_log (actor, action, target) VALUES ('cli', 'other', 'x')";
    assert!(database.try_run(&database.url, other).await.is_err());
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest_of_what_is_asked_for() {
    let (_database, ledger) = fixture::ledger().await;
    for number in 0..12 {
        let target = ["user:a", "user:b"][number % 2];
        let actor = ["cli", "k_1", "k_2"][number % 3];
        let act = Act { actor, ..fixture::act(Action::UsageReset, target) };
        ledger.record(&act, None, None).await.unwrap();
    }
    let page = async |filter, limit| ids(&ledger.audit_page(filter, limit).await.unwrap());
    let all = AuditFilter::default();
    let of_b = AuditFilter { target: Some("user:b"), ..all };
    let of_cli = AuditFilter { actor: Some("cli"), ..all };

    assert_eq!(page(all, 3).await, [12, 11, 10]);
    assert_eq!(page(AuditFilter { before_id: Some(10), ..all }, 3).await, [9, 8, 7]);
    assert_eq!(page(of_b, 3).await, [12, 10, 8]);
    assert_eq!(page(AuditFilter { before_id: Some(8), ..of_b }, 9).await, [6, 4, 2]);
    assert_eq!(page(of_cli, 9).await, [10, 7, 4, 1]);
    assert_eq!(page(AuditFilter { target: Some("user:a"), ..of_cli }, 9).await, [7, 1]);
    assert_eq!(page(AuditFilter { before_id: Some(1), ..all }, 3).await, Vec::<u64>::new());
}

/// Guards promise 7: a row has a size.
#[tokio::test]
async fn an_act_out_of_its_bounds_is_not_recorded() {
    let (_database, ledger) = fixture::ledger().await;
    let act = fixture::act(Action::UsageReset, "user:u_1");
    let long = "x".repeat(501);
    let document = format!("\"{}\"", "x".repeat(65_535));
    let answers = [
        ledger.record(&Act { reason: Some(&long), ..act }, None, None).await,
        ledger.record(&Act { request_id: Some(&long), ..act }, None, None).await,
        ledger.record(&Act { actor: "", ..act }, None, None).await,
        ledger.record(&Act { target: "", ..act }, None, None).await,
        ledger.record(&act, Some("{"), None).await,
        ledger.record(&act, None, Some(&document)).await,
    ];

    for answer in answers {
        assert!(matches!(answer, Err(LedgerError::BadData(_))), "{answer:?}");
    }
    ledger.record(&Act { reason: Some(&long[..500]), ..act }, None, None).await.unwrap();
    assert_eq!(ledger.audit_page(AuditFilter::default(), 9).await.unwrap().len(), 1);
}
