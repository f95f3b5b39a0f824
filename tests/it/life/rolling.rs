//! What windows leave to the next.

use chrono::Datelike as _;
use chrono::Days;
use chrono::Months;

use super::fixture::USER;
use super::fixture::commit;
use super::fixture::logged;
use super::fixture::messages;
use super::fixture::reserve;
use super::fixture::start_on;
use crate::support::TestApp;
use crate::support::orders;

const ROLLING: &str = r#"
metrics = ["messages", "exports"]
default_plan = "only"
[plans.only]
limits = [
    { metric = "messages", period = "month", max = 100, rollover = "20%" },
    { metric = "exports", period = "day", max = 9 },
]
"#;

fn to_next_month(app: &TestApp) {
    let now = app.clock.now();
    let next = now.with_day(1).unwrap() + Months::new(1) + Days::new(1);
    app.clock.advance((next - now).num_milliseconds());
}

/// Used, carried and left of the month's messages.
async fn month(app: &TestApp) -> (u64, u64, u64) {
    let usage = app.quota().usage(&orders::subject(USER)).await.unwrap();
    let state = usage.limits.iter().find(|it| it.metric.as_str() == "messages").unwrap();
    (state.used.get(), state.carried.get(), state.remaining().unwrap().get())
}

/// Guards issue 4: what is left is carried up to the cap, once, whoever touches the new window first, and never again.
#[tokio::test]
async fn what_a_month_leaves_is_carried_once() {
    for is_loaded in [true, false] {
        let app = start_on(ROLLING.to_owned()).await;
        let quota = app.quota();
        assert!(quota.consume(messages(USER, 95)).await.unwrap().allowed);
        if !is_loaded {
            app.flush().await;
            let key = headroom::counters::keys::subject(orders::shard_of(USER), USER);
            redis::cmd("DEL").arg(key).exec_async(&mut app.redis().await).await.unwrap();
        }
        to_next_month(&app);
        // Another metric of the level comes first.
        assert!(quota.consume(orders::one(USER, "exports")).await.unwrap().allowed);
        assert_eq!(month(&app).await, (0, 5, 105), "loaded: {is_loaded}");
        assert!(quota.consume(messages(USER, 103)).await.unwrap().allowed);
        app.flush().await;
        // One for each month, though the first had nothing before it.
        assert_eq!(logged(&app, "rollover").await, 2);
        to_next_month(&app);
        // Carried units are used first, so that two of a hundred are left, and not what was carried before.
        assert_eq!(month(&app).await, (0, 2, 102));
        app.finish().await;
    }
}

/// Guards issue 4: a subject that was not there leaves nothing; one that was idle leaves as much as the cap.
#[tokio::test]
async fn who_was_not_there_leaves_nothing() {
    let app = start_on(ROLLING.to_owned()).await;
    assert_eq!(month(&app).await, (0, 0, 100));
    to_next_month(&app);
    let held = reserve(app.quota(), 10).await;
    commit(app.quota(), &held, 10).await.unwrap();
    to_next_month(&app);
    assert_eq!(month(&app).await, (0, 20, 120));
    app.finish().await;
}
