//! Answers of Redis that are under way while the epoch ends in which it gave them.

use std::time::Duration;

use super::world;
use super::world::SUBJECT;
use crate::support::TestApp;
use crate::support::orders::accept;
use crate::support::poll::eventually;
use crate::support::proxy::Loss;
use crate::support::proxy::Proxy;

const WITHIN: Duration = Duration::from_secs(30);

/// A node that charged the subject once, and had it logged.
async fn start() -> (TestApp, Proxy) {
    let (app, proxy) = TestApp::start_behind_proxy(world::options(1, 100)).await;
    accept(app.quota(), SUBJECT, 1).await;
    assert_eq!(app.flush().await, 1);
    (app, proxy)
}

/// Waits until Redis gave the subject's shard its second place.
async fn second_place(app: &TestApp) {
    eventually("the second place", WITHIN, async || {
        let mut command = redis::cmd("HGET");
        command.arg(world::meta()).arg("seq");
        let seq: Option<u64> = command.query_async(&mut app.redis().await).await.unwrap();
        seq == Some(2)
    })
    .await;
}

/// Guards promise 3: what such an answer accepted may be lost, and the node that it was told cannot own up to it any more. Found by
/// `headroom-torture`.
#[tokio::test]
async fn what_was_accepted_in_an_epoch_that_lost_it_is_decided_again() {
    let (app, proxy) = start().await;
    proxy.lose_next(Loss::Held);

    let (used, ()) = tokio::join!(accept(app.quota(), SUBJECT, 1), async {
        second_place(&app).await;
        world::forget_everything(&app).await;
        app.flush().await;
        assert_eq!(world::incident(&app).await.new_epoch, 2);
        proxy.release();
    });

    assert_eq!(used, 2);
    app.flush().await;
    assert_eq!(world::logged(&app).await, 2);
    app.finish().await;
}

/// Guards promise 2 in the same place: what the recovery saved is not charged again.
#[tokio::test]
async fn what_was_accepted_in_an_epoch_whose_end_saved_it_is_charged_once() {
    let (app, proxy) = start().await;
    proxy.lose_next(Loss::Held);

    let (used, ()) = tokio::join!(accept(app.quota(), SUBJECT, 1), async {
        second_place(&app).await;
        world::delete(&app, &[world::meta()]).await;
        app.flush().await;
        assert_eq!(world::incident(&app).await.salvaged, 1);
        proxy.release();
    });

    assert_eq!(used, 2);
    app.flush().await;
    assert_eq!(world::logged(&app).await, 2);
    app.finish().await;
}
