//! The live feed while much happens: its delay, readers that do not read, nodes that are killed.

use std::collections::HashMap;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::join;
use futures_util::future::join_all;
use headroom::quota::FeedPlace;
use headroom::quota::QuotaError;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;

use super::streamed::Stream;
use crate::support::ADMIN_KEY;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::Caller;
use crate::support::poll::eventually;
use crate::support::poll::paced;
use crate::support::process::Node;

async fn start(nodes: usize) -> TestApp {
    TestApp::start_with(Options { nodes, flushers: true, ..Options::default() }.patient()).await
}

/// Consumes, 25 at once, and answers their events.
async fn load(caller: &Caller, rounds: usize) -> Vec<String> {
    let mut events = Vec::new();
    for number in 0..rounds {
        events.extend(round(caller, number, 25).await.into_iter().map(|(id, _)| id));
    }
    events
}

/// Consumes at once, and answers their events and when each was answered.
async fn round(caller: &Caller, number: usize, consumes: usize) -> Vec<(String, Instant)> {
    let subjects: Vec<_> = (0..consumes).map(|it| format!("user:u_{number}_{it}")).collect();
    let consumes = subjects.iter().map(|it| async {
        let answer = caller.consume(it, "gemini-2.0-flash").await;
        (answer.event_id().to_string(), Instant::now())
    });
    join_all(consumes).await
}

async fn finish(app: TestApp) {
    let quota = app.quota();
    let is_empty = || async { quota.verify().await.unwrap().pending == 0 };
    eventually("the outbox was flushed", Duration::from_secs(20), is_empty).await;
    app.finish().await;
}

/// Guards the bound of the delay: what one node has answered is at the readers of another within a second, at p99, while both
/// are at work. On threads of their own, so that the nodes need not wait for who makes the load.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_another_node_tells_of_an_event_within_a_second() {
    let app = start(2).await;
    let mut stream = Stream::open(&app.caller_of(1), "?types=quota-consumed", None).await;
    let caller = app.caller_of(0);
    let read = async {
        let mut seen = Vec::new();
        while seen.len() < 1_000 {
            let event = stream.next().await.unwrap();
            seen.push((event.body["id"].as_str().unwrap().to_owned(), Instant::now()));
        }
        seen
    };
    let mut answered = HashMap::new();
    // 200 a second.
    let load = paced(Duration::from_millis(50), 100, async |number| {
        answered.extend(round(&caller, number, 10).await);
    });

    let ((), seen) = join(load, read).await;

    let mut delays: Vec<Duration> =
        seen.iter().map(|(id, at)| at.saturating_duration_since(answered[id])).collect();
    delays.sort_unstable();
    assert!(delays[989] < Duration::from_secs(1), "p50 {:?}, p99 {:?}", delays[499], delays[989]);
    finish(app).await;
}

/// Guards the resume where it is hardest: the reader's node is killed in the middle of the load, and another one takes the reader
/// on, without a gap and without a duplicate.
#[tokio::test]
async fn a_reader_whose_node_is_killed_goes_on_at_another_without_gap_or_duplicate() {
    let app = start(1).await;
    let patient = ("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", "30000");
    let node = Node::start(&app, &[patient, ("HEADROOM_REDIS_RESPONSE_TIMEOUT_MS", "10000")]).await;
    let mut stream = Stream::open(&node.caller(), "?types=quota-consumed", None).await;
    let caller = app.caller();
    let read = async {
        let mut read = stream.take(200).await;
        let last = read.last().unwrap().id.clone();
        node.kill().await;
        let mut stream = Stream::open(&app.caller(), "?types=quota-consumed", Some(&last)).await;
        read.extend(stream.take(400).await);
        read
    };

    let (mut wanted, read) = join(load(&caller, 24), read).await;

    let mut found: Vec<_> =
        read.iter().map(|it| it.body["id"].as_str().unwrap().to_owned()).collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    finish(app).await;
}

/// Opens the stream, and reads nothing of it.
async fn open_and_read_nothing(app: &TestApp) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(app.address()).await.unwrap();
    let request =
        format!("GET /v1/stream HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {ADMIN_KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Guards that readers who take nothing hurt nobody: consumes are answered, others are told of everything, and new readers are
/// taken on.
#[tokio::test]
async fn readers_that_read_nothing_hold_up_nobody() {
    let app = start(1).await;
    let mut stalled = Vec::new();
    for _ in 0..16 {
        stalled.push(open_and_read_nothing(&app).await);
    }
    let mut stream = Stream::open(&app.caller(), "?types=quota-consumed", None).await;
    let text = "x".repeat(1_000);
    let consumes = (0..600).map(|number| {
        let body = json!({
            "subject": format!("user:u_{number}"), "model": "gemini-2.0-flash",
            "metadata": { "text": text }
        });
        let caller = app.caller();
        async move { caller.post("/v1/consume", &body).await }
    });

    let (answers, read) = join(join_all(consumes), stream.take(600)).await;

    assert!(answers.iter().all(Answer::is_allowed), "{:?}", answers[0]);
    let mut wanted: Vec<_> = answers.iter().map(|it| it.event_id().to_string()).collect();
    let mut found: Vec<_> =
        read.iter().map(|it| it.body["id"].as_str().unwrap().to_owned()).collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    let mut late = Stream::open(&app.caller(), "?types=quota-consumed", None).await;
    app.caller().consume("user:late", "gemini-2.0-flash").await;
    assert_eq!(late.next().await.unwrap().body["subject"], json!("user:late"));
    drop(stalled);
    finish(app).await;
}

/// Guards the bound on readers of a node: one more is told so, and those that are gone leave their places to others.
#[tokio::test]
async fn readers_that_are_gone_leave_their_places_to_others() {
    const READERS_MAX: usize = 256;
    let app = start(1).await;
    let quota = app.quota();
    let mut readers = Vec::new();
    for _ in 0..READERS_MAX + 10 {
        readers.extend(quota.read_feed(None).await.unwrap());
    }
    assert_eq!(readers.len(), READERS_MAX);

    drop(readers.pop());
    let next = [quota.read_feed(None).await.unwrap(), quota.read_feed(None).await.unwrap()];

    // The first is held while the second asks.
    assert_eq!(next.each_ref().map(Option::is_some), [true, false]);
    drop((readers, next));
    finish(app).await;
}

/// Guards readers who come back to a feed that was emptied: one who has read all of it goes on, one who lacks its last row is told.
#[tokio::test]
async fn who_lacks_the_last_row_of_an_emptied_feed_is_told() {
    let app = TestApp::start().await;
    assert!(app.caller().consume("user:u_1", "gemini-2.0-flash").await.is_allowed());
    app.flush().await;
    app.quota().follow_feed().await.unwrap();
    let (postgres, last) = (app.postgres().await, "SELECT last_place FROM feed_state");
    let row: u64 = postgres.query_one(last, &[]).await.unwrap().get::<_, i64>(0).cast_unsigned();
    postgres.execute("DELETE FROM feed", &[]).await.unwrap();
    let read_from = |row| app.quota().read_feed(Some(FeedPlace { row, number: 0 }));

    let (lacking, whole) = (read_from(row).await, read_from(row + 1).await);

    assert!(matches!(lacking, Err(QuotaError::FeedGone)), "row {row} is gone");
    assert!(whole.unwrap().is_some());
    app.finish().await;
}
