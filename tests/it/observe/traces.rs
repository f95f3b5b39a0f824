//! Traces over OTLP.

use opentelemetry_proto::tonic::trace::v1::Span;
use reqwest::Method;
use reqwest::StatusCode;
use serde_json::json;

use super::collector::Collector;
use super::collector::attributes;
use crate::support::TestApp;
use crate::support::caller::Caller;
use crate::support::caller::answer;
use crate::support::process::Node;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER_TRACE: &str = "5bf92f3577b34da6a3ce929d0e0e4736";
const CALLER_SPAN: &str = "00f067aa0ba902b7";
const SUBJECT: &str = "user:nobody-else-is-called-so";

/// A consume of a caller that traces; `flags` say whether it records.
async fn consume(caller: &Caller, trace: &str, flags: &str) -> StatusCode {
    let body = json!({ "subject": SUBJECT, "model": "claude-opus-4" });
    let request = caller.request(Method::POST, "/v1/consume").json(&body);
    let traceparent = format!("00-{trace}-{CALLER_SPAN}-{flags}");
    answer(request.header("traceparent", traceparent)).await.status
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// A node that sends its traces to the collector, asked once within a trace that is recorded and once within one that is
/// not. When it has ended, the collector has everything.
async fn traced(app: &TestApp, per_thousand: &str) -> Collector {
    let collector = Collector::start().await;
    let settings = [
        ("HEADROOM_TELEMETRY_OTLP_ENDPOINT", collector.url()),
        ("HEADROOM_TELEMETRY_TRACED_PER_THOUSAND", per_thousand),
    ];
    let mut node = Node::start(app, &settings).await;
    assert_eq!(consume(&node.caller(), OTHER_TRACE, "00").await, StatusCode::OK);
    assert_eq!(consume(&node.caller(), TRACE, "01").await, StatusCode::OK);
    node.terminate().await;
    assert!(node.ended().await.success());
    collector
}

/// Guards the trace of a request: its span is the child of the caller's, and the script call's is the child of it. Whether
/// they are recorded is the caller's decision. No span names a subject.
#[tokio::test]
async fn a_request_and_its_script_call_are_spans_of_the_callers_trace() {
    let app = TestApp::start().await;

    let collector = traced(&app, "0").await;

    let (resource, spans) = collector.spans();
    assert_eq!(resource["service.name"], "headroom");
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
    let requests = named(&spans, "POST /v1/consume");
    let [request] = requests[..] else { panic!("{spans:#?}") };
    assert_eq!(hex(&request.parent_span_id), CALLER_SPAN);
    assert_eq!(attributes(&request.attributes)["http.response.status_code"], "200");
    let calls = named(&spans, "script call");
    // A cold subject is asked for, loaded, and asked for again.
    assert!(!calls.is_empty(), "{spans:#?}");
    for call in calls {
        assert_eq!(call.parent_span_id, request.span_id);
        assert!(call.start_time_unix_nano >= request.start_time_unix_nano);
        assert!(call.end_time_unix_nano <= request.end_time_unix_nano);
        assert_eq!(attributes(&call.attributes)["requests"], "1");
    }
    assert!(!collector.has_text("nobody-else"), "subjects are not in traces");
    app.finish().await;
}

/// Guards the ratio: what no caller decides about is traced as often as the setting says.
#[tokio::test]
async fn flushes_are_traced_as_often_as_the_setting_says() {
    let app = TestApp::start().await;

    let collector = traced(&app, "1000").await;

    let (_, spans) = collector.spans();
    let flushes = named(&spans, "flush");
    assert!(!flushes.is_empty(), "{spans:#?}");
    let events = |span: &&Span| attributes(&span.attributes)["events"].parse::<u64>().unwrap();
    assert_eq!(flushes.iter().map(events).sum::<u64>(), 2, "{flushes:#?}");
    assert!(spans.iter().all(|span| hex(&span.trace_id) != OTHER_TRACE), "{spans:#?}");
    app.finish().await;
}

/// Guards that a collector which cannot be reached costs nothing but its spans.
#[tokio::test]
async fn a_collector_that_is_away_changes_no_answer() {
    let app = TestApp::start().await;
    let settings = [
        ("HEADROOM_TELEMETRY_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("HEADROOM_TELEMETRY_TRACED_PER_THOUSAND", "1000"),
    ];
    let mut node = Node::start(&app, &settings).await;

    assert_eq!(consume(&node.caller(), TRACE, "01").await, StatusCode::OK);
    crate::support::poll::eventually(
        "the count of what was dropped",
        std::time::Duration::from_secs(20),
        || async {
            let page = answer(node.caller().stranger(Method::GET, "/metrics")).await.text;
            let dropped =
                page.lines().find_map(|it| it.strip_prefix("headroom_spans_dropped_total "));
            dropped.is_some_and(|count| count != "0")
        },
    )
    .await;

    assert_eq!(consume(&node.caller(), TRACE, "01").await, StatusCode::OK);
    node.terminate().await;
    assert!(node.ended().await.success());
    app.finish().await;
}
