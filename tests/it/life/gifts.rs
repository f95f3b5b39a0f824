//! Gifts of bonus units between subjects of different shards.

use std::time::Duration;

use headroom::domain::Units;
use headroom::quota::QuotaError;
use headroom::quota::TransferOrder;

use futures_util::future::join_all;

use super::fixture::USER;
use super::fixture::age_gifts;
use super::fixture::counts_of;
use super::fixture::logged;
use super::fixture::messages;
use super::fixture::purchase;
use super::fixture::start;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::poll::eventually;

fn gift(to: &str, amount: u64) -> TransferOrder {
    TransferOrder {
        from: orders::subject(USER),
        to: orders::subject(to),
        metric: orders::metric("messages"),
        amount: Units::new(amount).unwrap(),
        note: Some("for you".to_owned()),
    }
}

async fn grant(app: &TestApp, amount: u64) {
    let subject = orders::subject(USER);
    app.quota().give_grant(&subject, &purchase(amount), &orders::actor()).await.unwrap();
}

/// Guards gifts: what is given is taken of one and given to the other, in whatever shards they are.
#[tokio::test]
async fn a_gift_moves_units() {
    let app = start(5).await;
    grant(&app, 10).await;
    let friends = ["user:u_2", "user:u_3", "user:u_4"];
    assert!(friends.iter().any(|it| orders::shard_of(it) != orders::shard_of(USER)));
    for friend in friends {
        app.quota().transfer(&gift(friend, 3), &orders::actor()).await.unwrap();
        assert_eq!(counts_of(app.quota(), friend).await.3, 3);
    }
    assert_eq!(counts_of(app.quota(), USER).await.3, 1);
    let refused = app.quota().transfer(&gift("user:u_2", 2), &orders::actor()).await;
    assert!(matches!(refused, Err(QuotaError::InsufficientGrant)), "{refused:?}");
    assert!(app.quota().consume(messages("user:u_2", 8)).await.unwrap().allowed);
    assert!(!app.quota().consume(messages("user:u_2", 1)).await.unwrap().allowed);
    app.flush().await;
    assert_eq!(logged(&app, "transfer").await, 3);
    app.finish().await;
}

/// Guards that a gift which was left unfinished is finished once, and told as such.
#[tokio::test]
async fn an_unfinished_gift_is_finished_and_counted() {
    let app = start(5).await;
    grant(&app, 10).await;
    app.quota().transfer(&gift("user:u_2", 3), &orders::actor()).await.unwrap();
    // As a node leaves it that dies when the units were taken.
    let left = "DELETE FROM grants WHERE source = 'gift';
        DELETE FROM message_logs WHERE kind = 'grant' AND settles IS NOT NULL;
        UPDATE transfers SET state = 'pending', ended_at = NULL";
    app.postgres().await.batch_execute(left).await.unwrap();
    age_gifts(&app).await;

    let finished = [app.quota().finish_transfers().await, app.quota().finish_transfers().await];

    assert_eq!(finished.map(Result::unwrap), [1, 0]);
    assert_eq!(counts_of(app.quota(), USER).await.3, 7);
    assert_eq!(counts_of(app.quota(), "user:u_2").await.3, 3);
    app.finish().await;
}

/// Guards gifts: however many give at once, no unit is made.
#[tokio::test]
async fn gifts_at_once_give_no_more_than_there_is() {
    let app = start(5).await;
    grant(&app, 10).await;
    let give = async |at: usize| {
        app.quota().transfer(&gift(&format!("user:f_{at}"), 3), &orders::actor()).await
    };
    let gifts = (0..8).map(give);
    let given = join_all(gifts).await.into_iter().flatten().count();
    assert_eq!(given, 3);
    let mut received = 0;
    for at in 0..8 {
        received += counts_of(app.quota(), &format!("user:f_{at}")).await.3;
    }
    assert_eq!((received, counts_of(app.quota(), USER).await.3), (9, 1));
    app.finish().await;
}

/// Guards promise 2 where Redis is lost: a gift that was made has both sides, although nobody has flushed. Found when
/// `headroom-torture` began to give.
#[tokio::test]
async fn a_gift_stays_whole_when_redis_is_lost_after_it() {
    let app = start(5).await;
    grant(&app, 10).await;
    app.quota().transfer(&gift("user:u_2", 3), &orders::actor()).await.unwrap();

    redis::cmd("FLUSHDB").exec_async(&mut app.redis().await).await.unwrap();

    assert_eq!(counts_of(app.quota(), USER).await.3, 7);
    assert_eq!(counts_of(app.quota(), "user:u_2").await.3, 3);
    app.finish().await;
}

/// Guards I8: a gift that Redis has refused is made by nobody, though the giver has the units by the time that the refusal
/// is written down. Found by `headroom-torture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gift_that_is_being_refused_is_not_made_by_another() {
    let mut app = start(5).await;
    app.add_node().await;
    let (app, postgres) = (&app, app.postgres().await);
    let writing = || async move {
        let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'";
        app.postgres().await.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
    };
    postgres.batch_execute("BEGIN; SELECT FROM outbox_cursors FOR UPDATE").await.unwrap();
    let (given, actor) = (gift("user:u_2", 3), orders::actor());
    let refusing = app.quota().transfer(&given, &actor);
    let meanwhile = async {
        eventually("a refusal that waits", Duration::from_secs(10), writing).await;
        grant(app, 10).await;
        age_gifts(app).await;
        let sweeping = app.quota_of(1).finish_transfers();
        let release = async { postgres.batch_execute("COMMIT").await.unwrap() };
        tokio::join!(sweeping, release).0
    };

    let (refused, swept) = tokio::join!(refusing, meanwhile);

    assert!(matches!(refused, Err(QuotaError::InsufficientGrant)), "{refused:?}");
    swept.unwrap();
    assert_eq!(counts_of(app.quota(), USER).await.3, 10);
    assert_eq!(counts_of(app.quota(), "user:u_2").await.3, 0);
}
