//! Which request this is: `X-Request-Id` and W3C `traceparent`.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::request::Parts;
use uuid::Uuid;

use crate::quota::RequestContext;
use crate::telemetry::spans::TraceParent;

/// The header that carries the request's id both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID_BYTES_MAX: usize = 64;
const TRACEPARENT_BYTES: usize = 55;

/// The request's id, and the trace it belongs to.
#[derive(Clone, Debug)]
pub struct RequestScope {
    /// 1–64 visible ASCII characters.
    id: HeaderValue,
    /// The same id when it was made here.
    made_id: Option<Uuid>,
    /// 32 hexadecimal digits.
    trace_id: Option<Box<str>>,
}

impl RequestScope {
    /// Takes over the caller's id when it is 1–64 visible ASCII characters, and makes a `UUIDv7` otherwise: ids go
    /// into logs and answers, where other characters could break a line.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(X_REQUEST_ID).filter(|id| is_request_id(id.as_bytes()));
        let traceparent = traceparent(headers);
        let made_id = given.is_none().then(Uuid::now_v7);
        Self {
            id: given.cloned().unwrap_or_else(|| header_of(made_id.unwrap_or_default())),
            made_id,
            trace_id: traceparent.and_then(read).map(|parent| parent.trace_id.into()),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// The id as the value of a header.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.id.clone()
    }

    /// The W3C trace id, when the caller sent one.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.trace_id.as_deref()
    }

    /// What use-cases need to know of the request.
    #[must_use]
    pub fn context(&self) -> RequestContext {
        RequestContext {
            request_id: self.id().to_owned(),
            made_id: self.made_id,
            trace_id: self.trace_id.as_deref().map(str::to_owned),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestScope {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let scope = parts.extensions.get::<Self>().cloned();
        Ok(scope.unwrap_or_else(|| Self::of(&parts.headers)))
    }
}

fn is_request_id(bytes: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

fn header_of(id: Uuid) -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("a UUID is visible ascii")
}

/// The span of the caller that a request belongs to, when the caller sent one.
pub(super) fn trace_parent(headers: &HeaderMap) -> Option<TraceParent<'_>> {
    traceparent(headers).and_then(read)
}

fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get(TRACEPARENT).and_then(|value| value.to_str().ok())
}

/// What a `traceparent` says, by <https://www.w3.org/TR/trace-context/#traceparent-header>: an invalid header is ignored,
/// and of versions after 00 the part that 00 defines is read.
fn read(traceparent: &str) -> Option<TraceParent<'_>> {
    let (known, rest) = traceparent.split_at_checked(TRACEPARENT_BYTES)?;
    let mut fields = known.split('-');
    let mut field = |length: usize| fields.next().filter(|hex| is_lower_hex(hex, length));
    let (version, trace_id) = (field(2)?, field(32)?);
    let (span_id, flags) = (field(16)?, field(2)?);
    let is_read_well = match version {
        "ff" => false,
        "00" => rest.is_empty(),
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    let is_sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
    let is_usable = is_read_well && !is_zero(trace_id) && !is_zero(span_id);
    is_usable.then_some(TraceParent { trace_id, span_id, is_sampled })
}

fn is_lower_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn scope(name: &HeaderName, value: &str) -> RequestScope {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        RequestScope::of(&headers)
    }

    #[test]
    fn a_usable_id_is_taken_over_and_another_is_replaced() {
        for usable in ["r", "req-1/2;3", &"x".repeat(64)] {
            assert_eq!(scope(&X_REQUEST_ID, usable).id(), usable);
        }
        for unusable in ["", "a b", "é", "a\tb", &"x".repeat(65)] {
            let id = scope(&X_REQUEST_ID, unusable).id().parse::<Uuid>().unwrap();
            assert_eq!(id.get_version_num(), 7, "{unusable}");
        }
    }

    #[test]
    fn a_traceparent_is_read_and_an_invalid_one_ignored() {
        let valid = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(scope(&TRACEPARENT, &valid).context().trace_id.as_deref(), Some(TRACE));
        let later = format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-holds");
        let parent = read(&later).unwrap();
        assert_eq!((parent.trace_id, parent.span_id), (TRACE, "00f067aa0ba902b7"));
        for (flags, is_sampled) in [("01", true), ("00", false), ("03", true), ("02", false)] {
            let header = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
            assert_eq!(read(&header).unwrap().is_sampled, is_sampled, "{flags}");
        }
        for invalid in [
            "",
            "00",
            &format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            &format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            &format!("cc-{TRACE}-00f067aa0ba902b7-01more"),
            &format!("00-{TRACE}-0000000000000000-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            &format!("00_{TRACE}_00f067aa0ba902b7_01"),
            &format!("00-{TRACE}-00f067aa0ba902b7-0é"),
        ] {
            assert_eq!(read(invalid), None, "{invalid}");
        }
    }
}
