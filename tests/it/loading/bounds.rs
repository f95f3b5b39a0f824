//! A subject with more of its own events pending than a load follows.

use headroom::counters::keys;
use headroom::quota::QuotaError;
use headroom::quota::Store;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::orders::accept;
use crate::support::orders::burst;
use crate::support::orders::consume;
use crate::support::orders::shard_of;

const SUBJECT: &str = "user:u_1";
/// One more than a load follows.
const PENDING: usize = 4_097;

/// Guards promise 7: the walk through a subject's events is bounded. Past the bound the subject waits for the flusher, and
/// its neighbours in the same load do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_with_too_many_pending_events_waits_for_the_flusher_alone() {
    let catalogue = Some(orders::messages_a_month(100_000));
    let app = TestApp::start_with(Options { catalogue, ..Options::default() }.patient()).await;
    assert_eq!(burst(&[app.quota()], SUBJECT, PENDING).await, PENDING);
    let key = keys::subject(shard_of(SUBJECT), SUBJECT);
    redis::cmd("DEL").arg(key).exec_async(&mut app.redis().await).await.unwrap();

    let neighbours: Vec<String> = (0..63).map(|number| format!("user:n_{number}")).collect();
    let others = neighbours.iter().map(|it| consume(app.quota(), it));
    let (refused, others) =
        futures_util::join!(consume(app.quota(), SUBJECT), futures_util::future::join_all(others));
    assert!(
        matches!(refused, Err(QuotaError::Unavailable { store: Store::Postgres, .. })),
        "{refused:?}"
    );
    assert!(others.into_iter().all(|decision| decision.unwrap().allowed));

    app.flush().await;
    assert_eq!(accept(app.quota(), SUBJECT, 1).await, PENDING as u64 + 1);
    app.finish().await;
}
