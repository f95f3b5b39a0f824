//! Outbox entries that cannot be read or stored.

use headroom::counters::keys;
use headroom::domain::Subject;

use super::MODEL;
use super::counted;
use super::logged;
use crate::support::Options;
use crate::support::TestApp;

const SUBJECT: &str = "user:u_1";

/// An entry's fields: names and values.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn shard() -> u16 {
    Subject::parse(SUBJECT).unwrap().shard(crate::support::stores::SHARDS)
}

/// Writes an entry into the outbox as if the shard had given it the next place, and answers that place.
async fn write_entry(app: &TestApp, fields: &[(&[u8], &[u8])]) -> i64 {
    let mut redis = app.redis().await;
    let (epoch, seq): (i64, Option<i64>) = redis::cmd("HMGET")
        .arg(keys::meta(shard()))
        .arg(&["epoch", "seq"])
        .query_async(&mut redis)
        .await
        .unwrap();
    let place = seq.unwrap_or(0) + 1;
    let mut entry = redis::cmd("XADD");
    entry.arg(keys::outbox(shard())).arg(format!("{epoch}-{place}"));
    for (name, value) in fields {
        entry.arg(*name).arg(*value);
    }
    entry.exec_async(&mut redis).await.unwrap();
    let mut meta = redis::cmd("HSET");
    meta.arg(keys::meta(shard())).arg("seq").arg(place).exec_async(&mut redis).await.unwrap();
    place
}

/// The fields of the outbox's last entry.
async fn last_entry(app: &TestApp) -> Fields {
    let mut redis = app.redis().await;
    let mut command = redis::cmd("XREVRANGE");
    command.arg(keys::outbox(shard())).arg("+").arg("-").arg("COUNT").arg(1);
    let entries: Vec<(String, Fields)> = command.query_async(&mut redis).await.unwrap();
    entries.into_iter().next().unwrap().1
}

/// The dead letters: first and last place, bytes, reason.
async fn dead_letters(app: &TestApp) -> Vec<(i64, i64, Vec<u8>, String)> {
    let sql = "SELECT seq_first, seq_last, raw, reason FROM dead_letters ORDER BY seq_first";
    let rows = app.postgres().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

/// Guards promise 3: what cannot be read is set aside byte for byte, and its neighbours are logged.
#[tokio::test]
async fn entries_of_garbage_are_set_aside_and_their_neighbours_are_logged() {
    let app = TestApp::start().await;
    assert!(app.caller().consume(SUBJECT, MODEL).await.is_allowed());
    let garbage: [&[(&[u8], &[u8])]; 4] = [
        &[(b"h", b"\xff\x00\x01"), (b"s", b""), (b"e", b"\xc1")],
        &[(b"what", b"is this")],
        &[(b"\xff\xfe", b"\x00")],
        &[(b"h", b"1"), (b"h", b"2"), (b"e", b"")],
    ];
    let mut places = Vec::new();
    for fields in garbage {
        places.push(write_entry(&app, fields).await);
    }

    assert!(app.caller().consume(SUBJECT, MODEL).await.is_allowed());
    let report = app.verify().await;
    app.flush().await;

    let places_of_events = report.checks.iter().find(|check| check.name == "I5").unwrap();
    assert_eq!(places_of_events.broken, 0, "{report:?}: what cannot be read is not missing");
    let found = dead_letters(&app).await;
    assert_eq!(found.len(), garbage.len());
    for ((fields, place), (first, last, raw, reason)) in garbage.iter().zip(places).zip(found) {
        let bytes: Vec<u8> =
            fields.iter().flat_map(|(name, value)| [*name, *value].concat()).collect();
        assert_eq!((first, last, raw), (place, place, bytes));
        assert!(!reason.is_empty());
    }
    assert_eq!((logged(&app).await.1, counted(&app, SUBJECT).await), (2, 2));
    app.finish().await;
}

/// Replaces the only place where `from` stands.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// Makes the next entry from the last one: another event id, and something that Postgres cannot take.
async fn write_unstorable(app: &TestApp, number: u8, from: &[u8], to: &[u8]) -> i64 {
    let mut fields = last_entry(app).await;
    for (name, value) in &mut fields {
        if name == b"e" {
            // The event's id stands after its head, its sheet, its kind and a string's head; its end is random.
            value[19] ^= number;
            *value = replaced(value, from, to);
        }
    }
    let borrowed: Vec<(&[u8], &[u8])> =
        fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
    write_entry(app, &borrowed).await
}

/// Guards promise 3: an event that Postgres refuses is found by halving, and the others of its batch are logged.
#[tokio::test]
async fn events_that_postgres_cannot_take_are_set_aside_and_their_neighbours_are_logged() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        assert!(app.caller().consume(SUBJECT, MODEL).await.is_allowed());
    }
    let in_subject = write_unstorable(&app, 1, b"user:u_1", b"user:u\x001").await;
    assert!(app.caller().consume(SUBJECT, MODEL).await.is_allowed());
    let in_model = write_unstorable(&app, 2, b"gemini-2.0", b"gemini\x002.0").await;
    assert!(app.caller().consume(SUBJECT, MODEL).await.is_allowed());

    app.flush().await;

    let found = dead_letters(&app).await;
    let places: Vec<i64> = found.iter().map(|letter| letter.0).collect();
    assert_eq!(places, [in_subject, in_model]);
    let raw = String::from_utf8(found[0].2.clone()).unwrap();
    assert!(raw.contains(r"user:u\u00001"), "{raw}");
    assert!(found.iter().all(|(.., reason)| reason.contains("0x00")), "{found:?}");
    assert_eq!((logged(&app).await.1, counted(&app, SUBJECT).await), (5, 5));
    app.finish().await;
}

/// Guards promise 3: a recovery sets poison aside as well, instead of never ending.
#[tokio::test]
async fn a_recovery_sets_poison_aside_too() {
    let app = TestApp::start_with(Options { nodes: 2, ..Options::default() }).await;
    assert!(app.caller().consume(SUBJECT, MODEL).await.is_allowed());
    let unstorable = write_unstorable(&app, 1, b"user:u_1", b"user:u\x001").await;
    let unreadable = write_entry(&app, &[(b"\xff", b"\x00")]).await;
    let mut redis = app.redis().await;
    let mut meta = redis::cmd("HDEL");
    meta.arg(keys::meta(shard())).arg("epoch").exec_async(&mut redis).await.unwrap();

    let answer = app.caller().consume(SUBJECT, MODEL).await;

    assert!(answer.is_allowed(), "{answer:?}");
    let places: Vec<i64> = dead_letters(&app).await.iter().map(|letter| letter.0).collect();
    assert_eq!(places, [unstorable, unreadable]);
    let incident = app.ledger().incidents(1_000).await.unwrap();
    let incident = incident.iter().find(|it| it.shard == shard()).unwrap();
    assert_eq!(incident.detail["dead_letters"], 2, "{incident:?}");
    app.flush().await;
    assert_eq!(counted(&app, SUBJECT).await, 2);
    app.finish().await;
}
