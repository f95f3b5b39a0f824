//! Giving back what an event took.

use headroom::quota::QuotaError;
use headroom::quota::RefundOrder;
use headroom::quota::Refunded;

use futures_util::future::join_all;

use super::fixture::USER;
use super::fixture::commit;
use super::fixture::counts_of;
use super::fixture::logged;
use super::fixture::messages;
use super::fixture::purchase;
use super::fixture::reserve;
use super::fixture::start;
use super::fixture::start_on;
use crate::support::TestApp;
use crate::support::orders;

async fn refund(app: &TestApp, event: uuid::Uuid) -> Result<Refunded, QuotaError> {
    let of = app.quota().refundable(event).await?;
    app.quota().refund(&of, &RefundOrder::default()).await
}

async fn consumed(app: &TestApp, amount: u64) -> uuid::Uuid {
    let decision = app.quota().consume(messages(USER, amount)).await.unwrap();
    assert!(decision.allowed);
    app.flush().await;
    decision.event_id.unwrap()
}

/// Guards refunds: plan and grant get back what each gave.
#[tokio::test]
async fn every_limit_and_grant_gets_back_what_it_gave() {
    let app = start(5).await;
    let subject = orders::subject(USER);
    app.quota().give_grant(&subject, &purchase(10), &orders::actor()).await.unwrap();
    let event = consumed(&app, 8).await;
    assert_eq!(counts_of(app.quota(), USER).await, (5, 0, 0, 7));
    let refunded = refund(&app, event).await.unwrap();
    let given: Vec<u64> = refunded.given.iter().map(|it| it.units.get()).collect();
    assert_eq!(given, [5, 3]);
    assert_eq!(counts_of(app.quota(), USER).await, (0, 0, 5, 10));
    app.finish().await;
}

/// Guards refunds: a grant that was used up, and that nodes had forgotten since, is there again with what it got back.
#[tokio::test]
async fn a_used_up_grant_gets_back_what_it_gave() {
    let app = start(5).await;
    let subject = orders::subject(USER);
    app.quota().give_grant(&subject, &purchase(10), &orders::actor()).await.unwrap();
    consumed(&app, 5).await;
    let event = consumed(&app, 10).await;
    app.quota().give_grant(&subject, &purchase(1), &orders::actor()).await.unwrap();
    assert_eq!(counts_of(app.quota(), USER).await, (5, 0, 0, 1));

    refund(&app, event).await.unwrap();
    app.flush().await;

    assert_eq!(counts_of(app.quota(), USER).await, (5, 0, 0, 11));
    consumed(&app, 11).await;
    app.finish().await;
}

/// Guards refunds: refunds at once, again, of a refund, of an unknown event and of nothing.
#[tokio::test]
async fn an_event_is_given_back_once() {
    let app = start(100).await;
    let event = consumed(&app, 8).await;
    let at_once = join_all((0..20).map(|_| refund(&app, event))).await;
    let fresh = at_once.iter().filter(|it| it.as_ref().is_ok_and(|it| !it.replayed)).count();
    assert_eq!((fresh, at_once.iter().filter(|it| it.is_ok()).count()), (1, 20));
    assert_eq!(counts_of(app.quota(), USER).await, (0, 0, 100, 0));
    app.flush().await;
    assert_eq!(logged(&app, "refund").await, 1);

    let refund_id = at_once[0].as_ref().unwrap().event_id;
    let of_refund = refund(&app, refund_id).await;
    assert!(matches!(of_refund, Err(QuotaError::NotRefundable)), "{of_refund:?}");
    let of_none = app.quota().refundable(uuid::Uuid::now_v7()).await;
    assert!(matches!(of_none, Err(QuotaError::UnknownEvent)), "{of_none:?}");
    let held = reserve(app.quota(), 10).await;
    let ended = commit(app.quota(), &held, 6).await.unwrap();
    app.flush().await;
    assert_eq!(refund(&app, ended.event_id).await.unwrap().given[0].units.get(), 6);
    app.finish().await;
}

/// Guards refunds: only in the same window, and only as far as the limit allows.
#[tokio::test]
async fn a_refund_keeps_to_its_window_and_to_the_limits_bound() {
    let limits = "{ metric = 'messages', period = 'day', max = 50, refund_max = 10 }";
    let app = start_on(format!(
        "metrics = ['messages']\ndefault_plan = 'only'\n[plans.only]\nlimits = [{limits}]\n"
    ))
    .await;
    let events = [consumed(&app, 6).await, consumed(&app, 6).await, consumed(&app, 4).await];
    refund(&app, events[0]).await.unwrap();
    let above = refund(&app, events[1]).await;
    assert!(matches!(above, Err(QuotaError::NothingToRefund)), "{above:?}");
    refund(&app, events[2]).await.unwrap();
    assert_eq!(counts_of(app.quota(), USER).await.0, 6);
    let event = consumed(&app, 3).await;
    app.clock.advance(86_400_000);
    let ended = refund(&app, event).await;
    assert!(matches!(ended, Err(QuotaError::NothingToRefund)), "{ended:?}");
    app.finish().await;
}

/// A limit of a sliding minute, of which refunds give back five messages at most.
const SLIDING: &str = "metrics = ['messages']\ndefault_plan = 'only'\n[plans.only]
    limits = [{ metric = 'messages', period = 'minute', max = 50, sliding = true, refund_max = 5 }]\n";

/// One node on that limit, in the first second of a slice.
async fn start_sliding() -> TestApp {
    let app = start_on(SLIDING.to_owned()).await;
    app.clock.advance(10_000 - app.clock.now_ms() % 10_000);
    app
}

/// Guards the bound on refunds of a sliding limit: it is of the trailing time, however many slices that has.
#[tokio::test]
async fn refunds_of_a_sliding_limit_share_their_bound_over_its_slices() {
    let app = start_sliding().await;
    let event = consumed(&app, 5).await;
    refund(&app, event).await.unwrap();

    for _ in 0..6 {
        app.clock.advance(10_000);
        let event = consumed(&app, 5).await;
        let above = refund(&app, event).await;
        assert!(matches!(above, Err(QuotaError::NothingToRefund)), "{above:?}");
    }

    assert_eq!(counts_of(app.quota(), USER).await.0, 30);
    app.clock.advance(10_000);
    let event = consumed(&app, 5).await;
    assert_eq!(refund(&app, event).await.unwrap().given[0].units.get(), 5);
    app.finish().await;
}

/// Guards refunds of a sliding limit: what an earlier slice took is given back for as long as it counts.
#[tokio::test]
async fn what_a_slice_took_is_given_back_for_as_long_as_it_counts() {
    let app = start_sliding().await;
    let events = [consumed(&app, 3).await, consumed(&app, 2).await];
    app.clock.advance(60_000);
    assert_eq!(counts_of(app.quota(), USER).await.0, 5);

    let refunded = refund(&app, events[0]).await.unwrap();

    let given = &refunded.given[0];
    assert_eq!((given.units.get(), given.window.seconds()), (3, 10));
    assert_eq!(counts_of(app.quota(), USER).await.0, 2);
    app.clock.advance(10_000);
    let ended = refund(&app, events[1]).await;
    assert!(matches!(ended, Err(QuotaError::NothingToRefund)), "{ended:?}");
    app.finish().await;
}
