//! The log, the metrics and the traces of this process.

mod chain;
pub mod names;
pub mod spans;
mod traces;

use std::io;
use std::sync::OnceLock;

use metrics_exporter_prometheus::Matcher;
use metrics_exporter_prometheus::PrometheusBuilder;
use metrics_exporter_prometheus::PrometheusHandle;
use opentelemetry_otlp::ExporterBuildError;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogConfig;
use crate::config::LogFormat;
use crate::config::TelemetryConfig;

pub use self::chain::Chain;
pub use self::traces::Traces;
pub use self::traces::take_traces;

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is neither a level nor a list of directives.
    #[error("log.level is not understood")]
    Level(#[source] tracing_subscriber::filter::ParseError),
    /// `telemetry.otlp_endpoint` is no URL, or no client for it could be made.
    #[error("telemetry.otlp_endpoint cannot be used")]
    Traces(#[source] ExporterBuildError),
}

/// Sends the log to standard error as `config` says, and makes traces when `traces` names a collector: what
/// [`take_traces`] answers then has to run. Later calls in one process change nothing.
///
/// # Errors
///
/// [`TelemetryError::Level`] when the level is not understood, which `Config::load` has ruled out;
/// [`TelemetryError::Traces`] when the collector's address cannot be used.
pub fn init(config: &LogConfig, traces: Option<&TelemetryConfig>) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&config.level).map_err(TelemetryError::Level)?;
    let registry = tracing_subscriber::registry();
    // The only failure is that a subscriber is installed already, by an earlier call.
    let _installed = match traces.map(traces::layer).transpose()?.flatten() {
        Some(traces) => {
            registry.with(output(config.format).with_filter(filter)).with(traces).try_init()
        }
        None => registry.with(filter).with(output(config.format)).try_init(),
    };
    Ok(())
}

/// Where records go, and how they look.
fn output<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Text => layer.with_ansi(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

/// The metrics recorder of this process.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// The page that Prometheus reads, in its text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds recorded samples into the histograms. Something has to call this every few seconds:
    /// when nobody reads the page, samples would pile up in memory without bound.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Installs the recorder at the first call, and returns the same one ever after.
pub fn metrics() -> Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(install).clone()
}

fn install() -> Metrics {
    let recorder = names::ALL
        .iter()
        .fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
            names::Kind::Histogram(bounds) => buckets(builder, metric.name, bounds),
            names::Kind::Counter | names::Kind::Gauge => builder,
        })
        .build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("another metrics recorder is installed, /metrics stays empty");
    }
    names::describe();
    Metrics { handle }
}

fn buckets(builder: PrometheusBuilder, name: &str, bounds: &[f64]) -> PrometheusBuilder {
    builder
        .set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
        .expect("the bounds are a constant that is not empty")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorder_can_be_asked_for_many_times() {
        let first = metrics();
        let second = metrics();

        metrics::counter!(names::SHED_TOTAL).increment(1);
        metrics::histogram!(names::GROUP_SIZE).record(3.0);
        first.run_upkeep();

        for page in [first.render(), second.render()] {
            assert!(page.contains("# TYPE headroom_shed_total counter"), "{page}");
            assert!(page.contains("headroom_group_size_bucket{le=\"4\"}"), "{page}");
        }
    }

    #[test]
    fn logging_can_be_started_many_times() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let config = LogConfig { format, level: "warn,headroom=info".to_owned() };
            init(&config, None).unwrap();
        }
    }

    #[test]
    fn a_level_that_is_not_understood_is_refused() {
        let config = LogConfig { format: LogFormat::Text, level: "a=b=c".to_owned() };

        assert!(init(&config, None).is_err());
    }
}
