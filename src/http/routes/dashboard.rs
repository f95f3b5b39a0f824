//! `/dashboard`: a page that uses this API and nothing else. Its files come from the binary and need no key; what it shows does.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Redirect;
use axum::response::Response;
use sha2::Digest;
use sha2::Sha256;

use crate::http::error::ApiError;

/// Path and bytes of what `build.rs` found in `web/dist/site`, compressed files beside the plain ones.
type Embedded = (&'static str, &'static [u8]);
static EMBEDDED: &[Embedded] = &include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

const INDEX: &str = "index.html";

/// Shown where the dashboard was not built with the binary.
const NOT_BUILT: &[u8] = b"<!doctype html>
<html lang=\"en\">
  <head><meta charset=\"utf-8\"><title>Headroom</title></head>
  <body>
    <h1>The dashboard is not part of this binary</h1>
    <p>It is built with npm: run <code>make web</code>, then build the service again. <code>make run</code> does both.</p>
    <p>The API is described at <a href=\"/docs/\">/docs</a>.</p>
  </body>
</html>
";

/// Its own files only: nothing is loaded from another host, inlined, framed or sent elsewhere.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// Names of these files change with their content.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// A file of the page.
struct File {
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
    etag: HeaderValue,
}

static FILES: LazyLock<BTreeMap<&str, File>> = LazyLock::new(|| {
    let mut files = files_of(EMBEDDED);
    files.entry(INDEX).or_insert_with(|| File::new(NOT_BUILT, None));
    files
});

fn files_of(embedded: &[Embedded]) -> BTreeMap<&'static str, File> {
    let (compressed, plain): (Vec<Embedded>, Vec<Embedded>) =
        embedded.iter().partition(|(path, _)| path.strip_suffix(".gz").is_some());
    let file = |(path, bytes): Embedded| {
        let gzip = compressed.iter().find(|(name, _)| name.strip_suffix(".gz") == Some(path));
        (path, File::new(bytes, gzip.map(|(_, bytes)| *bytes)))
    };
    plain.into_iter().map(file).collect()
}

impl File {
    fn new(plain: &'static [u8], gzip: Option<&'static [u8]>) -> Self {
        let digest = Sha256::digest(plain);
        let digits = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
        // Weak, since the compressed bytes have the same one.
        let text = format!("W/\"{}\"", digits.collect::<String>());
        let etag = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        Self { plain, gzip, etag }
    }

    fn answer(&self, path: &str, asked: &HeaderMap) -> Response {
        let mut response = if asked.get(header::IF_NONE_MATCH) == Some(&self.etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.body(path, asked)
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        let is_named_by_content = path.starts_with("assets/");
        let caching = if is_named_by_content { FOREVER } else { ASK_AGAIN };
        headers.insert(header::CACHE_CONTROL, caching);
        headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
        headers.insert(header::REFERRER_POLICY, NO_REFERRER);
        headers.insert(OPENER_POLICY, SAME_ORIGIN);
        response
    }

    fn body(&self, path: &str, asked: &HeaderMap) -> Response {
        let accepted = asked.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
        let takes_gzip = accepted.is_some_and(|value| value.contains("gzip"));
        let content_type = [(header::CONTENT_TYPE, content_type(path))];
        match self.gzip.filter(|_| takes_gzip) {
            Some(bytes) => {
                (content_type, [(header::CONTENT_ENCODING, GZIP)], bytes).into_response()
            }
            None => (content_type, self.plain).into_response(),
        }
    }
}

fn content_type(path: &str) -> HeaderValue {
    HeaderValue::from_static(match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    })
}

/// `GET /dashboard`: the page's files are found relative to `/dashboard/`.
pub(crate) async fn redirect() -> Redirect {
    Redirect::permanent("/dashboard/")
}

/// `GET /dashboard/`
pub(crate) async fn index(headers: HeaderMap) -> Response {
    answer(INDEX, &headers)
}

/// `GET /dashboard/{path}`: a file of the page.
pub(crate) async fn file(
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    match path {
        Ok(Path(path)) => answer(&path, &headers),
        Err(_undecodable) => ApiError::NoRoute.into_response(),
    }
}

fn answer(path: &str, headers: &HeaderMap) -> Response {
    let file = FILES.get(path);
    file.map_or_else(|| ApiError::NoRoute.into_response(), |file| file.answer(path, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(name: HeaderName, value: &HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(name, value.clone())])
    }

    #[test]
    fn a_file_is_sent_compressed_to_whoever_takes_that() {
        let files = files_of(&[("assets/a.js", b"plain"), ("assets/a.js.gz", b"gzip")]);
        let file = &files["assets/a.js"];
        assert_eq!(files.len(), 1);

        let asked = asking(header::ACCEPT_ENCODING, &HeaderValue::from_static("br, gzip"));
        let response = file.answer("assets/a.js", &asked);
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(response.headers()[header::CACHE_CONTROL], FOREVER);

        let response = file.answer("assets/a.js", &HeaderMap::new());
        assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
    }

    #[test]
    fn a_file_that_is_known_is_not_sent_again() {
        let file = File::new(b"plain", None);
        let response = file.answer(INDEX, &asking(header::IF_NONE_MATCH, &file.etag));
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(response.headers()[header::CACHE_CONTROL], ASK_AGAIN);

        let other = HeaderValue::from_static("W/\"other\"");
        let response = file.answer(INDEX, &asking(header::IF_NONE_MATCH, &other));
        assert_eq!(response.status(), StatusCode::OK);
    }
}
