//! The live feed over HTTP.

use serde_json::json;

use super::streamed::Event;
use super::streamed::Stream;
use crate::api::keys::fenced_key;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::poll::eventually;

fn ids(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.body["id"].as_str().unwrap()).collect()
}

/// Guards that another node tells of a consume, as a `CloudEvent`, as soon as it is in Postgres.
#[tokio::test]
async fn a_consume_is_told_of_by_every_node_as_a_cloud_event() {
    let app = TestApp::start_with(Options { nodes: 2, ..Options::default() }).await;
    let mut stream = Stream::open(&app.caller_of(1), "", None).await;

    let answer = app.caller_of(0).consume("org:a/user:u_1", "claude-sonnet-4").await;
    app.flush().await;

    let event = stream.next().await.unwrap();
    assert_eq!(event.kind, "quota-consumed");
    let body = &event.body;
    assert_eq!(body["id"], answer.body["event_id"]);
    for (name, value) in [
        ("specversion", "1.0"),
        ("source", "urn:headroom"),
        ("type", "quota-consumed"),
        ("subject", "org:a/user:u_1"),
        ("datacontenttype", "application/json"),
    ] {
        assert_eq!(body[name], json!(value));
    }
    assert_eq!(body["data"]["kind"], json!("consume"));
    assert_eq!(body["data"]["model"], json!("claude-sonnet-4"));
    assert_eq!(body["data"]["charges"]["messages"], json!(1));
    app.finish().await;
}

/// Guards that a reader that comes back misses nothing and hears of nothing twice, over a restart of all nodes, whichever
/// node it comes back to and wherever in a flush it left off.
#[tokio::test]
async fn a_stream_resumes_without_gap_or_duplicate_over_a_restart() {
    let mut app = TestApp::start().await;
    let mut stream = Stream::open(&app.caller(), "?types=quota-consumed", None).await;
    let mut wanted = Vec::new();
    for number in 0..20 {
        let answer = app.caller().consume(&format!("user:u_{number}"), "gemini-2.0-flash").await;
        wanted.push(answer.body["event_id"].as_str().unwrap().to_owned());
    }
    app.flush().await;
    let mut read = stream.take(7).await;
    let last = read.last().unwrap().id.clone();

    app.stop_nodes().await;
    app.add_node().await;
    let late = app.caller().consume("user:late", "gemini-2.0-flash").await;
    wanted.push(late.body["event_id"].as_str().unwrap().to_owned());
    app.flush().await;
    let mut stream = Stream::open(&app.caller(), "?types=quota-consumed", Some(&last)).await;
    read.extend(stream.take(14).await);

    let mut found: Vec<_> = ids(&read).into_iter().map(str::to_owned).collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    app.finish().await;
}

/// Guards that a stream ends when its node stops, instead of holding up the stop.
#[tokio::test]
async fn a_stream_ends_with_its_node() {
    let mut app = TestApp::start().await;
    let mut stream = Stream::open(&app.caller(), "", None).await;

    app.stop_nodes().await;

    assert!(stream.next().await.is_none());
}

/// Guards the fence: a key hears of its part of the tree alone, and may not ask for another.
#[tokio::test]
async fn a_fenced_key_hears_of_its_part_alone() {
    let app = TestApp::start().await;
    let fenced = app.caller().with_key(&fenced_key(&app, &["read"], "org:a").await);
    let mut stream = Stream::open(&fenced, "", None).await;

    for subject in ["user:u_1", "org:ab", "org:a/user:u_2"] {
        app.caller().consume(subject, "gemini-2.0-flash").await;
        app.flush().await;
    }

    assert_eq!(stream.next().await.unwrap().body["subject"], json!("org:a/user:u_2"));
    assert_eq!(fenced.get("/v1/stream?subject=user:u_1").await.status.as_u16(), 404);
    app.finish().await;
}

/// Guards the filter by type, and that refusals and resets are told of.
#[tokio::test]
async fn refusals_and_resets_are_told_of_to_who_asks_for_them() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let mut stream = Stream::open(&caller, "?types=quota-denied,quota-reset", None).await;

    caller.consume("user:u_1", "gemini-2.0-flash").await;
    assert_eq!(caller.charge("user:u_1", "messages", 1_000).await.status.as_u16(), 429);
    app.flush().await;
    app.quota().write_denials().await.unwrap();
    let denied = stream.next().await.unwrap();
    caller.delete("/v1/subjects/user:u_1/usage").await;
    app.flush().await;
    let reset = stream.next().await.unwrap();

    assert_eq!((denied.kind.as_str(), reset.kind.as_str()), ("quota-denied", "quota-reset"));
    assert_eq!(denied.body["data"]["code"], json!("limit_exceeded"));
    assert_eq!(denied.body["data"]["amount"], json!(1_000));
    app.finish().await;
}

/// Guards that a reader who was away for too long is told so, and does not go on with a gap.
#[tokio::test]
async fn who_was_away_for_longer_than_the_feed_is_kept_is_told_so() {
    let app = TestApp::start_with(Options::default().with("HEADROOM_FEED_KEEP_S", 60)).await;
    let mut stream = Stream::open(&app.caller(), "", None).await;
    app.caller().consume("user:u_1", "gemini-2.0-flash").await;
    app.flush().await;
    let first = stream.next().await.unwrap().id;
    app.caller().consume("user:u_1", "gemini-2.0-flash").await;
    app.flush().await;
    stream.next().await.unwrap();

    let postgres = app.postgres().await;
    postgres.execute("UPDATE feed SET made_at = now() - interval '2 minutes'", &[]).await.unwrap();
    app.quota().drop_old_feed().await.unwrap();

    let is_gone = || async {
        let path = format!("/v1/stream?last_event_id={first}");
        app.caller().get(&path).await.code() == "feed_gone"
    };
    assert!(is_gone().await);
    for wrong in ["x", "999.0"] {
        let answer = app.caller().get(&format!("/v1/stream?last_event_id={wrong}")).await;
        assert!([400, 410].contains(&answer.status.as_u16()), "{answer:?}");
    }
    app.finish().await;
}

/// Guards the bound of the delay: a commit on one node is at the readers of another within a second, at p99, while both
/// are at work.
#[tokio::test]
async fn under_load_another_node_tells_of_an_event_within_a_second() {
    let options = Options { nodes: 2, flushers: true, ..Options::default() };
    let app = TestApp::start_with(options.patient()).await;
    let mut stream = Stream::open(&app.caller_of(1), "?types=quota-consumed", None).await;
    let caller = app.caller_of(0);
    let load = async {
        for round in 0..40 {
            let subjects: Vec<_> = (0..25).map(|it| format!("user:u_{round}_{it}")).collect();
            let consumes = subjects.iter().map(|it| caller.consume(it, "gemini-2.0-flash"));
            futures_util::future::join_all(consumes).await;
        }
    };
    let read = async {
        let mut delays_ms = Vec::new();
        while delays_ms.len() < 1_000 {
            let event = stream.next().await.unwrap();
            let time = event.body["time"].as_str().unwrap();
            let at = chrono::DateTime::parse_from_rfc3339(time).unwrap();
            delays_ms.push(app.clock.now_ms() - at.timestamp_millis());
        }
        delays_ms
    };

    let ((), mut delays_ms) = futures_util::future::join(load, read).await;

    delays_ms.sort_unstable();
    assert!(delays_ms[989] < 1_000, "p50 {} ms, p99 {} ms", delays_ms[499], delays_ms[989]);
    let quota = app.quota();
    let is_empty = || async { quota.verify().await.unwrap().pending == 0 };
    eventually("the outbox was flushed", std::time::Duration::from_secs(10), is_empty).await;
    app.finish().await;
}
