use std::time::Duration;

use headroom::ledger::Act;
use headroom::ledger::Action;
use headroom::ledger::AuditFilter;
use headroom::ledger::DeleteOutcome;
use headroom::ledger::Expected;
use headroom::ledger::Ledger;
use headroom::ledger::LedgerError;
use headroom::ledger::PutOutcome;

use super::fixture;
use super::fixture::Database;
use crate::support::poll::eventually;

/// How a writer draws a version.
const DRAW: &str = "UPDATE profile_versions SET profile_version = profile_version + 1";
const SUBJECT: &str = "org:acme/user:u_1";
const FREE: &str = r#"{"plan": "free"}"#;
const PRO: &str = r#"{"plan": "pro"}"#;

async fn put(
    ledger: &Ledger,
    path: &str,
    expected: Expected,
    profile: &str,
) -> Result<PutOutcome, LedgerError> {
    ledger.put_subject(path, expected, profile, &fixture::act(Action::SubjectPut, path)).await
}

/// The version that an accepted put was given.
async fn version_of(ledger: &Ledger, path: &str, profile: &str) -> u64 {
    match put(ledger, path, Expected::Any, profile).await.unwrap() {
        PutOutcome::Put { version, .. } => version,
        PutOutcome::Stale { found } => panic!("stale, found {found}"),
    }
}

async fn delete(ledger: &Ledger, expected: Expected) -> DeleteOutcome {
    let act = fixture::act(Action::SubjectDelete, SUBJECT);
    ledger.delete_subject(SUBJECT, expected, &act).await.unwrap()
}

#[tokio::test]
async fn a_profile_is_read_as_it_was_put() {
    let (database, ledger) = fixture::ledger().await;
    assert_eq!(ledger.subject(SUBJECT).await.unwrap(), None);

    let outcome = put(&ledger, SUBJECT, Expected::Version(0), PRO).await.unwrap();

    let row = ledger.subject(SUBJECT).await.unwrap().unwrap();
    let for_nodes = PRO.to_owned();
    assert_eq!(outcome, PutOutcome::Put { version: 1, created_at: row.created_at, for_nodes });
    assert_eq!((&*row.subject, row.version, &*row.profile), (SUBJECT, 1, PRO));
    assert!(!row.is_deleted && row.updated_at == row.created_at);
    let pro = "SELECT count(*) FROM subjects WHERE plan = 'pro'";
    assert_eq!(database.number(pro).await, 1, "analysts group by plan");
    version_of(&ledger, SUBJECT, "{}").await;
    assert_eq!(database.number("SELECT count(*) FROM subjects WHERE plan IS NULL").await, 1);
}

/// Nodes compare versions of one subject, and poll by versions of all.
#[tokio::test]
async fn versions_grow_over_all_subjects_and_are_read_in_their_order() {
    let (_database, ledger) = fixture::ledger().await;
    for (path, version) in [("user:c", 1), ("user:a", 2), ("user:b", 3), ("user:c", 4)] {
        assert_eq!(version_of(&ledger, path, FREE).await, version);
    }

    let changed = async |version, limit| {
        let rows = ledger.subjects_changed_after(version, limit).await.unwrap();
        rows.into_iter().map(|row| (row.version, row.subject)).collect::<Vec<_>>()
    };

    let (a, b, c) = ((2, "user:a".to_owned()), (3, "user:b".to_owned()), (4, "user:c".to_owned()));
    assert_eq!(changed(0, 2).await, [a, b.clone()]);
    assert_eq!(changed(2, 9).await, [b, c]);
    assert_eq!(changed(4, 9).await, []);
    assert_eq!(ledger.profile_version().await.unwrap(), 4);
}

#[tokio::test]
async fn a_put_that_expected_another_version_is_told_the_one_in_force_and_leaves_no_trace() {
    let (_database, ledger) = fixture::ledger().await;
    version_of(&ledger, SUBJECT, FREE).await;
    let before = ledger.subject(SUBJECT).await.unwrap();

    for expected in [0, 2] {
        let outcome = put(&ledger, SUBJECT, Expected::Version(expected), PRO).await.unwrap();
        assert_eq!(outcome, PutOutcome::Stale { found: 1 });
    }
    let outcome = put(&ledger, "user:other", Expected::Version(1), PRO).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stale { found: 0 });
    assert_eq!(delete(&ledger, Expected::Version(2)).await, DeleteOutcome::Stale { found: 1 });

    assert_eq!(ledger.subject(SUBJECT).await.unwrap(), before);
    assert_eq!(ledger.profile_version().await.unwrap(), 1);
    assert_eq!(ledger.audit_page(AuditFilter::default(), 10).await.unwrap().len(), 1);
}

/// Guards against the lost update: two admins that saw the same profile do not overwrite each other.
#[tokio::test]
async fn of_two_puts_that_expect_the_same_version_one_wins() {
    let (_database, ledger) = fixture::ledger().await;
    let created = put(&ledger, SUBJECT, Expected::Version(0), FREE).await.unwrap();
    let PutOutcome::Put { version: 1, created_at, .. } = created else { panic!("{created:?}") };
    let again = || put(&ledger, SUBJECT, Expected::Version(1), PRO);

    let (a, b) = tokio::join!(again(), again());

    let won = PutOutcome::Put { version: 2, created_at, for_nodes: PRO.to_owned() };
    let lost = PutOutcome::Stale { found: 2 };
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!((&a, &b) == (&won, &lost) || (&a, &b) == (&lost, &won), "{a:?} {b:?}");
    assert_eq!(ledger.audit_page(AuditFilter::default(), 10).await.unwrap().len(), 2);
}

/// The outcome of a put that finds `writes` of another writer under way, which are committed once the put waits.
async fn put_after(
    writes: &str,
    (database, ledger): &(Database, Ledger),
    path: &str,
    expected: Expected,
) -> PutOutcome {
    let waiting = "SELECT count(*) FROM pg_locks
        JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND datname = current_database() AND application_name = 'headroom'";
    let other = database.with(async |client| {
        client.batch_execute(&format!("BEGIN; {DRAW}; {writes}")).await.unwrap();
        let commit = async {
            let is_waiting = || async { database.number(waiting).await == 1 };
            eventually("a put that waits", Duration::from_secs(10), is_waiting).await;
            assert_eq!(ledger.subjects_changed_after(1, 10).await.unwrap(), []);
            client.batch_execute("COMMIT").await.unwrap();
        };
        let (outcome, ()) = tokio::join!(put(ledger, path, expected, PRO), commit);
        outcome.unwrap()
    });
    other.await
}

/// Guards the poll: a version is never visible before a lower one, or a node would miss the lower one for ever.
#[tokio::test]
async fn a_put_waits_for_the_version_drawn_before_it() {
    let stores = fixture::ledger().await;
    version_of(&stores.1, SUBJECT, FREE).await;
    let slow = "INSERT INTO subjects (subject, version, profile) VALUES ('user:slow', 2, '{}')";

    put_after(slow, &stores, "user:fast", Expected::Any).await;

    let rows = stores.1.subjects_changed_after(1, 10).await.unwrap();
    let order: Vec<_> = rows.iter().map(|row| (row.version, &*row.subject)).collect();
    assert_eq!(order, [(2, "user:slow"), (3, "user:fast")]);
}

/// Guards against the lost update: what a put compares with is read after it has waited.
#[tokio::test]
async fn a_put_that_waited_sees_what_was_written_meanwhile() {
    let stores = fixture::ledger().await;
    version_of(&stores.1, SUBJECT, FREE).await;

    let outcome =
        put_after("UPDATE subjects SET version = 2", &stores, SUBJECT, Expected::Version(1)).await;

    assert_eq!(outcome, PutOutcome::Stale { found: 2 });
}

#[tokio::test]
async fn versions_of_many_writers_have_no_gaps() {
    let (_database, ledger) = fixture::ledger().await;
    let paths: Vec<_> = (0..20).map(|number| format!("user:u_{}", number % 5)).collect();
    let puts = paths.iter().map(|path| version_of(&ledger, path, PRO));

    let mut versions = futures_util::future::join_all(puts).await;

    versions.sort_unstable();
    assert_eq!(versions, (1..=20).collect::<Vec<u64>>());
    assert_eq!(ledger.subjects_changed_after(0, 100).await.unwrap().len(), 5);
}

/// Nodes must hear that a profile is gone, and a version must never come twice.
#[tokio::test]
async fn a_deleted_profile_stays_as_an_empty_one_with_a_higher_version() {
    let (_database, ledger) = fixture::ledger().await;
    assert_eq!(delete(&ledger, Expected::Any).await, DeleteOutcome::Absent);
    version_of(&ledger, SUBJECT, PRO).await;
    let first = ledger.subject(SUBJECT).await.unwrap().unwrap();

    let deleted = delete(&ledger, Expected::Version(1)).await;

    assert_eq!(deleted, DeleteOutcome::Deleted { version: 2, for_nodes: "{}".to_owned() });
    let row = ledger.subject(SUBJECT).await.unwrap().unwrap();
    assert_eq!((row.version, &*row.profile, row.is_deleted), (2, "{}", true));
    assert_eq!(ledger.subjects_changed_after(1, 10).await.unwrap(), [row]);
    assert_eq!(delete(&ledger, Expected::Any).await, DeleteOutcome::Absent);
    let stale = put(&ledger, SUBJECT, Expected::Version(2), PRO).await.unwrap();
    assert_eq!(stale, PutOutcome::Stale { found: 0 });
    put(&ledger, SUBJECT, Expected::Version(0), PRO).await.unwrap();
    let row = ledger.subject(SUBJECT).await.unwrap().unwrap();
    assert_eq!((row.version, row.is_deleted), (3, false));
    assert!(row.created_at > first.created_at, "it was created anew");
}

#[tokio::test]
async fn the_audit_log_has_each_profile_before_and_after() {
    let (_database, ledger) = fixture::ledger().await;
    version_of(&ledger, SUBJECT, FREE).await;
    version_of(&ledger, SUBJECT, PRO).await;
    delete(&ledger, Expected::Any).await;

    let acts = ledger.audit_page(AuditFilter::default(), 10).await.unwrap();

    let changes: Vec<_> = acts
        .iter()
        .map(|row| (&*row.action, row.before.as_deref(), row.after.as_deref()))
        .collect();
    let put = "subject.put";
    assert_eq!(
        changes,
        [
            ("subject.delete", Some(PRO), None),
            (put, Some(FREE), Some(PRO)),
            (put, None, Some(FREE))
        ]
    );
}

/// What cannot be audited is not done: the row is written in the same transaction.
#[tokio::test]
async fn a_put_whose_act_cannot_be_recorded_changes_nothing() {
    let (_database, ledger) = fixture::ledger().await;
    version_of(&ledger, SUBJECT, FREE).await;
    let reason = "x".repeat(501);
    let act = Act { reason: Some(&reason), ..fixture::act(Action::SubjectPut, SUBJECT) };

    let put = ledger.put_subject(SUBJECT, Expected::Any, PRO, &act).await.map(drop);
    let delete = ledger.delete_subject(SUBJECT, Expected::Any, &act).await.map(drop);

    for answer in [put, delete] {
        assert!(matches!(answer, Err(LedgerError::BadData(_))), "{answer:?}");
    }
    let row = ledger.subject(SUBJECT).await.unwrap().unwrap();
    assert_eq!((row.version, &*row.profile), (1, FREE));
    assert_eq!(ledger.profile_version().await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_no_profile_at_all_is_bad_data() {
    let (_database, ledger) = fixture::ledger().await;
    let long = format!(r#"{{"x": "{}"}}"#, "x".repeat(16_384));
    for profile in ["{", "[]", r#""pro""#, r#"{"plan": "\u0000"}"#, &long] {
        let answer = put(&ledger, SUBJECT, Expected::Any, profile).await;
        assert!(matches!(answer, Err(LedgerError::BadData(_))), "{answer:?}");
    }
    assert_eq!(ledger.profile_version().await.unwrap(), 0);
}
