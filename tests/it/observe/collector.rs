//! A collector of traces on this machine, which speaks OTLP over HTTP with protobuf.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use headroom::background::Supervisor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;

type Received = Arc<Mutex<Vec<Bytes>>>;

/// Keeps what is sent to it.
pub struct Collector {
    url: String,
    received: Received,
}

impl Collector {
    pub async fn start() -> Self {
        let received = Received::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take)).with_state(received.clone());
        Supervisor::new().spawn("collector", async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self { url, received }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether any body that came has this text in it.
    pub fn has_text(&self, text: &str) -> bool {
        let received = self.received.lock().unwrap();
        let text = text.as_bytes();
        received.iter().any(|body| body.windows(text.len()).any(|part| part == text))
    }

    /// The resources' attributes, and all spans.
    pub fn spans(&self) -> (BTreeMap<String, String>, Vec<Span>) {
        let (mut of_resources, mut spans) = (BTreeMap::new(), Vec::new());
        for body in self.received.lock().unwrap().iter() {
            let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
            for resource in request.resource_spans {
                of_resources.extend(attributes(&resource.resource.unwrap().attributes));
                spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        (of_resources, spans)
    }
}

async fn take(
    State(received): State<Received>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
    received.lock().unwrap().push(body);
    let answer = ExportTraceServiceResponse::default().encode_to_vec();
    ([(header::CONTENT_TYPE, "application/x-protobuf")], answer)
}

/// Attributes by their names, as text.
pub fn attributes(given: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |it: &KeyValue| match it.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    given.iter().map(|it| (it.key.clone(), text(it))).collect()
}
