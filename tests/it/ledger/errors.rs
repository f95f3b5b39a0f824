use headroom::domain::Event;
use headroom::ledger::Ledger;
use headroom::ledger::LedgerError;
use headroom::ledger::LedgerOptions;

use super::fixture;
use super::fixture::Server;
use super::fixture::batch;
use super::fixture::delta;
use super::fixture::deltas;
use super::fixture::flush;
use super::fixture::message;

/// The flusher halves a batch on bad data alone, so each kind of it must be known as such, and nothing be written.
#[tokio::test]
async fn what_postgres_cannot_take_is_bad_data() {
    let (_database, ledger) = fixture::ledger().await;
    let good = || message(2, "user:u_1");
    let poison = [
        Event { subject: "user:\0".to_owned(), ..good() },
        Event { subject: format!("user:{}", hardly_compressible(20_000)), ..good() },
        Event { metadata: Some("{".to_owned()), ..good() },
        Event { metadata: Some(r#"{"a": "\u0000"}"#.to_owned()), ..good() },
        Event {
            metadata: Some(format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))),
            ..good()
        },
        Event { occurred_at_ms: i64::MAX, ..good() },
        Event { occurred_at_ms: -1, ..good() },
        Event { deltas: deltas(vec![delta(1, "messages", i64::MAX)]), ..good() },
    ];
    for (number, event) in poison.into_iter().enumerate() {
        let answer = flush(&ledger, &batch(0, vec![message(1, "user:u_1"), event])).await;
        assert!(matches!(answer, Err(LedgerError::BadData(_))), "case {number}: {answer:?}");
    }
    assert_eq!(ledger.totals().await.unwrap().events, 0);
    flush(&ledger, &batch(0, vec![message(1, "user:u_1")])).await.unwrap();
}

fn hardly_compressible(length: usize) -> String {
    let ids = (1..).map(|number| fixture::id_at(number * 7_919).simple().to_string());
    ids.flat_map(String::into_bytes).take(length).map(char::from).collect()
}

#[tokio::test]
async fn a_connection_that_postgres_ends_is_unavailable_and_the_next_call_works() {
    let (database, ledger) = fixture::ledger().await;
    let recovery = ledger.begin_recovery(1).await.unwrap();
    database
        .run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = 'headroom' AND datname = current_database()",
        )
        .await;

    let answer = recovery.finish(incident(), uuid::Uuid::nil()).await;

    assert!(matches!(answer, Err(LedgerError::Unavailable(_))), "{answer:?}");
    ledger.ping().await.unwrap();
    assert_eq!(ledger.cursor(1).await.unwrap().epoch, 1);
}

fn incident() -> headroom::ledger::Incident {
    headroom::ledger::Incident {
        reason: "test",
        redis_epoch: None,
        found_seq: None,
        expected_seq: 0,
        lost_at_most: 0,
        detail: serde_json::Value::Null,
    }
}

/// Guards promise 5: Postgres may be away, and every kind of call says so in the same way.
#[tokio::test]
async fn a_server_that_is_stopped_is_unavailable() {
    let server = Server::start();
    let database = server.database().await;
    Ledger::migrate(&database.url, 4).await.unwrap();
    let ledger = Ledger::connect(&fixture::options(&database.url)).unwrap();
    ledger.ping().await.unwrap();

    server.stop();

    let outcomes = [
        ledger.ping().await,
        flush(&ledger, &batch(0, vec![message(1, "user:u_1")])).await.map(drop),
        ledger.cursors().await.map(drop),
        ledger.begin_recovery(1).await.map(drop),
        ledger.totals().await.map(drop),
        Ledger::migrate(&database.url, 4).await.map(drop),
    ];
    for outcome in outcomes {
        assert!(matches!(outcome, Err(LedgerError::Unavailable(_))), "{outcome:?}");
    }
}

/// Guards promise 7: a statement that waits too long is given up.
#[tokio::test]
async fn a_statement_that_takes_too_long_is_unavailable() {
    let (database, _) = fixture::ledger().await;
    let impatient = LedgerOptions { statement_timeout_ms: 200, ..fixture::options(&database.url) };
    let ledger = Ledger::connect(&impatient).unwrap();
    database
        .run(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
             AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
             CREATE TRIGGER slow BEFORE UPDATE ON outbox_cursors EXECUTE FUNCTION slow()",
        )
        .await;

    let answer = flush(&ledger, &batch(0, vec![message(1, "user:u_1")])).await;

    assert!(matches!(answer, Err(LedgerError::Unavailable(_))), "{answer:?}");
    assert_eq!(ledger.totals().await.unwrap().events, 0);
}

#[test]
fn a_connection_string_that_cannot_be_read_is_refused_without_showing_it() {
    let error = Ledger::connect(&fixture::options("postgres://u:hunter2@h:port/d")).unwrap_err();

    assert!(matches!(error, LedgerError::BadUrl(_)));
    assert!(!format!("{error:?}").contains("hunter2"));
}
