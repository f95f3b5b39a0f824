//! Traces over OTLP: from tracing's spans to a collector.
//!
//! A span that ends goes into a queue, and a task of the supervisor's sends what has queued: a collector that is slow or
//! away costs memory for so many spans as the queue holds, and nothing else.

use std::error::Error;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::Protocol;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::Sampler;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_sdk::trace::Span;
use opentelemetry_sdk::trace::SpanData;
use opentelemetry_sdk::trace::SpanExporter as _;
use opentelemetry_sdk::trace::SpanProcessor;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::config::TelemetryConfig;

use super::TelemetryError;
use super::names;
use super::spans;

/// Spans that may wait; more are dropped and counted.
const QUEUE_MAX: usize = 8_192;
/// Spans sent at once.
const BATCH_MAX: usize = 512;
/// The pause after a batch that was not full.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a collector has to answer.
const EXPORT_TIME_MAX: Duration = Duration::from_secs(5);
/// Batches that are sent after the stop signal.
const LAST_BATCHES_MAX: usize = QUEUE_MAX / BATCH_MAX;

/// The spans that are to be sent, and the way to the collector. The supervisor runs it.
#[derive(Debug)]
pub struct Traces {
    queue: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    /// Whether the last batch did not arrive.
    is_failing: bool,
}

/// What [`super::init`] made, until somebody takes it to run it.
static MADE: Mutex<Option<Traces>> = Mutex::new(None);

/// What has to run so that spans are sent; `None` when none are, or at the second call.
pub fn take_traces() -> Option<Traces> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The layer that makes spans of the target of [`spans`] those of a trace; `None` when no collector is configured.
pub(super) fn layer<S>(
    config: &TelemetryConfig,
) -> Result<Option<impl Layer<S> + use<S>>, TelemetryError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let Some(url) = config.traces_url() else { return Ok(None) };
    crate::tls::make_ready();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(url)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(EXPORT_TIME_MAX)
        .build();
    let mut exporter = exporter.map_err(TelemetryError::Traces)?;
    let resource = resource();
    exporter.set_resource(&resource);
    let (entrance, queue) = mpsc::channel(QUEUE_MAX);
    let sampler = Sampler::TraceIdRatioBased(config.traced_ratio());
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(sampler)))
        .with_span_processor(Queue(entrance))
        .build();
    let traces = Traces { queue, exporter, is_failing: false };
    *MADE.lock().unwrap_or_else(PoisonError::into_inner) = Some(traces);
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(env!("CARGO_PKG_NAME")))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false);
    let own = Targets::new().with_target(spans::TARGET, LevelFilter::TRACE);
    Ok(Some(layer.with_filter(own)))
}

fn resource() -> Resource {
    let attributes = [
        KeyValue::new("service.name", env!("CARGO_PKG_NAME")),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    Resource::builder_empty().with_attributes(attributes).build()
}

/// Where spans go when they end.
#[derive(Debug)]
struct Queue(mpsc::Sender<SpanData>);

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _cx: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.0.try_send(span).is_err() {
            note_dropped(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn note_dropped(count: usize) {
    metrics::counter!(names::SPANS_DROPPED_TOTAL).increment(count as u64);
}

impl Traces {
    /// Sends spans until the token is cancelled, and then what is still queued.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let received = self.queue.recv_many(&mut batch, BATCH_MAX);
            let Some(count) = stop.run_until_cancelled(received).await else { break };
            self.export(&mut batch).await;
            if count < BATCH_MAX {
                let _stopped = tokio::time::timeout(PAUSE, stop.cancelled()).await;
            }
        }
        for _ in 0..LAST_BATCHES_MAX {
            let queued = std::iter::from_fn(|| self.queue.try_recv().ok());
            batch.extend(queued.take(BATCH_MAX));
            if batch.is_empty() {
                return;
            }
            self.export(&mut batch).await;
        }
    }

    /// Sends a batch once: what a collector does not take is dropped, for traces may be missed.
    async fn export(&mut self, batch: &mut Vec<SpanData>) {
        let count = batch.len();
        let exported = self.exporter.export(std::mem::take(batch)).await;
        if let Err(error) = &exported {
            note_dropped(count);
            if !self.is_failing {
                // Said once, not at each batch.
                let error: &(dyn Error + 'static) = error;
                tracing::warn!(error = %super::Chain(error), "traces are not taken");
            }
        }
        self.is_failing = exported.is_err();
    }
}
