//! The live feed step by step: what a node that follows it keeps, and when it wakes its readers.

use std::time::Duration;

use futures_util::future::join;
use tokio::time::timeout;

use crate::support::TestApp;

/// Far more than a row takes that is there.
const LONG: Duration = Duration::from_secs(30);

async fn consume(app: &TestApp) {
    assert!(app.caller().consume("user:u_1", "gemini-2.0-flash").await.is_allowed());
    app.flush().await;
}

/// Guards Postgres against its readers: what the node has followed is told from its memory.
#[tokio::test]
async fn readers_are_told_from_memory_what_the_node_has_followed() {
    let app = TestApp::start().await;
    let core = app.core().await;
    let mut reader = core.quota.read_feed(None).await.unwrap().unwrap();
    consume(&app).await;
    core.quota.follow_feed().await.unwrap();
    app.postgres().await.execute("DELETE FROM feed", &[]).await.unwrap();

    let told = timeout(LONG, reader.next()).await.expect("it is in memory").unwrap().unwrap();

    assert_eq!(told.items.len(), 1);
    drop(reader);
    app.finish().await;
}

/// Guards the delay: a reader who waits is woken by the first look that finds something.
#[tokio::test]
async fn a_reader_who_waits_is_woken_by_the_first_look() {
    let app = TestApp::start().await;
    let core = app.core().await;
    let mut reader = core.quota.read_feed(None).await.unwrap().unwrap();
    let look = async {
        consume(&app).await;
        core.quota.follow_feed().await.unwrap();
    };

    let (told, ()) = join(timeout(LONG, reader.next()), look).await;

    assert!(told.expect("it was woken").unwrap().is_some());
    drop(reader);
    app.finish().await;
}
