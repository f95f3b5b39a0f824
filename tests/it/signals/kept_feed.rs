//! How long the feed is kept for webhooks that are not told yet.

use reqwest::Method;
use serde_json::json;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::answer;
use crate::support::poll::eventually;

use super::webhooks::SOON;

const UNTOLD: &str = "headroom_feed_untold_total";

/// A node without loops and a webhook, or none, on a feed of three rows that is kept for a minute.
async fn start(enabled: Option<bool>) -> TestApp {
    let app = TestApp::start_with(Options::default().with("HEADROOM_FEED_KEEP_S", 60)).await;
    if let Some(enabled) = enabled {
        let hook = json!({ "url": "https://app.example/hook", "enabled": enabled });
        let made = app.caller().post("/v1/webhooks", &hook).await;
        assert!(made.status.is_success(), "{made:?}");
    }
    for amount in 1..=3 {
        let grant = json!({ "metric": "messages", "amount": amount, "source": "promotion" });
        let given = app.caller().post("/v1/subjects/user:u_1/grants", &grant).await;
        assert!(given.status.is_success(), "{given:?}");
    }
    eventually("all have their places", SOON, || async {
        app.ledger().place_feed().await.unwrap() >= 3
    })
    .await;
    app
}

/// Time passes for what is in the feed.
async fn age(app: &TestApp, by: &str) {
    let sql = format!("UPDATE feed SET made_at = made_at - interval '{by}'");
    app.postgres().await.batch_execute(&sql).await.unwrap();
}

async fn count(app: &TestApp, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    app.postgres().await.query_one(&sql, &[]).await.unwrap().get(0)
}

async fn untold(app: &TestApp) -> u64 {
    let page = answer(app.caller().stranger(Method::GET, "/metrics")).await.text;
    let line = page.lines().find_map(|line| line.strip_prefix(UNTOLD));
    line.unwrap_or("0").trim().parse().unwrap()
}

/// Guards "at least once" when the nodes that deliver were away for longer than the feed is kept: the upkeep, which may come
/// first then, takes away what was looked through alone.
#[tokio::test]
async fn what_no_webhook_was_told_of_outlives_the_feed() {
    let app = start(Some(true)).await;
    age(&app, "2 minutes").await;

    app.quota().drop_old_feed().await.unwrap();
    assert_eq!(count(&app, "feed").await, 3);
    while app.quota().fan_out().await.unwrap() {}
    assert_eq!(count(&app, "webhook_deliveries").await, 3);
    app.quota().drop_old_feed().await.unwrap();

    assert_eq!(count(&app, "feed").await, 0);
    app.finish().await;
}

/// Guards the bound on that: seven days later it goes, and a metric says how much.
#[tokio::test]
async fn what_no_webhook_was_told_of_goes_after_seven_days_more_and_is_counted() {
    let app = start(Some(true)).await;
    let before = untold(&app).await;
    age(&app, "7 days").await;
    app.quota().drop_old_feed().await.unwrap();
    assert_eq!(count(&app, "feed").await, 3);

    age(&app, "2 minutes").await;
    app.quota().drop_old_feed().await.unwrap();

    assert_eq!(count(&app, "feed").await, 0);
    assert!(untold(&app).await >= before + 3);
    app.finish().await;
}

/// Guards the feed's end where nobody is to be told: without a webhook, or with one that is disabled.
#[tokio::test]
async fn what_nobody_is_to_be_told_of_goes_with_age() {
    for enabled in [None, Some(false)] {
        let app = start(enabled).await;
        age(&app, "2 minutes").await;

        app.quota().drop_old_feed().await.unwrap();

        assert_eq!(count(&app, "feed").await, 0, "{enabled:?}");
        app.finish().await;
    }
}
