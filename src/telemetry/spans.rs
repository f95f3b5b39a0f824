//! The spans of a trace: a request, a script call, a flush. They name routes and counts, never a subject.
//!
//! Without a collector no span is made: each place here costs a look at one atomic.

use opentelemetry::trace::SpanContext;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::trace::TraceFlags;
use opentelemetry::trace::TraceId;
use opentelemetry::trace::TraceState;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of all of them, below every level of the log.
pub const TARGET: &str = "headroom::spans";

/// The caller's span, as `traceparent` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent<'a> {
    /// 32 hexadecimal digits, not all 0.
    pub trace_id: &'a str,
    /// 16 hexadecimal digits, not all 0.
    pub span_id: &'a str,
    /// Whether the caller records it.
    pub is_sampled: bool,
}

impl TraceParent<'_> {
    fn context(&self) -> Option<opentelemetry::Context> {
        let trace_id = TraceId::from_hex(self.trace_id).ok()?;
        let span_id = SpanId::from_hex(self.span_id).ok()?;
        let flags = if self.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let parent = SpanContext::new(trace_id, span_id, flags, true, TraceState::default());
        Some(opentelemetry::Context::new().with_remote_span_context(parent))
    }
}

/// A request by its route, below the caller's span when there is one.
pub fn request<'a>(
    route: &str,
    request_id: &str,
    parent: impl FnOnce() -> Option<TraceParent<'a>>,
) -> Span {
    let span = tracing::trace_span!(
        target: TARGET,
        parent: None,
        "request",
        otel.name = route,
        otel.kind = "server",
        otel.status_code = Empty,
        http.response.status_code = Empty,
        request_id,
    );
    if !span.is_disabled()
        && let Some(parent) = parent().and_then(|parent| parent.context())
    {
        // Fails only after the span was entered.
        let _set = span.set_parent(parent);
    }
    span
}

/// What a request was answered with.
pub fn answered(span: &Span, status: u16) {
    if span.is_disabled() {
        return;
    }
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// The span of the request that is worked on.
pub fn current() -> Span {
    if tracing::enabled!(target: TARGET, tracing::Level::TRACE) {
        Span::current()
    } else {
        Span::none()
    }
}

/// A call of the consume script, below the first of the requests' spans and linked to the others.
pub fn script_call<'a>(shard: u16, mut requests: impl ExactSizeIterator<Item = &'a Span>) -> Span {
    let count = requests.len();
    let Some(first) = requests.find(|span| !span.is_disabled()) else { return Span::none() };
    let span = tracing::trace_span!(
        target: TARGET,
        parent: first,
        "script call",
        otel.kind = "client",
        db.system.name = "redis",
        shard,
        requests = count,
    );
    for other in requests.filter(|span| !span.is_disabled()) {
        span.follows_from(other);
    }
    span
}

/// A batch on its way into Postgres.
pub fn flush(shard: u16, events: usize) -> Span {
    tracing::trace_span!(
        target: TARGET,
        parent: None,
        "flush",
        otel.kind = "client",
        db.system.name = "postgresql",
        shard,
        events,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_collector_nothing_is_made_or_read() {
        let span = request("POST /v1/consume", "r", || panic!("the header is not read"));
        assert!(span.is_disabled() && current().is_none());
        assert!(script_call(0, [&span, &span].into_iter()).is_none());
        assert!(flush(0, 1).is_disabled());
        answered(&span, 500);
    }

    #[test]
    fn a_parent_is_the_callers_span() {
        let parent = TraceParent {
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
            span_id: "00f067aa0ba902b7",
            is_sampled: true,
        };
        let context = parent.context().unwrap();
        let span = context.span().span_context().clone();
        assert!(span.is_remote() && span.is_sampled());
        assert_eq!(span.trace_id().to_string(), parent.trace_id);
        assert_eq!(span.span_id().to_string(), parent.span_id);
        assert!(TraceParent { trace_id: "no hex", ..parent }.context().is_none());
    }
}
