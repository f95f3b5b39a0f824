use headroom::ledger::Action;
use headroom::ledger::AuditFilter;
use headroom::ledger::CatalogueRow;
use headroom::ledger::Ledger;
use headroom::ledger::LedgerError;
use headroom::ledger::Replaced;

use super::fixture;

const FIRST: &str = r#"{"plans": {"free": {}}}"#;
const SECOND: &str = r#"{"plans": {"pro": {}, "free": {}}}"#;

async fn replace(ledger: &Ledger, expected: u64, document: &str) -> Result<Replaced, LedgerError> {
    let act = fixture::act(Action::CatalogueReplace, "catalogue");
    ledger.replace_catalogue(expected, document, &act).await
}

/// Nodes of one deployment start together and seed the same.
#[tokio::test]
async fn a_catalogue_is_seeded_once() {
    let (_database, ledger) = fixture::ledger().await;

    let (a, b) = tokio::join!(ledger.seed_catalogue(FIRST), ledger.seed_catalogue(FIRST));
    let late = ledger.seed_catalogue(SECOND).await.unwrap();

    assert!(a.unwrap() != b.unwrap() && !late);
    let first = CatalogueRow { version: 1, document: FIRST.to_owned() };
    assert_eq!(ledger.catalogue().await.unwrap(), Some(first));
    assert_eq!(ledger.catalogue_version().await.unwrap(), Some(1));
}

/// What was in force before must stay readable, and the audit log leads to it.
#[tokio::test]
async fn a_new_catalogue_is_the_next_version_and_the_old_one_stays() {
    let (database, ledger) = fixture::ledger().await;
    ledger.seed_catalogue(FIRST).await.unwrap();

    let outcome = replace(&ledger, 1, SECOND).await.unwrap();

    assert_eq!(outcome, Replaced::Done { version: 2 });
    let second = CatalogueRow { version: 2, document: SECOND.to_owned() };
    assert_eq!(ledger.catalogue().await.unwrap(), Some(second));
    let kept = "SELECT count(*) FROM catalogues WHERE (version, actor) = (1, 'bootstrap')
        OR (version, actor, reason) = (2, 'k_1', 'a test')";
    assert_eq!(database.number(kept).await, 2);
    let acts = ledger.audit_page(AuditFilter::default(), 10).await.unwrap();
    let versions = (acts[0].before.as_deref(), acts[0].after.as_deref());
    assert_eq!(versions, (Some(r#"{"version": 1}"#), Some(r#"{"version": 2}"#)));
    assert_eq!((acts.len(), &*acts[0].action), (1, "catalogue.replace"));
}

#[tokio::test]
async fn a_stale_catalogue_is_told_what_is_in_force_and_leaves_no_trace() {
    let (_database, ledger) = fixture::ledger().await;
    let before_the_first = replace(&ledger, 3, FIRST).await.unwrap();
    ledger.seed_catalogue(FIRST).await.unwrap();

    let outcomes = [replace(&ledger, 0, SECOND).await, replace(&ledger, 2, SECOND).await];

    assert_eq!(before_the_first, Replaced::Stale { found: 0 });
    assert_eq!(outcomes.map(Result::unwrap), [Replaced::Stale { found: 1 }; 2]);
    assert_eq!(ledger.catalogue_version().await.unwrap(), Some(1));
    assert_eq!(ledger.audit_page(AuditFilter::default(), 10).await.unwrap(), []);
}

#[tokio::test]
async fn of_writers_that_saw_the_same_catalogue_one_wins() {
    let (_database, ledger) = fixture::ledger().await;
    let writers = (0..8).map(|_| replace(&ledger, 0, FIRST));

    let outcomes = futures_util::future::join_all(writers).await;

    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    let count = |outcome| outcomes.iter().filter(|it| **it == outcome).count();
    assert_eq!(count(Replaced::Done { version: 1 }), 1);
    assert_eq!(count(Replaced::Stale { found: 1 }), 7);
    assert_eq!(ledger.audit_page(AuditFilter::default(), 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_catalogue_at_all_is_bad_data() {
    let (_database, ledger) = fixture::ledger().await;
    let long = format!(r#"{{"x": "{}"}}"#, "x".repeat(1 << 20));
    for document in ["{", "[]", "null", &long] {
        let answers = [
            replace(&ledger, 0, document).await.map(drop),
            ledger.seed_catalogue(document).await.map(drop),
        ];
        for answer in answers {
            assert!(matches!(answer, Err(LedgerError::BadData(_))), "{answer:?}");
        }
    }
    assert_eq!(ledger.catalogue().await.unwrap(), None);
    assert_eq!(ledger.audit_page(AuditFilter::default(), 10).await.unwrap(), []);
}
