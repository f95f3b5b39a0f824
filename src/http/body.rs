//! Bounded JSON bodies.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::body::Bytes;
use axum::body::HttpBody as _;
use axum::extract::FromRequest;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header;
use futures_util::future::poll_immediate;
use http_body_util::BodyExt;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use serde::Deserialize as _;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde::de::Error as _;
use serde_json::Value;

use super::error::ApiError;
use super::state::Api;

/// The bytes of a body that is declared as JSON and no longer than `server.body_bytes_max`. Whoever takes them
/// deserializes out of them, so that texts need not be copied.
#[derive(Clone, Debug)]
pub struct JsonBytes(pub Bytes);

impl FromRequest<Arc<Api>> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        json_bytes(request, api.server.body_bytes_max, api).await.map(Self)
    }
}

/// The same where a body may be left out: then there are no bytes.
#[derive(Clone, Debug)]
pub struct JsonBytesOrNone(pub Bytes);

impl FromRequest<Arc<Api>> for JsonBytesOrNone {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        if request.body().is_end_stream() {
            return Ok(Self(Bytes::new()));
        }
        json_bytes(request, api.server.body_bytes_max, api).await.map(Self)
    }
}

/// The same for what holds many plans or models: at most [`CatalogueBytes::MAX`] bytes.
#[derive(Clone, Debug)]
pub struct CatalogueBytes(pub Bytes);

impl CatalogueBytes {
    /// As many bytes as Postgres takes of a catalogue.
    pub const MAX: usize = 1_048_576;
}

impl FromRequest<Arc<Api>> for CatalogueBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        json_bytes(request, Self::MAX, api).await.map(Self)
    }
}

/// The same for a batch of decisions: at most [`BatchBytes::MAX`] bytes.
#[derive(Clone, Debug)]
pub struct BatchBytes(pub Bytes);

impl BatchBytes {
    /// 128 kB: the most items of a batch, each with 1,300 bytes.
    pub const MAX: usize = 131_072;
}

impl FromRequest<Arc<Api>> for BatchBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        json_bytes(request, Self::MAX, api).await.map(Self)
    }
}

async fn json_bytes(request: Request, bytes_max: usize, api: &Api) -> Result<Bytes, ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::UnsupportedMediaType);
    }
    if content_length(request.headers()).is_some_and(|length| length > bytes_max) {
        return Err(ApiError::BodyTooLarge { bytes_max });
    }
    read(request.into_body(), bytes_max, api.server.request_timeout()).await
}

/// Reads a document, which is an object, out of a body.
///
/// # Errors
///
/// [`ApiError::InvalidRequest`] naming the field that is wrong, such as `limits[0].max`, or the line and column at which
/// the body stops being JSON.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let document = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        match error.into_inner() {
            error if !error.is_data() => not_json(&error),
            error if path == "." => ApiError::wrong("the body", &error),
            error => ApiError::wrong(&path, &error),
        }
    })?;
    json.end().map_err(|error| not_json(&error))?;
    // Serde reads the fields of an object out of a list too.
    let is_object = bytes.trim_ascii_start().starts_with(b"{");
    if is_object { Ok(document) } else { Err(ApiError::invalid("the body", "must be an object")) }
}

/// A whole number of at least `MIN` and at most `MAX`, for a field that says `deserialize_with`.
///
/// # Errors
///
/// The bounds.
pub fn within<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    input: D,
) -> Result<u64, D::Error> {
    let count = Value::deserialize(input)?.as_u64().filter(|count| (MIN..=MAX).contains(count));
    let rule = || D::Error::custom(format!("must be a whole number between {MIN} and {MAX}"));
    count.ok_or_else(rule)
}

fn not_json(error: &serde_json::Error) -> ApiError {
    ApiError::invalid("the body", format_args!("is not json: {error}"))
}

/// Whether the media type is `application/json`, with any parameters, and the body is not encoded beside.
fn is_json(headers: &HeaderMap) -> bool {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return false;
    }
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A small body is there with its head nearly always; only a body that is not gets a timer.
async fn read(body: Body, bytes_max: usize, timeout: Duration) -> Result<Bytes, ApiError> {
    let mut whole = pin!(Limited::new(body, bytes_max).collect());
    let collected = match poll_immediate(whole.as_mut()).await {
        Some(collected) => collected,
        None => tokio::time::timeout(timeout, whole).await.map_err(|_| ApiError::BodyTimeout)?,
    };
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            ApiError::BodyTooLarge { bytes_max }
        } else {
            ApiError::invalid("the body", "ended too early")
        }
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_json_is_json() {
        let declared = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            is_json(&headers)
        };
        assert!(declared("application/json") && declared("Application/JSON; charset=utf-8"));
        for other in ["text/plain", "application/jsonp", "application/problem+json", ""] {
            assert!(!declared(other), "{other}");
        }
        assert!(!is_json(&HeaderMap::new()));
        for (encoding, is_read) in [("identity", true), ("gzip", false)] {
            let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let encoded = (header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
            assert_eq!(is_json(&HeaderMap::from_iter([json, encoded])), is_read, "{encoding}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_document_is_told_with_its_place() {
        let wrong =
            |body: &str| parse::<crate::domain::Plan>(body.as_bytes()).unwrap_err().to_string();
        for (body, words) in [
            (r#"{"color":1}"#, "color is not valid: unknown field `color`"),
            (r#"{"price":-1}"#, "price is not valid: invalid value: integer `-1`"),
            (
                r#"{"limits":[{"metric":"m","period":"day","max":-2}]}"#,
                "limits[0].max is not valid: max must be -1 (unlimited) or 0 to 9007199254740991",
            ),
            (r#"{"limits":[{"metric":"m","period":"year"}]}"#, "limits[0].period is not valid"),
            (r#"{"limits":[{"metric":"m","period":"day","a":1}]}"#, "unknown field `a`"),
            ("{", "the body is not json: EOF"),
            ("{} {}", "the body is not json: trailing characters at line 1 column 4"),
            ("7", "the body is not valid"),
            (" []", "the body must be an object"),
        ] {
            let detail = wrong(body);
            assert!(detail.contains(words), "{body}: {detail}");
        }
        let long = wrong(&format!(r#"{{"{}":1}}"#, "x".repeat(10_000)));
        assert!(long.len() < 500 && long.contains("unknown field `xxx"), "{long}");
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound() {
        let second = Duration::from_secs(1);
        assert_eq!(read(Body::from("12345"), 5, second).await.unwrap(), "12345");
        let error = read(Body::from("123456"), 5, second).await.unwrap_err();
        assert!(matches!(error, ApiError::BodyTooLarge { bytes_max: 5 }));
    }

    #[tokio::test]
    async fn a_body_that_never_comes_is_not_waited_for() {
        let (_sender, never) = tokio::sync::oneshot::channel::<()>();
        let stream = futures_util::stream::once(async move {
            let _never = never.await;
            Ok::<_, std::convert::Infallible>(Bytes::new())
        });
        let error = read(Body::from_stream(stream), 5, Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(error, ApiError::BodyTimeout));
    }
}
