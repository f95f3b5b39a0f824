//! Answers to COMMIT that do not come back: whether the transaction is in Postgres is not known to who sent it.

use std::time::Duration;

use super::MODEL;
use super::messages_a_month;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::poll::eventually;
use crate::support::proxy::Loss;
use crate::support::proxy::Proxy;
use crate::support::proxy::Trigger;

const SOON: Duration = Duration::from_secs(20);
const REFUSED: i64 = 12;
/// Commits of unknown fate before one is answered.
const LOST: u32 = 5;

/// Guards that a refusal is counted once, noted once and told of once, however often its batch is sent.
#[tokio::test]
async fn refusals_whose_commit_is_not_answered_are_counted_once() {
    let catalogue = Some(messages_a_month(1));
    let options = Options { nodes: 0, catalogue, ..Options::default() }.patient();
    let mut app = TestApp::start_with(options).await;
    let url: reqwest::Url = app.stores.postgres_url.parse().unwrap();
    let proxy = Proxy::start_for(Trigger::Commit, url.port().unwrap()).await.unwrap();
    app.set("DATABASE_URL", proxy.reroute(&app.stores.postgres_url));
    app.add_node().await;
    let caller = app.caller();
    assert!(caller.consume("user:u_1", MODEL).await.is_allowed());
    app.flush().await;
    proxy.lose_every(1, Loss::Closed);
    for _ in 0..REFUSED {
        assert_eq!(caller.consume("user:u_1", MODEL).await.status.as_u16(), 429);
    }
    let quota = app.quota();
    eventually("batches of unknown fate", SOON, || async {
        quota.write_denials().await.is_err() && proxy.faults() >= LOST
    })
    .await;

    proxy.heal();
    eventually("all is written", SOON, || async { quota.write_denials().await.is_ok() }).await;

    let counted = "SELECT
        (SELECT sum(denials)::bigint FROM denial_minutes),
        (SELECT sum(denials)::bigint FROM denial_hours),
        (SELECT count(*) FROM feed, jsonb_array_elements(signals) AS signal
            WHERE signal ->> 'type' = 'quota-denied')
            - (SELECT count(*) FROM denials)";
    let row = app.postgres().await.query_one(counted, &[]).await.unwrap();
    assert_eq!([row.get::<_, i64>(0), row.get(1), row.get(2)], [REFUSED, REFUSED, 0]);
    app.finish().await;
}
