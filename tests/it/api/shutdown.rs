//! The end of a node: nothing that was accepted waits for the next one.

use std::time::Duration;

use tokio::net::TcpStream;

use super::bounds::head;
use super::bounds::pause;
use super::bounds::resume;
use crate::support::TestApp;
use crate::support::poll::eventually;
use crate::support::process::Node;
use crate::support::raw::RawConnection;

const SETTINGS: [(&str, &str); 3] = [
    ("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", "30000"),
    ("HEADROOM_REDIS_RESPONSE_TIMEOUT_MS", "30000"),
    ("HEADROOM_SERVER_SHUTDOWN_GRACE_MS", "30000"),
];
const SOON: Duration = Duration::from_secs(20);

async fn blocked_clients(redis: &redis::aio::MultiplexedConnection) -> u32 {
    let mut redis = redis.clone();
    let info: String = redis::cmd("INFO").arg("clients").query_async(&mut redis).await.unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
    line.unwrap().trim().parse().unwrap()
}

/// Guards the graceful end: requests under way are answered, their events are in Postgres, and the exit code is 0.
#[tokio::test]
async fn a_node_that_is_told_to_stop_answers_and_flushes_what_is_under_way() {
    let app = TestApp::start().await;
    let mut node = Node::start(&app, &SETTINGS).await;
    let mut redis = app.redis().await;
    let body = r#"{"subject":"user:u_2","model":"gemini-2.0-flash"}"#;
    let mut half_sent = RawConnection::open(node.address()).await;
    half_sent.send(head(body.len()) + &body[..10]).await;
    assert!(node.caller().consume("user:u_1", "gemini-2.0-flash").await.is_allowed());
    pause(&mut redis).await;

    let caller = node.caller();
    let (waiting, ()) = tokio::join!(caller.consume("user:u_1", "gemini-2.0-flash"), async {
        eventually("the request's wait", SOON, async || blocked_clients(&redis).await > 0).await;
        node.terminate().await;
        let is_refused = async || TcpStream::connect(node.address()).await.is_err();
        eventually("the end of new connections", SOON, is_refused).await;
        half_sent.send(&body[10..]).await;
        resume(&mut redis.clone()).await;
    });

    assert!(waiting.is_allowed(), "{waiting:?}");
    assert_eq!(half_sent.answer().await.map(|answer| answer.status), Some(200));
    assert!(half_sent.is_closed().await);
    assert_eq!(node.ended().await.code(), Some(0));
    let count = "SELECT count(*) FROM message_logs";
    let logged: i64 = app.postgres().await.query_one(count, &[]).await.unwrap().get(0);
    assert_eq!(logged, 3, "the node itself brought its events into postgres");
    app.finish().await;
}

/// Guards that idle connections, which callers keep for later, do not hold up the end.
#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let app = TestApp::start().await;
    let short = [("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", "500")];
    let mut node = Node::start(&app, &short).await;
    let caller = node.caller();
    assert!(caller.consume("user:u_1", "gemini-2.0-flash").await.is_allowed());
    let mut silent = RawConnection::open(node.address()).await;
    let mut half_head = RawConnection::open(node.address()).await;
    half_head.send("GET /livez HTTP/1.1\r\nhost").await;

    node.terminate().await;
    let status = tokio::time::timeout(SOON, node.ended()).await.unwrap();

    assert_eq!(status.code(), Some(0));
    assert!(silent.is_closed().await && half_head.is_closed().await);
    drop(caller);
    app.finish().await;
}
