//! Probes, metrics and the API's own description.

use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::answer;
use crate::support::process::Node;

async fn ask(app: &TestApp, path: &str) -> Answer {
    answer(app.caller().stranger(Method::GET, path)).await
}

fn readiness(redis: &str, postgres: &str) -> Value {
    json!({ "ready": redis == "up", "redis": redis, "postgres": postgres })
}

/// Guards the probes: Redis decides readiness, Postgres is only reported, and the process lives without either.
#[tokio::test]
async fn readiness_follows_redis_and_only_reports_postgres() {
    let options = Options { own_postgres: true, ..Options::default() };
    let mut app = TestApp::start_with(options).await;
    assert!(app.caller().consume("user:u_1", "gemini-2.0-flash").await.is_allowed());
    app.flush().await;

    let both_up = ask(&app, "/readyz").await;
    app.stores.postgres.as_mut().unwrap().kill().await.unwrap();
    let without_postgres = ask(&app, "/readyz").await;
    let loaded = app.caller().consume("user:u_1", "gemini-2.0-flash").await;
    app.stores.redis.kill().await.unwrap();
    let without_both = ask(&app, "/readyz").await;
    let alive = ask(&app, "/livez").await;

    assert_eq!((both_up.status, both_up.body), (StatusCode::OK, readiness("up", "up")));
    assert_eq!(without_postgres.status, StatusCode::OK);
    assert_eq!(without_postgres.body, readiness("up", "away"));
    assert!(loaded.is_allowed(), "loaded subjects do not need postgres: {loaded:?}");
    assert_eq!(without_both.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(without_both.body, readiness("away", "away"));
    assert_eq!((alive.status, alive.text.as_str()), (StatusCode::OK, "ok\n"));
    app.stores.redis.restart().await.unwrap();
    app.stores.postgres.as_mut().unwrap().restart().await.unwrap();
    assert_eq!(ask(&app, "/readyz").await.body, readiness("up", "up"));
    app.finish().await;
}

/// Guards the answer while a store is away: 503 with a time to come back, and no word about the cause.
#[tokio::test]
async fn a_store_that_is_away_is_a_503_that_tells_nothing_of_it() {
    let mut app = TestApp::start().await;
    let port = app.stores.redis.port().to_string();
    app.stores.redis.kill().await.unwrap();

    let consume = app.caller().consume("user:u_1", "gemini-2.0-flash").await;
    let usage = app.caller().get("/v1/subjects/user:u_1/usage").await;
    let chat = app.caller().delete("/api/usage?userId=u_1").await;

    for answer in [consume, usage, chat] {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.code(), "store_unavailable");
        let kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
        assert_eq!(answer.body["type"], kind);
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        assert!(!answer.text.contains(&port) && !answer.text.contains("refused"), "{answer:?}");
    }
    app.stores.redis.restart().await.unwrap();
    app.finish().await;
}

/// Guards the metrics: text that Prometheus parses, with what was decided and answered.
#[tokio::test]
async fn metrics_count_decisions_and_answers() {
    let app = TestApp::start().await;
    let node = Node::start(&app, &[]).await;
    let caller = node.caller();
    let all = json!({ "subject": "user:u_1", "model": "claude-opus-4", "amount": 20 });
    assert!(caller.post("/v1/consume", &all).await.is_allowed());
    for _ in 0..2 {
        assert_eq!(caller.post("/v1/consume", &all).await.status, StatusCode::TOO_MANY_REQUESTS);
    }
    for _ in 0..3 {
        assert!(caller.consume_once("user:u_2", "claude-opus-4", "k").await.is_allowed());
    }

    let metrics = answer(caller.stranger(Method::GET, "/metrics")).await;

    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    let samples: Vec<(String, f64)> = metrics.text.lines().filter_map(sample).collect();
    let value = |series: &str| samples.iter().find(|(name, _)| name == series).map(|it| it.1);
    let decisions =
        |outcome: &str| value(&format!("headroom_decisions_total{{outcome=\"{outcome}\"}}"));
    assert_eq!(decisions("allowed"), Some(2.0), "{}", metrics.text);
    assert_eq!(decisions("refused"), Some(2.0));
    assert_eq!(decisions("replayed"), Some(2.0));
    let answers = |status: u16| {
        let wanted = [format!("status=\"{status}\""), "route=\"POST /v1/consume\"".to_owned()];
        let found =
            samples.iter().find(|(name, _)| wanted.iter().all(|label| name.contains(label)));
        found.map(|it| it.1)
    };
    assert_eq!((answers(200), answers(429)), (Some(4.0), Some(2.0)));
    assert!(!metrics.text.contains("u_1"), "subjects are no labels");
    node.kill().await;
    app.finish().await;
}

/// A line of the text format; comments must be known ones, and nothing else may stand there.
fn sample(line: &str) -> Option<(String, f64)> {
    if line.is_empty() || line.starts_with("# HELP ") || line.starts_with("# TYPE ") {
        return None;
    }
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let is_name = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b))
    };
    assert!(is_name(name) && labels.ends_with('}'), "no sample: {line}");
    Some((series.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}"))))
}

/// Guards the published document: what is served is the snapshot that clients are made from.
#[tokio::test]
async fn the_served_document_is_the_stored_one() {
    let app = TestApp::start().await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();

    let served = ask(&app, "/openapi.json").await;

    assert_eq!(served.header("content-type"), "application/json");
    assert!(served.body == stored, "the served document differs from openapi.json");
    assert_eq!(stored["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    app.finish().await;
}
