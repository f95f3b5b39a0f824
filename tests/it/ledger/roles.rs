use std::time::Duration;

use headroom::domain::Denial;
use headroom::domain::DenialCode;
use headroom::domain::EventKind;
use headroom::domain::GrantSource;
use headroom::domain::Metric;
use headroom::domain::Units;
use headroom::ledger::Action;
use headroom::ledger::AuditFilter;
use headroom::ledger::DenialBatch;
use headroom::ledger::DriftLook;
use headroom::ledger::DriftSums;
use headroom::ledger::Expected;
use headroom::ledger::Ledger;
use headroom::ledger::NewDrift;
use headroom::ledger::NewGrant;
use headroom::ledger::NewTransfer;
use headroom::ledger::OtherMonths;
use headroom::ledger::RefusedIn;
use headroom::ledger::TransferRules;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::fixture;
use super::fixture::DAY;
use super::fixture::Database;
use super::fixture::batch;
use super::fixture::flush;
use super::fixture::message;
use super::lives;

/// A login in `group`, named after the database so that tests do not share it.
pub async fn login(database: &Database, group: &str) -> String {
    let name =
        format!("{}_{group}", database.url.rsplit('=').next().expect("the url names a database"));
    database.run(&format!("CREATE ROLE {name} LOGIN; GRANT {group} TO {name}")).await;
    database.url_of(&name)
}

async fn assert_refused(database: &Database, url: &str, statements: &[&str]) {
    for sql in statements {
        let error = database.try_run(url, sql).await.expect_err(sql);
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}");
    }
}

/// A step of the drift auditor that finds something, and one that finds it gone.
async fn look_for_drift(ledger: &Ledger) {
    let subject = "user:u_1".to_owned();
    let drift =
        NewDrift { subject: subject.clone(), shard: 0, units: 1, counters: "[]".to_owned() };
    let found = DriftLook { compared: 1, drifted: vec![drift], ..DriftLook::default() };
    let gone = DriftLook { compared: 1, clean: vec![subject], ..DriftLook::default() };
    for look in [&found, &found, &gone] {
        assert!(ledger.take_drift_step(Duration::ZERO, 1).await.unwrap().is_some());
        ledger.end_drift_step(look, (0, 0), true).await.unwrap();
    }
    assert_eq!(ledger.drift_sums().await.unwrap(), DriftSums::default());
    assert_eq!(ledger.drift_rounds().await.unwrap().1.unwrap().compared, 1);
}

/// A node can do all of its work with the rights of `headroom_app`, and cannot rewrite what is logged.
#[tokio::test]
async fn a_node_adds_to_the_log_and_cannot_change_it() {
    let (database, _) = fixture::ledger().await;
    let url = login(&database, "headroom_app").await;
    let ledger = Ledger::connect(&fixture::options(&url)).unwrap();

    flush(&ledger, &batch(0, vec![message(1, "user:u_1")])).await.unwrap();
    flush(&ledger, &batch(1, vec![message(2, "user:u_1")])).await.unwrap();
    ledger.ensure_partitions(4).await.unwrap();
    ledger.settings().await.unwrap();
    configure(&ledger).await;
    live(&ledger).await;
    lives::assert_agrees(&ledger).await;
    // Two flushes of messages, and that of a commit.
    assert_eq!(ledger.fold_rollups().await.unwrap(), 3);
    let (writer_id, denials) = (Uuid::now_v7(), vec![denial()]);
    ledger.write_denials(&DenialBatch { writer_id, number: 1, denials }).await.unwrap();
    ledger.drop_old_denial_writers().await.unwrap();
    ledger.drop_old_records(3).await.unwrap();
    assert!(!ledger.is_no_longer_kept(Uuid::now_v7()).await.unwrap());
    ledger.drop_old_facts(3, false).await.unwrap();
    look_for_drift(&ledger).await;
    fixture::assert_sums_agree(&ledger).await;

    let forbidden = [
        "UPDATE message_logs SET subject = 'user:x'",
        "DELETE FROM message_logs",
        "TRUNCATE message_logs",
        "DELETE FROM usage_counters",
        "UPDATE incidents SET lost_at_most = 0",
        "UPDATE settings SET shards = 9",
        "CREATE TABLE mine (id bigint)",
        "DROP TABLE message_logs",
        "ALTER TABLE usage_counters ADD COLUMN more bigint",
        "INSERT INTO message_logs_default SELECT * FROM message_logs",
        "UPDATE catalogues SET document = '{}'",
        "DELETE FROM catalogues",
        "DELETE FROM subjects",
        "INSERT INTO profile_versions DEFAULT VALUES",
        "DELETE FROM profile_versions",
        "DELETE FROM reservations",
        "DELETE FROM grants",
        "DELETE FROM transfers",
        "UPDATE reservation_holds SET units = 0",
        "UPDATE denials SET amount = 0",
        "DELETE FROM denials",
        "DELETE FROM usage_days",
        "DELETE FROM archives",
        "SELECT drop_message_log_partition('2026-01-01', NULL, NULL, NULL)",
        "UPDATE audit_log SET actor = 'cli'",
        "DELETE FROM audit_log",
    ];
    assert_refused(&database, &url, &forbidden).await;
}

fn denial() -> Denial {
    Denial {
        denial_id: fixture::id_at(1_795_305_600_000),
        denied_at_ms: 1_795_305_600_000,
        subject: "user:u_1".to_owned(),
        code: DenialCode::NoPlan,
        limit: None,
        metric: None,
        model: None,
        amount: 1,
        plan: String::new(),
        request_id: "r_1".to_owned(),
        trace_id: None,
    }
}

/// Everything that a node does with the catalogue and the profiles.
async fn configure(ledger: &Ledger) {
    let act = |action| fixture::act(action, "user:u_1");
    ledger.seed_catalogue("{}").await.unwrap();
    ledger.replace_catalogue(1, "{}", &act(Action::CatalogueReplace)).await.unwrap();
    for profile in ["{}", r#"{"plan": "pro"}"#] {
        let put = act(Action::SubjectPut);
        ledger.put_subject("user:u_1", Expected::Any, profile, &put).await.unwrap();
    }
    let delete = act(Action::SubjectDelete);
    ledger.delete_subject("user:u_1", Expected::Any, &delete).await.unwrap();
    ledger.subjects_within("user:u_1", None, 10).await.unwrap();
    assert_eq!(ledger.catalogue_version().await.unwrap(), Some(2));
    assert_eq!(ledger.profile_version().await.unwrap(), 3);
    assert_eq!(ledger.audit_page(AuditFilter::default(), 10).await.unwrap().len(), 4);
}

/// Everything that a node does with reservations, grants and transfers.
async fn live(ledger: &Ledger) {
    let (open, done) = (lives::reserve(3), lives::reserve(4));
    let extend = lives::extend(5, open.event_id);
    flush(ledger, &batch(2, vec![open, done.clone(), extend])).await.unwrap();
    let commit = lives::commit(6, done.event_id);
    let debit = lives::event(7, EventKind::Transfer, vec![lives::of_grant(1, 2)]);
    let (metric, at) = (Metric::new("messages").unwrap(), DAY.start_at());
    let new = NewGrant {
        event_id: fixture::id_at(at.timestamp_millis()),
        other_months: OtherMonths::default(),
        metric: &metric,
        amount: Units::new(2).unwrap(),
        period: None,
        expires_s: None,
        source: GrantSource::Admin,
        note: None,
    };
    let act = fixture::act(Action::GrantCreate, "user:u_1");
    ledger.create_grant("user:u_1", &new, at, &act).await.unwrap();
    let rules = TransferRules {
        amount_min: Units::ZERO,
        daily_max: None,
        day_start_at: at,
        giver_rest: Duration::ZERO,
        receiver_rest: Duration::ZERO,
    };
    let gift = NewTransfer {
        id: debit.event_id,
        other_months: OtherMonths::default(),
        from: "user:u_1",
        to: "user:u_2",
        metric: &metric,
        amount: new.amount,
        note: None,
        actor: "k_1",
        request_id: None,
    };
    ledger.begin_transfer(&gift, &rules, at).await.unwrap();
    flush(ledger, &batch(5, vec![commit, debit])).await.unwrap();
    ledger.complete_transfer(gift.id, &[(1, 2)], at).await.unwrap();
    ledger.refuse_transfer(gift.id, RefusedIn { shard: 1, epoch: 1 }, at).await.unwrap();
    let given = ledger.grants_of("user:u_2").await.unwrap()[0].grant.id;
    let revoke = fixture::act(Action::GrantRevoke, "user:u_2");
    ledger.revoke_grant("user:u_2", given, at, &revoke).await.unwrap();
    lives::base(ledger).await;
}

#[tokio::test]
async fn an_analyst_reads_the_log_and_no_keys() {
    let (database, _) = fixture::ledger().await;
    let url = login(&database, "headroom_analyst").await;

    let allowed = "SELECT count(*) FROM message_logs; SELECT count(*) FROM usage_counters;
         SELECT count(*) FROM incidents; SELECT count(*) FROM dead_letters;
         SELECT count(*) FROM outbox_cursors; SELECT count(*) FROM catalogues;
         SELECT count(plan) FROM subjects; SELECT count(*) FROM reservations;
         SELECT count(*) FROM reservation_holds; SELECT count(*) FROM grants;
         SELECT count(*) FROM transfers";
    database.try_run(&url, allowed).await.unwrap();
    let views = [
        "user_usage",
        "daily_usage",
        "active_users",
        "model_usage",
        "denials_realtime",
        "usage_spikes",
        "premium_adoption",
        "denials",
        "usage_days",
        "archives",
    ];
    for view in views {
        database.try_run(&url, &format!("SELECT * FROM {view}")).await.unwrap();
    }

    let forbidden = [
        "SELECT id FROM api_keys",
        "SELECT id FROM audit_log",
        "UPDATE subjects SET profile = '{}'",
        "INSERT INTO catalogues (version, document, actor) VALUES (1, '{}', 'me')",
        "INSERT INTO incidents DEFAULT VALUES",
        "UPDATE usage_counters SET used = 0",
        "UPDATE grants SET amount = 9",
        "INSERT INTO transfers DEFAULT VALUES",
        "SELECT ensure_message_log_partitions(4)",
        "SELECT drop_old_facts(1, true)",
        "SELECT drop_old_records(1, 1)",
        "DELETE FROM denials",
    ];
    assert_refused(&database, &url, &forbidden).await;
}
