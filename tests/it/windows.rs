//! Windows that end under load, and clocks that disagree.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use futures_util::StreamExt;
use futures_util::stream;
use headroom::clock::Clock;
use headroom::domain::Calendar;
use headroom::domain::Period;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::Caller;
use crate::support::orders;

const MAX: u64 = 60;
const DAY_MS: i64 = 86_400_000;
const SUBJECT: &str = "user:u_1";

async fn start(max: u64, options: Options) -> TestApp {
    let catalogue = Some(orders::messages_a_month(max));
    TestApp::start_with(Options { catalogue, ..options }).await
}

/// Moves the clock to that long before the end of its month.
fn move_before_the_end_of_the_month(clock: &Clock, before: TimeDelta) {
    let end_s = Period::Month.window_at(clock.now(), &Calendar::UTC).end_s;
    clock.advance(end_s * 1_000 - before.num_milliseconds() - clock.now_ms());
}

async fn consume(caller: &Caller) -> Answer {
    caller.post("/v1/consume", &json!({ "subject": SUBJECT, "metric": "messages" })).await
}

/// Sends the calls to the two in turn, sixteen at a time, and does `midway` when half of them are answered.
async fn burst(callers: &[Caller; 2], calls: usize, midway: impl FnOnce()) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut midway = Some(midway);
    let calls_made = (0..calls).map(|call| consume(&callers[call % 2]));
    let mut pending = stream::iter(calls_made).buffer_unordered(16);
    while let Some(answer) = pending.next().await {
        answers.push(answer);
        if answers.len() == calls / 2
            && let Some(midway) = midway.take()
        {
            midway();
        }
    }
    answers
}

/// Units in Postgres by the first second of their window.
async fn counted(app: &TestApp) -> BTreeMap<i64, i64> {
    const COUNTERS: &str =
        "SELECT extract(epoch FROM window_start)::bigint, used FROM usage_counters";
    let rows = app.postgres().await.query(COUNTERS, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Events in the log by the window that they were charged to. Panics when one was charged to more than one counter, or
/// to a window that it did not happen in.
async fn logged(app: &TestApp) -> BTreeMap<i64, i64> {
    const EVENTS: &str = "SELECT deltas, extract(epoch FROM occurred_at)::bigint FROM message_logs";
    let mut windows = BTreeMap::new();
    for row in app.postgres().await.query(EVENTS, &[]).await.unwrap() {
        let deltas: serde_json::Value = row.get(0);
        let occurred_at_s: i64 = row.get(1);
        assert_eq!(deltas.as_array().unwrap().len(), 1, "{deltas}");
        let second = |place: usize| deltas[0][place].as_i64().unwrap();
        assert!((second(3)..second(4)).contains(&occurred_at_s), "{deltas} at {occurred_at_s}");
        *windows.entry(second(3)).or_insert(0) += second(5);
    }
    windows
}

/// Guards promise 1 and I9: a month that ends under load. Each event is in the one window in which it was decided, the
/// limit is exact in each window, and nobody gets an error. The second node's clock stays behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_that_ends_under_load_is_exact_on_both_sides() {
    let mut app = start(MAX, Options { flushers: true, ..Options::default() }).await;
    move_before_the_end_of_the_month(&app.clock, TimeDelta::hours(1));
    let lagging = Clock::with_offset_ms(app.clock.offset_ms());
    app.add_node_with_clock(lagging).await;
    let callers = [app.caller_of(0), app.caller_of(1)];
    let old = Period::Month.window_at(app.clock.now(), &Calendar::UTC);

    let mut answers = burst(&callers, 20, || ()).await;
    answers.extend(burst(&callers, 300, || app.clock.advance(2 * 3_600_000)).await);
    answers.extend(burst(&callers, 150, || ()).await);

    let statuses = [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS];
    let odd = answers.iter().find(|answer| !statuses.contains(&answer.status));
    assert!(odd.is_none(), "{odd:?}");
    app.flush().await;
    let counted = counted(&app).await;
    let accepted = answers.iter().filter(|answer| answer.is_allowed()).count();
    let limit = i64::try_from(MAX).unwrap();
    assert_eq!(counted.values().sum::<i64>(), i64::try_from(accepted).unwrap());
    assert_eq!((counted[&old.start_s], counted[&old.end_s]), (limit, limit));
    assert_eq!(logged(&app).await, counted);
    app.finish().await;
}

/// Guards promise 1: a node whose clock lags is corrected by the first answer and charges the window that Redis is in.
#[tokio::test]
async fn a_node_whose_clock_lags_charges_the_window_that_redis_is_in() {
    let mut app = start(MAX, Options::default()).await;
    let ahead = Clock::with_offset_ms(32 * DAY_MS);
    app.add_node_with_clock(ahead.clone()).await;
    let order = || orders::one(SUBJECT, "messages");
    app.quota().consume(order()).await.unwrap();
    app.quota_of(1).consume(order()).await.unwrap();

    let decision = app.quota().consume(order()).await.unwrap();
    let usage = app.quota().usage(&orders::subject(SUBJECT)).await.unwrap();

    let next = Period::Month.window_at(ahead.now(), &Calendar::UTC);
    assert_eq!((decision.limits[0].window, decision.limits[0].used.get()), (next, 2));
    assert_eq!((usage.limits[0].window, usage.limits[0].used.get()), (next, 2));
    app.flush().await;
    assert_eq!(counted(&app).await.into_values().collect::<Vec<_>>(), [1, 2]);
    app.finish().await;
}

/// Guards promise 1: time that goes back does not begin an ended window again, neither for a loaded subject, nor for
/// one that has to be loaded, nor after a restart.
#[tokio::test]
async fn time_that_goes_back_does_not_begin_an_ended_window_again() {
    let mut app = start(1, Options::default()).await;
    let order = || orders::one(SUBJECT, "messages");
    assert!(app.quota().consume(order()).await.unwrap().allowed);
    app.clock.advance(32 * DAY_MS);
    let next = app.quota().consume(order()).await.unwrap();
    assert!(next.allowed);
    app.clock.advance(-32 * DAY_MS);

    let loaded = app.quota().consume(order()).await.unwrap();
    app.flush().await;
    let mut redis = app.redis().await;
    let shard = orders::subject(SUBJECT).shard(crate::support::stores::SHARDS);
    let key = headroom::counters::keys::subject(shard, SUBJECT);
    let _: u64 = redis::cmd("DEL").arg(key).query_async(&mut redis).await.unwrap();
    let evicted = app.quota().consume(order()).await.unwrap();
    app.stop_nodes().await;
    app.add_node().await;
    let restarted = app.quota().consume(order()).await.unwrap();

    for decision in [loaded, evicted, restarted] {
        assert!(!decision.allowed);
        assert_eq!(decision.limits[0].window, next.limits[0].window);
        assert!(decision.decided_at_ms >= next.decided_at_ms);
    }
    app.finish().await;
}

/// Guards promise 5: a node that believes Redis' time to be later than it is learns better from the load, and does not
/// leave out counters that are current.
#[tokio::test]
async fn a_load_that_is_ahead_of_redis_is_put_right() {
    let mut app = start(3, Options::default()).await;
    move_before_the_end_of_the_month(&app.clock, TimeDelta::days(10));
    app.add_node_with_clock(Clock::with_offset_ms(app.clock.offset_ms() + 5 * 60_000)).await;
    let order = || orders::one(SUBJECT, "messages");
    assert!(app.quota_of(1).consume(order()).await.unwrap().allowed);
    assert!(app.quota().consume(order()).await.unwrap().allowed);
    app.flush().await;
    let mut redis = app.redis().await;
    let () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();

    let decision = app.quota().consume(order()).await.unwrap();

    assert!(decision.allowed);
    assert_eq!(decision.limits[0].used.get(), 3);
    app.finish().await;
}

/// Guards promise 1: the scripts drop a counter when its window is over in every calendar, and not before.
#[test]
fn no_window_is_longer_than_the_scripts_take_it_to_be() {
    let prelude = std::fs::read_to_string("lua/lib/prelude.lua").unwrap();
    let table = prelude.split("local LONGEST_S = {").nth(1).unwrap().split('}').next().unwrap();
    let longest = |period: Period| -> i64 {
        let name = format!("{} = ", period.letter());
        let rest = table.split(&*name).nth(1).unwrap();
        rest.split(',').next().unwrap().trim().parse().unwrap()
    };
    let first = chrono::DateTime::from_timestamp(1_767_225_600, 0).unwrap();
    for zone in chrono_tz::TZ_VARIANTS {
        for (period, days) in [(Period::Day, 1), (Period::Week, 7), (Period::Month, 28)] {
            let calendar = Calendar::parse(zone.name(), 31).unwrap();
            let mut at = first;
            while at < first + TimeDelta::days(3 * 366) {
                let window = period.window_at(at, &calendar);
                assert!(window.seconds() <= longest(period), "{zone} {} {at}", period.as_str());
                at += TimeDelta::days(days);
            }
        }
    }
}
