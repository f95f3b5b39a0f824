//! One Redis: what a request costs it.

use crate::support::TestApp;
use crate::support::orders::one;

/// Guards the cost of a request: connections are not asked whether they live before each use, neither by decisions nor by
/// loads and flushes.
#[tokio::test]
async fn no_request_pings_redis() {
    let app = TestApp::start().await;
    let mut redis = app.redis().await;
    redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut redis).await.unwrap();

    for user in 0..20 {
        let order = one(&format!("user:u_{user}"), "messages");
        assert!(app.quota().consume(order).await.unwrap().allowed);
    }
    app.flush().await;

    let stats: String =
        redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await.unwrap();
    assert!(stats.contains("cmdstat_evalsha:"), "{stats}");
    for command in ["ping", "unwatch", "auth", "hello", "cluster"] {
        assert!(!stats.contains(&format!("cmdstat_{command}")), "{command}: {stats}");
    }
    app.finish().await;
}
