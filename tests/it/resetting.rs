//! An admin's reset, under load and at rest.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use headroom::domain::Calendar;
use headroom::domain::Period;
use headroom::quota::ResetScope;
use headroom::quota::RewriteReport;
use reqwest::Method;
use serde_json::json;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::answer;
use crate::support::orders;
use crate::support::stores::SHARDS;

const SUBJECT: &str = "user:u_1";

const TWO_METRICS: &str = r#"
metrics = ["messages", "tokens"]
default_plan = "only"
[plans.only]
limits = [
    { metric = "messages", period = "day", max = 100 },
    { metric = "messages", period = "month", max = 200 },
    { metric = "messages", period = "lifetime", max = 300 },
    { metric = "tokens", period = "month", max = 400 },
]
"#;

/// Nodes on two metrics and four limits.
async fn start(nodes: usize) -> TestApp {
    let catalogue = Some(TWO_METRICS.to_owned());
    TestApp::start_with(Options { nodes, catalogue, ..Options::default() }).await
}

async fn consume(app: &TestApp, metric: &str, times: usize) {
    for _ in 0..times {
        assert!(app.quota().consume(orders::one(SUBJECT, metric)).await.unwrap().allowed);
    }
}

async fn reset(app: &TestApp, node: usize, scope: ResetScope) -> RewriteReport {
    app.quota_of(node).reset(&orders::subject(SUBJECT), scope, &orders::actor()).await.unwrap()
}

/// Units that were taken back, of all counters together.
fn cleared_by(report: &RewriteReport) -> u64 {
    report.counters.iter().map(|it| it.units.unsigned_abs()).sum()
}

/// Units used, by the limits' names.
async fn used(app: &TestApp) -> [u64; 4] {
    let usage = app.quota().usage(&orders::subject(SUBJECT)).await.unwrap();
    let used: BTreeMap<String, u64> =
        usage.limits.iter().map(|state| (state.name(), state.used.get())).collect();
    ["messages-day", "messages-month", "messages-lifetime", "tokens-month"].map(|name| used[name])
}

/// Redis drops the subject, as its idle time-out would.
async fn evict(app: &TestApp) {
    let shard = orders::subject(SUBJECT).shard(SHARDS);
    let key = headroom::counters::keys::subject(shard, SUBJECT);
    let mut redis = app.redis().await;
    let gone: u64 = redis::cmd("DEL").arg(key).query_async(&mut redis).await.unwrap();
    assert_eq!(gone, 1);
}

/// Guards I1 and promise 2: resets that race with consumes through two nodes and a flusher. What was used before the
/// last reset is gone, what came after it is counted, and the log has all of it: consumed minus cleared is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_under_load_take_back_exactly_what_they_say() {
    let catalogue = Some(orders::messages_a_month(1_000_000));
    let options = Options { nodes: 2, flushers: true, catalogue, ..Options::default() };
    let app = TestApp::start_with(options).await;

    let consumes = async {
        let calls =
            (0..600).map(|call| app.quota_of(call % 2).consume(orders::one(SUBJECT, "messages")));
        join_all(calls).await.into_iter().filter(|answer| answer.as_ref().unwrap().allowed).count()
    };
    let resets = async {
        let mut cleared = 0;
        for call in 0..10 {
            let report = reset(&app, call % 2, ResetScope::default()).await;
            cleared += cleared_by(&report);
        }
        cleared
    };
    let (accepted, cleared) = tokio::join!(consumes, resets);

    let usage = app.quota().usage(&orders::subject(SUBJECT)).await.unwrap();
    assert_eq!(usage.limits[0].used.get(), accepted as u64 - cleared);
    app.flush().await;
    let row = app
        .postgres()
        .await
        .query_one(
            "SELECT (SELECT used FROM usage_counters) AS used,
                (SELECT count(*) FROM message_logs WHERE kind = 'consume') AS consumed,
                (SELECT count(*) FROM message_logs WHERE kind = 'reset') AS resets",
            &[],
        )
        .await
        .unwrap();
    let logged: [i64; 3] = ["used", "consumed", "resets"].map(|name| row.get(name));
    assert_eq!(logged, [(accepted as u64 - cleared).cast_signed(), 600, 10]);
    app.finish().await;
}

/// Guards promise 2: a reset clears what its scope names, and lifetime counters only when they are named.
#[tokio::test]
async fn a_reset_clears_what_its_scope_names() {
    let of =
        |metric: Option<&str>, period| ResetScope { metric: metric.map(orders::metric), period };
    let cases = [
        (of(None, None), [0, 0, 3, 0]),
        (of(Some("messages"), None), [0, 0, 3, 2]),
        (of(Some("tokens"), None), [3, 3, 3, 0]),
        (of(None, Some(Period::Month)), [3, 0, 3, 0]),
        (of(Some("messages"), Some(Period::Day)), [0, 3, 3, 2]),
        (of(None, Some(Period::Lifetime)), [3, 3, 0, 2]),
        (of(Some("tokens"), Some(Period::Day)), [3, 3, 3, 2]),
    ];
    for (scope, left) in cases {
        let app = start(1).await;
        consume(&app, "messages", 3).await;
        consume(&app, "tokens", 2).await;

        let report = reset(&app, 0, scope).await;

        assert_eq!(used(&app).await, left, "{report:?}");
        let cleared: u64 = cleared_by(&report);
        assert_eq!(cleared, 11 - left.iter().sum::<u64>());
        app.flush().await;
        evict(&app).await;
        assert_eq!(used(&app).await, left, "after a load");
        app.finish().await;
    }
}

/// Guards promise 1: a reset of a subject that is not loaded clears what Postgres has and what waits in the outbox, and
/// what is loaded later shows it.
#[tokio::test]
async fn a_reset_of_a_cold_subject_clears_what_is_on_its_way() {
    let app = start(1).await;
    consume(&app, "messages", 2).await;
    app.flush().await;
    consume(&app, "messages", 3).await;
    evict(&app).await;

    let report = reset(&app, 0, ResetScope::default()).await;

    let cleared: Vec<_> = report.counters.iter().map(|it| (it.period, it.units)).collect();
    assert_eq!(cleared, [(Period::Day, -5), (Period::Month, -5)]);
    consume(&app, "messages", 1).await;
    evict(&app).await;
    assert_eq!(used(&app).await, [1, 1, 6, 0], "loaded with the reset still in the outbox");
    app.flush().await;
    evict(&app).await;
    assert_eq!(used(&app).await, [1, 1, 6, 0], "loaded from postgres");
    app.finish().await;
}

/// Guards promise 2: the instant of the last reset survives eviction, with its event in the outbox or in Postgres, and
/// a restart of the node.
#[tokio::test]
async fn the_instant_of_the_last_reset_survives_a_load() {
    let mut app = start(1).await;
    let last_reset = async |app: &TestApp| {
        app.quota().usage(&orders::subject(SUBJECT)).await.unwrap().last_reset_at
    };
    consume(&app, "messages", 1).await;
    assert_eq!(last_reset(&app).await, None);
    let reset_at = reset(&app, 0, ResetScope::default()).await.usage.last_reset_at;
    assert!(reset_at.is_some());

    evict(&app).await;
    assert_eq!(last_reset(&app).await, reset_at, "from the outbox");
    app.flush().await;
    evict(&app).await;
    assert_eq!(last_reset(&app).await, reset_at, "from postgres");
    app.stop_nodes().await;
    app.add_node().await;

    assert_eq!(last_reset(&app).await, reset_at, "after a restart");
    app.finish().await;
}

/// Guards promise 2: of resets that race, one takes the units back and the others find nothing; each is in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_that_race_take_each_unit_back_once() {
    let app = start(2).await;
    consume(&app, "messages", 7).await;

    let reports = join_all((0..10).map(|call| reset(&app, call % 2, ResetScope::default()))).await;

    let cleared: u64 = reports.iter().map(cleared_by).sum();
    assert_eq!(cleared, 14, "seven of the day and seven of the month");
    assert_eq!(app.flush().await, 17);
    assert_eq!(used(&app).await, [0, 0, 7, 0]);
    app.finish().await;
}

/// Guards promise 2: the chat's JSON after `DELETE /api/usage` shows nothing used, room for both kinds of messages, and
/// when.
#[tokio::test]
async fn the_chats_json_after_a_reset_shows_an_empty_month() {
    let app = TestApp::start().await;
    let caller = app.caller();
    for _ in 0..20 {
        assert!(caller.consume(SUBJECT, "claude-sonnet-4").await.is_allowed());
    }
    let before = caller.get("/api/usage?userId=u_1").await.body;

    let request = caller.request(Method::DELETE, "/api/usage").query(&[("userId", "u_1")]);
    let after = answer(request).await.body;

    let body = |messages: u64, can_send_premium: bool, last_reset: &str| {
        json!({
            "userId": "u_1",
            "totalMessages": messages,
            "premiumMessages": messages,
            "lastReset": last_reset,
            "canSendMessage": true,
            "canSendPremiumMessage": can_send_premium,
        })
    };
    let month = Period::Month.window_at(app.clock.now(), &Calendar::UTC).start_at();
    let month = month.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    assert_eq!(before, body(20, false, &month));
    let last_reset = after["lastReset"].as_str().unwrap();
    assert_eq!(after, body(0, true, last_reset));
    assert!(last_reset > month.as_str());
    assert_eq!(caller.get("/api/usage?userId=u_1").await.body, after);
    assert!(caller.consume(SUBJECT, "claude-sonnet-4").await.is_allowed());
    app.finish().await;
}

/// Guards a dry run: it names what the same reset would clear, and nothing of another metric or period.
#[tokio::test]
async fn a_dry_run_looks_at_what_its_scope_names() {
    let app = start(1).await;
    consume(&app, "messages", 3).await;
    consume(&app, "tokens", 2).await;
    app.flush().await;
    let would_clear = async |metric: Option<&str>, period| {
        let metric = metric.map(|name| headroom::domain::Metric::new(name).unwrap());
        let scope = ResetScope { metric, period };
        let found = app.quota().would_clear(&orders::subject(SUBJECT), &scope).await;
        found.map(|it| it.iter().map(|it| (it.metric.to_string(), it.units)).collect::<Vec<_>>())
    };
    let line = |metric: &str, units| (metric.to_owned(), units);

    let tokens = would_clear(Some("tokens"), None).await.unwrap();
    let lifetime = would_clear(None, Some(Period::Lifetime)).await.unwrap();
    let all = would_clear(None, None).await.unwrap();
    let unknown = would_clear(Some("unheard_of"), None).await;

    assert_eq!((tokens, lifetime), (vec![line("tokens", -2)], vec![line("messages", -3)]));
    assert_eq!(all, [line("messages", -3), line("messages", -3), line("tokens", -2)]);
    assert!(matches!(unknown, Err(headroom::quota::QuotaError::UnknownMetric)));
    app.finish().await;
}
