//! Holding, and settling with what the work took.

use headroom::domain::Amount;
use headroom::domain::Decision;
use headroom::quota::CommitOrder;
use headroom::quota::EndOrder;
use headroom::quota::HoldEnd;
use headroom::quota::QuotaError;

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

/// Guards holds: a hold is decided as a consume, and what it did not take is free again.
#[tokio::test]
async fn what_a_commit_does_not_take_is_free_again() {
    let app = start(100).await;
    let quota = app.quota();
    let held = reserve(quota, 40).await;
    assert!(held.allowed);
    assert_eq!(counts(&held.limits[0]), (0, 40, 60, 0));
    let refused = reserve(quota, 61).await;
    assert!(!refused.allowed && refused.hold.is_none());
    assert_eq!(refused.free_at_s, Some(held.hold.as_ref().unwrap().until_s));
    let too_much = reserve(quota, 101).await;
    assert!(!too_much.allowed && too_much.free_at_s.is_none());

    let ended = commit(quota, &held, 15).await.unwrap();
    assert_eq!(counts(&ended.limits[0]), (15, 0, 85, 0));
    assert!(!ended.late && !ended.overage && ended.held.get() == 40);
    assert_eq!(counts_of(quota, USER).await, (15, 0, 85, 0));
    app.flush().await;
    assert_eq!((logged(&app, "reserve").await, logged(&app, "commit").await), (1, 1));
    app.finish().await;
}

/// Guards keys: each way to end a hold has its own, so that one may be used for both.
#[tokio::test]
async fn a_release_and_a_commit_may_have_the_same_key() {
    let app = start(100).await;
    let quota = app.quota();
    let (released, committed) = (reserve(quota, 10).await, reserve(quota, 20).await);
    let under_key =
        |held: &Decision| EndOrder { idempotency_key: Some("k".to_owned()), ..ending(quota, held) };
    let of_five = CommitOrder { amount: Amount::new(5).unwrap(), is_strict: false };

    quota.release(&under_key(&released)).await.unwrap();
    quota.commit(&under_key(&committed), of_five).await.unwrap();

    assert_eq!(counts_of(quota, USER).await, (5, 0, 95, 0));
    app.finish().await;
}

/// Guards holds: more than was held counts even past the limit, unless the commit is strict.
#[tokio::test]
async fn a_commit_above_the_hold_counts_past_the_limit_unless_it_is_strict() {
    let app = start(10).await;
    let quota = app.quota();
    let held = reserve(quota, 5).await;
    let order = CommitOrder { amount: Amount::new(12).unwrap(), is_strict: true };
    let strict = quota.commit(&ending(quota, &held), order).await;
    assert!(matches!(strict, Err(QuotaError::CommitDoesNotFit)), "{strict:?}");
    assert_eq!(counts_of(quota, USER).await, (0, 5, 5, 0));

    let ended = commit(quota, &held, 12).await.unwrap();
    assert!(ended.overage);
    assert_eq!(counts(&ended.limits[0]), (12, 0, 0, 0));
    assert!(!quota.consume(messages(USER, 1)).await.unwrap().allowed);
    app.flush().await;
    assert_eq!(counts_of(quota, USER).await, (12, 0, 0, 0));
}

/// Guards I8: a reservation ends once, and whoever comes second is told how.
#[tokio::test]
async fn a_reservation_ends_once() {
    let app = start(100).await;
    let quota = app.quota();
    let held = reserve(quota, 10).await;
    commit(quota, &held, 7).await.unwrap();
    let again = commit(quota, &held, 7).await;
    let Err(QuotaError::ReservationEnded { end, amount }) = again else { panic!("{again:?}") };
    assert_eq!((end, amount.get()), (HoldEnd::Committed, 7));
    let released = quota.release(&ending(quota, &held)).await;
    assert!(matches!(released, Err(QuotaError::ReservationEnded { .. })), "{released:?}");

    let other = reserve(quota, 10).await;
    let ended = quota.release(&ending(quota, &other)).await.unwrap();
    assert_eq!(counts(&ended.limits[0]), (7, 0, 93, 0));
    let late = commit(quota, &other, 1).await;
    let Err(QuotaError::ReservationEnded { end, .. }) = late else { panic!("{late:?}") };
    assert_eq!(end, HoldEnd::Released);
    app.finish().await;
}

/// Guards promise 4: one key, one hold and one end, with the same answers.
#[tokio::test]
async fn a_key_holds_and_settles_once() {
    let app = start(100).await;
    let quota = app.quota();
    let order = || orders::keyed(USER, "messages", "k");
    let first = quota.reserve(order(), MINUTE).await.unwrap();
    let second = quota.reserve(order(), MINUTE).await.unwrap();
    assert!(second.replayed && !first.replayed);
    assert_eq!((&first.hold, &first.limits), (&second.hold, &second.limits));
    let mut end = ending(quota, &first);
    end.idempotency_key = Some("e".to_owned());
    let order = CommitOrder { amount: Amount::new(3).unwrap(), is_strict: false };
    let ended = quota.commit(&end, order).await.unwrap();
    let again = quota.commit(&end, order).await.unwrap();
    assert!(again.replayed);
    assert_eq!((ended.event_id, &ended.limits), (again.event_id, &again.limits));
    let other = CommitOrder { amount: Amount::new(4).unwrap(), ..order };
    assert!(matches!(quota.commit(&end, other).await, Err(QuotaError::IdempotencyMismatch)));
    assert_eq!(counts_of(quota, USER).await, (3, 0, 97, 0));
    app.finish().await;
}

/// Guards holds: a long stream is given more time, and then commits in time.
#[tokio::test]
async fn an_extended_hold_lasts_longer() {
    let app = start(100).await;
    let quota = app.quota();
    let held = reserve(quota, 10).await;
    app.clock.advance(50_000);
    let extended = quota.extend(&ending(quota, &held), MINUTE).await.unwrap();
    assert!(extended.until_s > held.hold.as_ref().unwrap().until_s);
    app.clock.advance(50_000);
    assert_eq!(counts_of(quota, USER).await, (0, 10, 90, 0));
    let ended = commit(quota, &held, 10).await.unwrap();
    assert!(!ended.late);
    app.flush().await;
    assert_eq!(counts_of(quota, USER).await, (10, 0, 90, 0));
    assert_eq!((logged(&app, "extend").await, logged(&app, "commit").await), (1, 1));
    app.finish().await;
}
