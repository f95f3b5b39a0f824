//! What windows leave to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Datelike as _;
use chrono::Days;
use chrono::Months;
use headroom::domain::Amount;
use headroom::domain::Catalogue;
use headroom::quota::CatalogueChange;
use headroom::quota::Expected;
use headroom::quota::Order;

use super::fixture::USER;
use super::fixture::commit;
use super::fixture::ending;
use super::fixture::logged;
use super::fixture::messages;
use super::fixture::reserve;
use super::fixture::start_on;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::poll::eventually;

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

/// Guards rollover: what is left is carried up to the cap, once, whoever touches the new window first, and never again.
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

/// Guards rollover: a subject that was not there leaves nothing; one that was idle leaves as much as the cap.
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

/// Guards the window that a roll looks at: the one before by the calendar of the level itself.
#[tokio::test]
async fn a_day_leaves_its_rest_by_the_level_s_own_calendar() {
    let daily = ROLLING
        .replace("period = \"month\"", "period = \"day\"")
        .replace("{ metric = \"exports\", period = \"day\", max = 9 },", "");
    let app = start_on(daily).await;
    let zone = serde_json::json!({ "time_zone": "Etc/GMT+5" });
    let put = app.caller().put(&format!("/v1/subjects/{USER}"), "*", &zone).await;
    assert_eq!(put.status.as_u16(), 200, "{put:?}");
    assert!(app.quota().consume(messages(USER, 97)).await.unwrap().allowed);

    app.clock.advance(86_400_000);

    assert_eq!(month(&app).await, (0, 3, 103));
    app.finish().await;
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

const MESSAGES: &str = "{ metric = 'messages', period = 'month', max = 100, rollover = '20%' }";
const EXPORTS: &str = "{ metric = 'exports', period = 'month', max = 100, rollover = '20%' }";
const IMPORTS: &str = "{ metric = 'imports', period = 'month', max = 100, rollover = '20%' }";

fn limits_in_order(limits: &[&str]) -> String {
    let limits = limits.join(", ");
    format!(
        "metrics = ['messages', 'exports', 'imports']\ndefault_plan = 'only'\n\
         [plans.only]\nlimits = [{limits}]\n"
    )
}

/// Has 97 messages and 90 exports used up by a subject that Redis then forgets, and something of its shard left to flush, so that
/// a roll in the next month asks Postgres and has to wait for it.
async fn start_waiting_month() -> TestApp {
    let catalogue = Some(limits_in_order(&[MESSAGES, EXPORTS]));
    let app = TestApp::start_with(Options { catalogue, ..Options::default() }.patient()).await;
    let (quota, shard) = (app.quota(), orders::shard_of(USER));
    let exports = Order { amount: Amount::new(90).unwrap(), ..orders::one(USER, "exports") };
    for order in [messages(USER, 97), exports] {
        assert!(quota.consume(order).await.unwrap().allowed);
    }
    app.flush().await;
    let key = headroom::counters::keys::subject(shard, USER);
    redis::cmd("DEL").arg(key).exec_async(&mut app.redis().await).await.unwrap();
    let mut neighbours = (2..100).map(|number| format!("user:u_{number}"));
    let neighbour = neighbours.find(|it| orders::shard_of(it) == shard).unwrap();
    assert!(quota.consume(messages(&neighbour, 1)).await.unwrap().allowed);
    to_next_month(&app);
    app
}

/// Puts another catalogue in force once a roll waits for Postgres, and then lets it go on.
async fn change_limits_meanwhile(app: &TestApp, limits: &[&str]) {
    let postgres = app.postgres().await;
    let now = "SELECT clock_timestamp()::text";
    let begun_at: String = postgres.query_one(now, &[]).await.unwrap().get(0);
    let waiting = "SELECT count(*) > 0 FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE '-- cursors_past%'
        AND query_start > $1::text::timestamptz";
    eventually("the roll waits for postgres", Duration::from_secs(20), || async {
        postgres.query_one(waiting, &[&begun_at]).await.unwrap().get(0)
    })
    .await;
    let change = CatalogueChange::All(Catalogue::parse(&limits_in_order(limits)).unwrap());
    app.quota().change_catalogue(change, Expected::Any, &orders::actor()).await.unwrap();
    app.flush().await;
}

/// Guards rollover: what is carried is that of the limit itself, also when a plan's limits change places, or another joins them,
/// while a roll asks Postgres for the windows before.
#[tokio::test]
async fn limits_that_change_places_meanwhile_carry_what_is_theirs() {
    for limits in [&[EXPORTS, MESSAGES][..], &[IMPORTS, EXPORTS, MESSAGES]] {
        let app = start_waiting_month().await;

        let consume = app.quota().consume(messages(USER, 1));
        let (consumed, ()) = tokio::join!(consume, change_limits_meanwhile(&app, limits));

        assert!(consumed.unwrap().allowed);
        let usage = app.quota().usage(&orders::subject(USER)).await.unwrap();
        let carried = usage.limits.iter().map(|it| (it.metric.as_str(), it.carried.get()));
        let carried: BTreeMap<_, _> = carried.collect();
        assert_eq!((carried["messages"], carried["exports"]), (3, 10), "{limits:?}");
        app.finish().await;
    }
}

const DAILY: &str = r#"
metrics = ["messages"]
default_plan = "only"
[plans.only]
limits = [{ metric = "messages", period = "day", max = 10, rollover = 10 }]
"#;

/// Guards rollover: what is held when a day ends counts as used, also when Redis forgot the subject so long after that day that a
/// load does not have it any more.
#[tokio::test]
async fn what_is_held_over_midnight_is_not_carried_after_a_load() {
    for (is_loaded, is_extended) in [(true, false), (true, true), (false, false), (false, true)] {
        let app = start_on(DAILY.to_owned()).await;
        let quota = app.quota();
        let into_the_day_ms = app.clock.now_ms().rem_euclid(DAY_MS);
        app.clock.advance(DAY_MS + 23 * HOUR_MS - into_the_day_ms);
        let held = quota.reserve(messages(USER, 10), Duration::from_hours(24)).await.unwrap();
        assert!(held.allowed);
        app.flush().await;
        app.clock.advance(4 * HOUR_MS);
        if !is_loaded {
            let key = headroom::counters::keys::subject(orders::shard_of(USER), USER);
            redis::cmd("DEL").arg(key).exec_async(&mut app.redis().await).await.unwrap();
        }
        if is_extended {
            quota.extend(&ending(quota, &held), Duration::from_hours(24)).await.unwrap();
            app.flush().await;
        }
        let case = format!("loaded: {is_loaded}, extended: {is_extended}");

        assert!(quota.consume(messages(USER, 10)).await.unwrap().allowed, "{case}");

        assert_eq!(month(&app).await, (10, 0, 0), "{case}");
        let ended = commit(quota, &held, 10).await.unwrap();
        assert!(!ended.late, "{case}");
        assert!(!quota.consume(messages(USER, 1)).await.unwrap().allowed);
        app.finish().await;
    }
}
