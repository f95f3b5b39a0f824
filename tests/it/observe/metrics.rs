//! `/metrics` of a node that has done everything.

use std::time::Duration;

use headroom::counters::keys;
use headroom::telemetry::names;
use headroom::telemetry::names::Kind;
use reqwest::Method;
use reqwest::StatusCode;

use crate::support::TestApp;
use crate::support::caller::answer;
use crate::support::orders::shard_of;
use crate::support::poll::eventually;
use crate::support::process::Node;

const SUBJECT: &str = "user:u_1";

/// The metrics of the table that the page does not have.
fn absent(page: &str) -> Vec<String> {
    let kind = |kind| match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let of = names::ALL.iter().map(|it| format!("# TYPE {} {}", it.name, kind(it.kind)));
    of.filter(|wanted| !page.lines().any(|line| line == wanted)).collect()
}

/// Guards the names: after a load, decisions, refusals, a flush, a comparison and a recovery every metric of the table is
/// there, and those of what happened have counted it.
#[tokio::test]
async fn every_metric_is_there_after_a_run_of_everything() {
    let app = TestApp::start().await;
    let node = Node::start(&app, &[("HEADROOM_DRIFT_KEYS_PER_S", "10000")]).await;
    let caller = node.caller();
    let stream = caller.request(Method::GET, "/v1/stream").send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    assert!(caller.charge(SUBJECT, "messages", 1).await.is_allowed());
    let refused = caller.charge(SUBJECT, "messages", 1_000_000).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let mut forget = redis::cmd("DEL");
    forget.arg(keys::meta(shard_of(SUBJECT)));
    forget.exec_async(&mut app.redis().await).await.unwrap();
    assert!(caller.charge(SUBJECT, "messages", 1).await.is_allowed(), "after a recovery");
    let read = async || answer(caller.stranger(Method::GET, "/metrics")).await.text;
    let value = async |name: &str| -> f64 {
        let page = read().await;
        let samples = page.lines().filter(|line| line.starts_with(name));
        samples.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    };

    eventually("every metric", Duration::from_secs(30), async || absent(&read().await).is_empty())
        .await;
    let flushed = async || value("headroom_flushed_events_total ").await >= 1.0;
    eventually("the flush", Duration::from_secs(30), flushed).await;

    for name in [
        "headroom_decisions_total{outcome=\"allowed\"}",
        "headroom_decisions_total{outcome=\"refused\"}",
        "headroom_loads_total ",
        "headroom_load_seconds_count ",
        "headroom_redis_call_seconds_count ",
        "headroom_flush_batches_total ",
        "headroom_flush_seconds_count ",
        "headroom_flush_batch_events_count ",
        "headroom_recoveries_total ",
        "headroom_outbox_events{",
        "headroom_feed_readers ",
    ] {
        assert!(value(name).await > 0.0, "{name}: {}", read().await);
    }
    drop(stream);
    node.kill().await;
    app.finish().await;
}

/// Guards the age of the outbox, which an operator sees while Postgres is away: it grows though nothing can be flushed.
#[tokio::test]
async fn the_outbox_grows_old_while_postgres_is_away() {
    let options = crate::support::Options { own_postgres: true, ..super::options() };
    let mut app = TestApp::start_with(options).await;
    let node = Node::start(&app, &[]).await;
    let caller = node.caller();
    assert!(caller.charge(SUBJECT, "messages", 1).await.is_allowed());
    let shard = shard_of(SUBJECT);
    let gauge = async |name: &str| -> f64 {
        let page = answer(caller.stranger(Method::GET, "/metrics")).await.text;
        let series = format!("{name}{{shard=\"{shard}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    };
    let within = Duration::from_secs(30);
    let flushed = async || {
        let page = answer(caller.stranger(Method::GET, "/metrics")).await.text;
        page.lines().any(|line| line == "headroom_flushed_events_total 1")
    };
    eventually("the first flush", within, flushed).await;

    app.stores.postgres.as_mut().unwrap().kill().await.unwrap();
    assert!(caller.charge(SUBJECT, "messages", 1).await.is_allowed());
    eventually("an age", within, async || gauge("headroom_outbox_age_seconds").await > 0.5).await;
    let lag = gauge("headroom_flush_lag_events").await;
    app.stores.postgres.as_mut().unwrap().restart().await.unwrap();
    eventually("the flush", within, async || gauge("headroom_outbox_age_seconds").await < 0.001)
        .await;

    assert!((lag - 1.0).abs() < 0.001, "{lag}");
    node.kill().await;
    app.finish().await;
}
