//! Redis lost between a reserve and its commit.

use headroom::quota::Ask;
use headroom::quota::HoldEnd;
use headroom::quota::Order;
use headroom::quota::QuotaError;

use super::fixture::MINUTE;
use super::fixture::USER;
use super::fixture::commit;
use super::fixture::counts;
use super::fixture::counts_of;
use super::fixture::logged;
use super::fixture::messages;
use super::fixture::purchase;
use super::fixture::reserve;
use super::fixture::start;
use super::fixture::start_on;
use crate::support::TestApp;
use crate::support::orders;

async fn lose_redis(app: &TestApp) {
    redis::cmd("FLUSHDB").exec_async(&mut app.redis().await).await.unwrap();
}

/// Guards holds: a reservation that Postgres has is committed from there, once.
#[tokio::test]
async fn a_commit_is_honoured_once_after_redis_was_lost() {
    let app = start(100).await;
    let quota = app.quota();
    let held = reserve(quota, 10).await;
    app.flush().await;
    lose_redis(&app).await;
    assert_eq!(counts_of(quota, USER).await, (0, 10, 90, 0));
    let ended = commit(quota, &held, 4).await.unwrap();
    assert!(!ended.late && !ended.overage);
    assert_eq!(counts_of(quota, USER).await, (4, 0, 96, 0));
    app.flush().await;
    lose_redis(&app).await;
    let again = commit(quota, &held, 4).await;
    let Err(QuotaError::ReservationEnded { end, amount }) = again else { panic!("{again:?}") };
    assert_eq!((end, amount.get()), (HoldEnd::Committed, 4));
    assert_eq!(logged(&app, "commit").await, 1);
    app.finish().await;
}

/// Guards what a hold holds of each metric, when only Postgres knows it: what is committed is measured by that.
#[tokio::test]
async fn a_lost_hold_of_two_metrics_is_committed_by_what_it_held_of_each() {
    let catalogue = r#"
        metrics = ["messages", "tokens"]
        default_plan = "p"
        [[models]]
        names = ["m"]
        charges = { messages = 1, tokens = 5 }
        [plans.p]
        limits = [
            { metric = "messages", period = "month", max = 100 },
            { metric = "tokens", period = "month", max = 100 },
        ]
    "#;
    let app = start_on(catalogue.to_owned()).await;
    let quota = app.quota();
    let order = Order { ask: Ask::Model("m".to_owned()), ..messages(USER, 10) };
    let held = quota.reserve(order.clone(), MINUTE).await.unwrap();
    assert!(quota.reserve(order, MINUTE).await.unwrap().allowed, "another goes on");
    app.flush().await;
    lose_redis(&app).await;

    commit(quota, &held, 4).await.unwrap();

    let usage = quota.usage(&orders::subject(USER)).await.unwrap();
    let counted: Vec<_> = usage.limits.iter().map(counts).collect();
    assert_eq!(counted, [(4, 10, 86, 0), (20, 50, 30, 0)]);
    app.finish().await;
}

/// Guards bonus units that are held when Redis is lost: the commit uses up of the grant what the hold held of it.
#[tokio::test]
async fn a_lost_hold_of_bonus_units_is_committed_by_what_it_held_of_the_grant() {
    let app = start(5).await;
    let quota = app.quota();
    let subject = orders::subject(USER);
    quota.give_grant(&subject, &purchase(10), &orders::actor()).await.unwrap();
    let held = reserve(quota, 8).await;
    assert!(held.allowed, "five of the plan and three of the grant");
    app.flush().await;
    lose_redis(&app).await;

    commit(quota, &held, 8).await.unwrap();

    assert_eq!(counts_of(quota, USER).await, (5, 0, 0, 7));
    app.finish().await;
}

/// Guards holds: a reservation that nobody remembers is committed by its id alone, once.
#[tokio::test]
async fn a_commit_is_honoured_once_by_its_id_alone() {
    let app = start(100).await;
    let quota = app.quota();
    let held = reserve(quota, 10).await;
    lose_redis(&app).await;
    assert_eq!(counts_of(quota, USER).await, (0, 0, 100, 0));
    commit(quota, &held, 4).await.unwrap();
    assert_eq!(counts_of(quota, USER).await, (4, 0, 96, 0));
    assert!(commit(quota, &held, 4).await.is_err());
    app.flush().await;
    lose_redis(&app).await;
    assert!(commit(quota, &held, 4).await.is_err());
    app.flush().await;
    assert_eq!((logged(&app, "reserve").await, logged(&app, "commit").await), (0, 1));
    assert_eq!(counts_of(quota, USER).await, (4, 0, 96, 0));
}

/// Guards I8 where a clock that was ahead is gone with Redis: a hold that is logged as expired is committed late, although it
/// would go on by the time that is left. Found by `headroom-torture`.
#[tokio::test]
async fn an_expired_hold_stays_expired_when_the_time_goes_back_with_a_loss() {
    let app = start(100).await;
    let quota = app.quota();
    let held = reserve(quota, 10).await;
    app.flush().await;
    app.clock.advance(120_000);
    assert_eq!(quota.expire_due().await.unwrap(), 1);
    app.flush().await;
    lose_redis(&app).await;
    app.clock.advance(-120_000);

    let ended = commit(quota, &held, 4).await.unwrap();

    assert!(ended.late);
    assert_eq!(counts_of(quota, USER).await, (4, 0, 96, 0));
    app.finish().await;
}

/// Guards that units are not charged once more: of a hold from before what is kept nobody knows how it ended.
#[tokio::test]
async fn a_commit_of_a_hold_that_is_no_longer_kept_is_refused() {
    let mut app = start(100).await;
    let held = reserve(app.quota(), 10).await;
    commit(app.quota(), &held, 4).await.unwrap();
    app.flush().await;
    let months_later = "DELETE FROM reservations; DELETE FROM message_logs;
        UPDATE retention_state SET reservations_from = now() + interval '1 day'";
    app.postgres().await.batch_execute(months_later).await.unwrap();
    lose_redis(&app).await;

    let again = commit(app.quota(), &held, 4).await;

    assert!(matches!(again, Err(QuotaError::UnknownReservation)), "{again:?}");
    assert_eq!(counts_of(app.quota(), USER).await, (4, 0, 96, 0));
    app.stop_nodes().await;
}
