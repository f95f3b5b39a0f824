//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07).

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::request::Parts;

use super::error::ApiError;
use super::request_id::RequestScope;

/// Says that the answer repeats an earlier one.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const X_IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("x-idempotency-key");
const KEY_BYTES_MAX: usize = 255;

/// Which request this is, and the key by which a repetition of it is known.
#[derive(Clone, Debug)]
pub struct Repeatable {
    /// Which request.
    pub scope: RequestScope,
    /// The caller's idempotency key, when there is one.
    pub key: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Repeatable {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ok(scope) = RequestScope::from_request_parts(parts, state).await;
        Ok(Self { scope, key: idempotency_key(&parts.headers)? })
    }
}

/// The caller's idempotency key, unquoted: 1–255 visible ASCII characters.
///
/// The draft's quoted string and a bare one name the same key, as do both header names.
///
/// # Errors
///
/// [`ApiError::InvalidRequest`] when a key has another form, or when two different keys are given.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let old = headers.get_all(X_IDEMPOTENCY_KEY).iter();
    let mut key = None;
    for value in headers.get_all(IDEMPOTENCY_KEY).iter().chain(old) {
        let next = unquoted(value)?;
        if key.as_ref().is_some_and(|key| *key != next) {
            return Err(invalid("names two different keys"));
        }
        key = Some(next);
    }
    Ok(key)
}

fn unquoted(value: &HeaderValue) -> Result<String, ApiError> {
    let text = value.to_str().map_err(|_| invalid("must be visible ascii characters"))?;
    key_of(text.trim()).map_err(invalid)
}

/// The key that a text names, quoted or not.
///
/// # Errors
///
/// The rule that it breaks.
pub(super) fn key_of(text: &str) -> Result<String, &'static str> {
    let key = match text.strip_prefix('"') {
        Some(rest) => unescaped(rest).ok_or("is not a quoted string")?,
        None => text.to_owned(),
    };
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must be 1 to 255 visible ascii characters");
    }
    Ok(key)
}

/// The content of an RFC 9651 string after its opening quote; `None` unless its closing quote is the last character.
fn unescaped(text: &str) -> Option<String> {
    let mut content = String::with_capacity(text.len());
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(content),
            '\\' => content.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            other => content.push(other),
        }
    }
}

fn invalid(rule: &str) -> ApiError {
    ApiError::invalid("Idempotency-Key", rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(HeaderName, &str)]) -> Result<Option<String>, ApiError> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        idempotency_key(&headers)
    }

    fn one(value: &str) -> Option<String> {
        read(&[(IDEMPOTENCY_KEY, value)]).ok().flatten()
    }

    #[test]
    fn a_key_is_the_same_quoted_or_not() {
        assert_eq!(one("\"8e03978e-40d5\"").as_deref(), Some("8e03978e-40d5"));
        assert_eq!(one("8e03978e-40d5").as_deref(), Some("8e03978e-40d5"));
        assert_eq!(one(r#""a\"b\\c""#).as_deref(), Some(r#"a"b\c"#));
        assert_eq!(one(&"k".repeat(255)).map(|key| key.len()), Some(255));
        assert_eq!(read(&[]).unwrap(), None);
    }

    #[test]
    fn other_forms_are_refused() {
        let long = "k".repeat(256);
        for bad in ["", "\"\"", "\"open", "\"a\"b", r#""a\n""#, "a b", "\"a b\"", "é", &long] {
            let error = read(&[(IDEMPOTENCY_KEY, bad)]).unwrap_err();
            assert!(error.to_string().contains("Idempotency-Key"), "{bad}");
        }
    }

    #[test]
    fn both_names_are_read_and_must_agree() {
        let old = (X_IDEMPOTENCY_KEY, "a");
        assert_eq!(read(std::slice::from_ref(&old)).unwrap().as_deref(), Some("a"));
        assert_eq!(read(&[(IDEMPOTENCY_KEY, "\"a\""), old.clone()]).unwrap().as_deref(), Some("a"));
        assert!(read(&[(IDEMPOTENCY_KEY, "b"), old]).is_err());
    }
}
