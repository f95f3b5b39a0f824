//! What an admin's write is based on: `ETag`, `If-Match` and `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1).

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::header;
use axum::http::request::Parts;

use super::error::ApiError;
use crate::quota::Expected;

/// What there must be for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// `If-Match: "7"`: this version; 0 is nothing.
    Version(u64),
    /// `If-Match: *`: whatever there is.
    Any,
    /// `If-None-Match: *`: nothing.
    Absent,
}

impl Precondition {
    /// The same for a use-case, to which nothing is version 0.
    #[must_use]
    pub const fn expected(self) -> Expected {
        match self {
            Self::Version(version) => Expected::Version(version),
            Self::Any => Expected::Any,
            Self::Absent => Expected::Version(0),
        }
    }

    fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let matching = one(headers, &header::IF_MATCH, "If-Match")?;
        match (matching, one(headers, &header::IF_NONE_MATCH, "If-None-Match")?) {
            (Some("*"), None) => Ok(Self::Any),
            (Some(tag), None) => version(tag).map(Self::Version),
            (None, Some("*")) => Ok(Self::Absent),
            (None, Some(_)) => Err(ApiError::invalid("If-None-Match", "must be *")),
            (Some(_), Some(_)) => {
                Err(ApiError::invalid("If-Match", "and If-None-Match exclude each other"))
            }
            (None, None) => Err(ApiError::PreconditionRequired),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Precondition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Self::read(&parts.headers)
    }
}

/// The `ETag` of a version: `"7"`.
#[must_use]
pub fn etag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// The one value of a header.
fn one<'a>(
    headers: &'a HeaderMap,
    header: &HeaderName,
    name: &'static str,
) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(header).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let text = value.to_str().map(str::trim);
            text.map(Some).map_err(|_| ApiError::invalid(name, "must be visible ascii characters"))
        }
        (Some(_), Some(_)) => Err(ApiError::invalid(name, "must be given once")),
    }
}

/// The version that a tag of [`etag`] names.
fn version(tag: &str) -> Result<u64, ApiError> {
    let digits = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let version = digits.and_then(|digits| digits.parse().ok());
    version.ok_or_else(|| {
        ApiError::invalid("If-Match", "must be the ETag of what was read, such as \"7\", or *")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(HeaderName, &'static str)]) -> Result<Precondition, ApiError> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        Precondition::read(&headers)
    }

    #[test]
    fn a_tag_names_its_version_and_a_star_what_is_there_or_nothing() {
        let (matching, none_matching) = (header::IF_MATCH, header::IF_NONE_MATCH);
        assert_eq!(etag(7), "\"7\"");
        assert_eq!(read(&[(matching.clone(), "\"7\"")]).unwrap(), Precondition::Version(7));
        assert_eq!(read(&[(matching, "*")]).unwrap().expected(), Expected::Any);
        assert_eq!(read(&[(none_matching, "*")]).unwrap().expected(), Expected::Version(0));
    }

    #[test]
    fn a_write_without_a_base_or_with_an_unclear_one_is_refused() {
        let (matching, none_matching) = (header::IF_MATCH, header::IF_NONE_MATCH);
        assert!(matches!(read(&[]), Err(ApiError::PreconditionRequired)));
        for wrong in
            ["7", "", "\"\"", "\"seven\"", "W/\"7\"", "\"7\", \"8\"", "\"99999999999999999999\""]
        {
            let error = read(&[(matching.clone(), wrong)]).unwrap_err().to_string();
            assert!(error.starts_with("If-Match must be the ETag"), "{wrong}: {error}");
        }
        for pairs in [
            &[(none_matching.clone(), "\"7\"")][..],
            &[(none_matching, "*"), (matching.clone(), "*")],
            &[(matching.clone(), "*"), (matching, "\"7\"")],
        ] {
            assert!(matches!(read(pairs), Err(ApiError::InvalidRequest { .. })), "{pairs:?}");
        }
    }
}
