use headroom::ledger::AuditFilter;
use headroom::ledger::Ledger;
use headroom::ledger::LedgerError;

use super::fixture;

/// How many there are.
fn migrations() -> usize {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    std::fs::read_dir(folder).unwrap().count()
}

/// A second node that starts, or a restart, must find nothing to do.
#[tokio::test]
async fn migrating_twice_applies_once_and_keeps_the_first_settings() {
    let database = fixture::empty_database().await;
    let first = Ledger::migrate(&database.url, 4).await.unwrap();

    let second = Ledger::migrate(&database.url, 8).await.unwrap();

    assert_eq!(first.applied.len(), migrations(), "{:?}", first.applied);
    assert!(second.applied.is_empty());
    assert_eq!(second.settings, first.settings);
    let ledger = Ledger::connect(&fixture::options(&database.url)).unwrap();
    assert_eq!(ledger.settings().await.unwrap(), first.settings);
    let cursors = ledger.cursors().await.unwrap();
    let places: Vec<_> = cursors.iter().map(|c| (c.shard, c.epoch, c.seq, c.fence)).collect();
    assert_eq!(places, [(0, 1, 0, None), (1, 1, 0, None), (2, 1, 0, None), (3, 1, 0, None)]);
}

/// Nodes of one deployment start together.
#[tokio::test]
async fn nodes_that_migrate_at_once_agree_on_one_ledger() {
    let database = fixture::empty_database().await;
    let migrate = || Ledger::migrate(&database.url, 4);

    let (a, b, c) = tokio::join!(migrate(), migrate(), migrate());

    let reports = [a.unwrap(), b.unwrap(), c.unwrap()];
    let applied: usize = reports.iter().map(|report| report.applied.len()).sum();
    assert_eq!(applied, migrations(), "each migration ran once");
    assert!(reports.iter().all(|report| report.settings == reports[0].settings));
}

#[tokio::test]
async fn a_ledger_without_its_schema_says_so() {
    let database = fixture::empty_database().await;
    let ledger = Ledger::connect(&fixture::options(&database.url)).unwrap();

    let answer = ledger.settings().await;

    assert!(matches!(answer, Err(LedgerError::Migration(_))), "{answer:?}");
}

/// The schema documents itself: a column without a comment is a column without a unit.
#[tokio::test]
async fn every_column_has_a_comment() {
    let (database, _) = fixture::ledger().await;

    let without = database
        .number(
            "SELECT count(*) FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
             WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND attnum > 0
             AND relname NOT LIKE 'refinery%' AND relname <> 'message_logs_default'
             AND col_description(attrelid, attnum) IS NULL",
        )
        .await;

    assert_eq!(without, 0);
}

/// A ledger begins without a catalogue, profiles or acts: what is in force is decided by whoever seeds it.
#[tokio::test]
async fn a_new_ledger_has_only_the_counter_of_profile_versions() {
    let (_database, ledger) = fixture::ledger().await;

    assert_eq!(ledger.catalogue().await.unwrap(), None);
    assert_eq!(ledger.catalogue_version().await.unwrap(), None);
    assert_eq!(ledger.profile_version().await.unwrap(), 0);
    assert_eq!(ledger.subjects_changed_after(0, 10).await.unwrap(), []);
    assert_eq!(ledger.audit_page(AuditFilter::default(), 10).await.unwrap(), []);
}
