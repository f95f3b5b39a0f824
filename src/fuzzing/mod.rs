//! What must hold for any bytes at all. The targets in `fuzz/` run these bodies under libFuzzer, the tests below over the kept
//! inputs and mutations of them.
//!
//! **Architecture invariant:** only in builds of tests and with the feature `fuzzing`; nothing of the service imports it.

mod input;
mod outbox;
#[cfg(test)]
mod tests;

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use uuid::Uuid;

use crate::domain::Amount;
use crate::domain::Catalogue;
use crate::domain::Metric;
use crate::domain::Subject;
use crate::http::idempotency::idempotency_key;
use crate::http::request_id::RequestScope;
use crate::quota::Ask;
use crate::quota::ReservationId;
use crate::quota::SigningKey;

pub use self::input::Input;
pub use self::outbox::event;
pub use self::outbox::outbox;

/// A body; it panics when a property does not hold.
pub type Body = fn(&[u8]);

/// Every body, by the name of its target and of its folder of kept inputs.
pub const BODIES: [(&str, Body); 7] = [
    ("catalogue", catalogue),
    ("event", event),
    ("idempotency_key", idempotency_key_header),
    ("outbox", outbox),
    ("reservation_id", reservation_id),
    ("subject", subject),
    ("traceparent", traceparent),
];

/// A catalogue that is read is written as a text that reads back as the same, and knows its models.
///
/// # Panics
///
/// When a property does not hold.
pub fn catalogue(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(catalogue) = Catalogue::parse(text) else { return };
    assert_eq!(Catalogue::parse(&catalogue.to_toml()).as_ref(), Ok(&catalogue));
    for name in catalogue.models.iter().flat_map(|rule| &rule.names) {
        assert!(catalogue.model(name).is_some(), "{name:?} has a rule");
    }
}

/// A subject is its levels, each of which is a subject.
///
/// # Panics
///
/// When a property does not hold.
pub fn subject(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(subject) = Subject::parse(text) else { return };
    assert_eq!(subject.as_str(), text);
    let levels: Vec<&str> = subject.levels().collect();
    assert_eq!((levels.len(), levels.last()), (usize::from(subject.depth()), Some(&text)));
    for (depth, level) in (1..).zip(levels) {
        let level = Subject::parse(level).unwrap_or_else(|error| panic!("{level}: {error}"));
        assert_eq!((level.depth(), level.as_str()), (depth, subject.level(depth)));
        assert_eq!(level.shard(512), subject.shard(512), "a path lives in one shard");
        assert!(subject.is_within(level.as_str()));
        let segment = format!("{}:{}", subject.scope(depth), level.id());
        assert!(level.as_str().ends_with(&segment), "{segment:?} ends {level}");
    }
}

/// A key is visible, and the same quoted and, where it can be, bare.
///
/// # Panics
///
/// When a property does not hold.
pub fn idempotency_key_header(data: &[u8]) {
    let Some(headers) = header("idempotency-key", data) else { return };
    let Ok(key) = idempotency_key(&headers) else { return };
    let key = key.unwrap_or_default();
    assert!((1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
    let forms = [Some(quoted), Some(key.clone()).filter(|key| !key.starts_with('"'))];
    for form in forms.iter().flatten() {
        let read = header("idempotency-key", form.as_bytes()).map(|it| idempotency_key(&it).ok());
        assert_eq!(read, Some(Some(Some(key.clone()))), "{form}");
    }
}

/// A trace id is 32 hexadecimal digits of the header; the request's id is visible whatever the caller sent.
///
/// # Panics
///
/// When a property does not hold.
pub fn traceparent(data: &[u8]) {
    if let Some(headers) = header("x-request-id", data) {
        let scope = RequestScope::of(&headers);
        assert!((1..=64).contains(&scope.id().len()), "{:?}", scope.id());
        assert!(scope.id().bytes().all(|byte| byte.is_ascii_graphic()), "{:?}", scope.id());
    }
    let Some(headers) = header("traceparent", data) else { return };
    let scope = RequestScope::of(&headers);
    let Some(id) = scope.trace_id() else { return };
    assert!(id.len() == 32 && id.bytes().all(|it| it.is_ascii_hexdigit()), "{id}");
    let again = header("traceparent", format!("00-{id}-00f067aa0ba902b7-01").as_bytes());
    let again = again.map(|headers| RequestScope::of(&headers));
    assert_eq!(again.as_ref().and_then(RequestScope::trace_id), Some(id));
}

/// No text but one that was signed is an id, and a signed one reads back as it was.
///
/// # Panics
///
/// When a property does not hold.
pub fn reservation_id(data: &[u8]) {
    let key = SigningKey::new([7; 32]);
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(ReservationId::parse(text, &key), None, "nobody signed {text:?}");
    }
    let mut input = Input::new(data);
    let event_id = Uuid::from_u128(input.number().into());
    let (amount, at_s, until_s) = (input.number() & 0x7fff_ffff, input.number(), input.number());
    let [subject, name] = [input.text(), input.rest()];
    let Ok(subject) = Subject::parse(subject) else { return };
    let Ok(amount) = Amount::new(amount) else { return };
    let metric = Metric::new(name).ok().filter(|_| event_id.as_u128().is_multiple_of(2));
    let ask = metric.map_or_else(|| Ask::Model(name.to_owned()), Ask::Metric);
    let (at_s, until_s) = (at_s.cast_signed(), until_s.cast_signed());
    let id = ReservationId { event_id, subject, ask, amount, at_s, until_s };
    let text = id.to_text(&key);
    // The longest id that is read; names of models are bounded far below.
    let expected = Some(id).filter(|_| text.len() <= 2_048);
    assert_eq!(ReservationId::parse(&text, &key), expected);
    assert_eq!(ReservationId::parse(&text, &SigningKey::new([8; 32])), None);
}

/// A header of that value; `None` for bytes that no header can have.
fn header(name: &'static str, value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value).ok()?;
    Some(HeaderMap::from_iter([(HeaderName::from_static(name), value)]))
}
