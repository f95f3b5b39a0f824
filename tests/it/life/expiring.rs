//! Holds that nobody settles.

use futures_util::future::join_all;
use std::time::Duration;

use super::fixture::MINUTE;
use super::fixture::USER;
use super::fixture::commit;
use super::fixture::counts;
use super::fixture::counts_of;
use super::fixture::ending;
use super::fixture::logged;
use super::fixture::messages;
use super::fixture::reserve;
use super::fixture::start;
use crate::support::orders;

/// Guards holds: 1,000 holds end with no traffic at all; at their expiry, to the second, the capacity is back, before
/// anything was swept, and the sweep logs each once.
#[tokio::test]
async fn a_thousand_holds_expire_by_themselves() {
    let app = start(1_000).await;
    let quota = app.quota();
    let holds = (0..1_000).map(|_| quota.reserve(messages(USER, 1), MINUTE));
    let held = join_all(holds).await;
    let until_s = held.iter().map(|it| it.as_ref().unwrap().hold.as_ref().unwrap().until_s).max();
    assert_eq!(counts_of(quota, USER).await, (0, 1_000, 0, 0));
    app.flush().await;

    let left_ms = until_s.unwrap() * 1_000 - app.clock.now_ms();
    app.clock.advance(left_ms);
    assert_eq!(counts_of(quota, USER).await, (0, 0, 1_000, 0));
    assert!(quota.consume(messages(USER, 1_000)).await.unwrap().allowed);
    assert_eq!(quota.expire_due().await.unwrap(), 1_000);
    app.flush().await;
    assert_eq!(quota.expire_due().await.unwrap(), 0);
    assert_eq!(logged(&app, "expire").await, 1_000);
    app.finish().await;
}

/// Guards holds: what was used counts, however late it is told, and once.
#[tokio::test]
async fn a_late_commit_is_usage() {
    let app = start(100).await;
    let quota = app.quota();
    for is_swept in [false, true] {
        let before = counts_of(quota, USER).await.0;
        let held = quota.reserve(messages(USER, 10), Duration::from_secs(5)).await.unwrap();
        app.flush().await;
        app.clock.advance(10_000);
        if is_swept {
            assert_eq!(quota.expire_due().await.unwrap(), 1);
        }
        let ended = commit(quota, &held, 10).await.unwrap();
        assert!(ended.late);
        assert_eq!(counts(&ended.limits[0]), (before + 10, 0, 90 - before, 0));
        assert!(commit(quota, &held, 10).await.is_err());
        assert!(quota.release(&ending(quota, &held)).await.is_err());
    }
    app.flush().await;
    assert_eq!(quota.expire_due().await.unwrap(), 0);
    // Had one of these events another's id, the log would have left it out, and the counters with it.
    assert_eq!(counts_of(quota, USER).await, (20, 0, 80, 0));
    assert_eq!((logged(&app, "expire").await, logged(&app, "commit").await), (1, 2));
    app.finish().await;
}

/// Guards I2: a level that is loaded anew holds what its open reservations hold, whether they are flushed or not.
#[tokio::test]
async fn a_loaded_level_holds_what_is_open() {
    let app = start(100).await;
    let quota = app.quota();
    let flushed = reserve(quota, 10).await;
    app.flush().await;
    let pending = reserve(quota, 20).await;
    let mut redis = app.redis().await;
    let key = headroom::counters::keys::subject(orders::shard_of(USER), USER);
    redis::cmd("DEL").arg(key).exec_async(&mut redis).await.unwrap();
    assert_eq!(counts_of(quota, USER).await, (0, 30, 70, 0));
    commit(quota, &flushed, 1).await.unwrap();
    commit(quota, &pending, 2).await.unwrap();
    assert_eq!(counts_of(quota, USER).await, (3, 0, 97, 0));
    app.finish().await;
}
