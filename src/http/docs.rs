//! The OpenAPI document around the routes, and the page that shows it.

use std::sync::Arc;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Redirect;
use axum::response::Response;
use utoipa::Modify;
use utoipa::OpenApi;
use utoipa::openapi::security::ApiKey;
use utoipa::openapi::security::ApiKeyValue;
use utoipa::openapi::security::HttpAuthScheme;
use utoipa::openapi::security::HttpBuilder;
use utoipa::openapi::security::SecurityScheme;
use utoipa_swagger_ui::Config;

use super::error::ApiError;
use super::problem::Problem;
use super::routes::counts;
use super::routes::refunds;
use super::routes::reservations;

/// The page loads its own files only. Swagger UI sets styles on elements.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const INDEX_HTML: &str = r#"<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="UTF-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Headroom API</title>
    <link rel="stylesheet" href="./swagger-ui.css">
    <link rel="stylesheet" href="./index.css">
    <link rel="icon" type="image/png" href="./favicon-32x32.png" sizes="32x32">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="./swagger-ui-bundle.js"></script>
    <script src="./swagger-ui-standalone-preset.js"></script>
    <script src="./swagger-initializer.js"></script>
  </body>
</html>
"#;

/// The document without its routes, which [`super::router`] adds.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Headroom",
        description = "Quotas for chat backends: may this subject send this message? An exact answer in one round trip, \
            and every accepted unit in the log once.\n\n\
            Errors are `application/problem+json` (RFC 9457); programs read `code`."
    ),
    tags(
        (name = "decisions", description = "May this subject do that?"),
        (name = "reservations", description = "Units held for work whose cost is not known yet, and refunds of what was charged."),
        (name = "grants", description = "Bonus units beside what a plan allows, limits that are higher for a while, and gifts."),
        (name = "usage", description = "What a subject has used, and what admins do to that."),
        (name = "subjects", description = "What is configured for a subject: plan, limits of its own, features, calendar."),
        (name = "catalogue", description = "Metrics, features, plans and models. A change makes a new version."),
        (name = "logs", description = "What happened: events and refusals."),
        (name = "analytics", description = "What usage adds up to. Days and months are those of UTC; of a path the root stands for all of it. \
            Sums of subjects are a few seconds behind the log."),
        (name = "stream", description = "What happens, as it happens."),
        (name = "alerts", description = "Rules about what happens, and what they found."),
        (name = "webhooks", description = "Who is told of what happens over HTTP."),
        (name = "keys", description = "Who may call, what for, and where."),
        (name = "audit", description = "What admins did, and what recoveries found."),
        (name = "chat", description = "The same with the JSON of the chat interface it replaces."),
        (name = "images", description = "Image generations by the day and the month, with the JSON of the service it replaces."),
        (name = "drift", description = "Where Redis differs from Postgres."),
        (name = "operations", description = "Probes, metrics and this document. They need no credential.")
    ),
    paths(
        counts::decrement,
        reservations::commit,
        reservations::release,
        reservations::extend,
        refunds::refund
    ),
    components(schemas(Problem)),
    modifiers(&Credentials)
)]
pub struct Document;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An API key `hr_live_<id>_<secret>`, or, on routes that read, an end user's JWT whose `sub` names \
                 the subject `user:<sub>`",
            ))
            .build();
        let header = ApiKeyValue::with_description("X-Api-Key", "An API key");
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(header)));
    }
}

/// `GET /docs`: the page's files are found relative to `/docs/`.
pub async fn redirect() -> Redirect {
    Redirect::permanent("/docs/")
}

/// `GET /docs/`
pub async fn index() -> Response {
    page("text/html; charset=utf-8", INDEX_HTML)
}

/// `GET /docs/{file}`: a file of Swagger UI, from the binary. The page does not ask swagger.io about the document.
pub async fn file(path: Result<Path<String>, PathRejection>) -> Response {
    static CONFIG: LazyLock<Arc<Config<'static>>> =
        LazyLock::new(|| Arc::new(Config::from("/openapi.json").validator_url("none")));
    let Ok(Path(name)) = path else { return ApiError::NoRoute.into_response() };
    if name == "index.html" {
        return index().await;
    }
    match utoipa_swagger_ui::serve(&name, Arc::clone(&CONFIG)) {
        Ok(Some(file)) => page(&file.content_type, file.bytes.into_owned()),
        Ok(None) => ApiError::NoRoute.into_response(),
        Err(error) => ApiError::Internal(error.to_string().into()).into_response(),
    }
}

fn page(content_type: &str, body: impl IntoResponse) -> Response {
    const CSP: HeaderName = header::CONTENT_SECURITY_POLICY;
    const REFERRER_POLICY: HeaderName = header::REFERRER_POLICY;
    let mut response = (StatusCode::OK, body).into_response();
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    headers.insert(CSP, CONTENT_SECURITY_POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openapi_json_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        let current = crate::http::openapi().to_pretty_json().unwrap();
        assert!(
            stored.trim_end() == current,
            "openapi.json differs from the handlers: write it anew with `headroom openapi > openapi.json`"
        );
    }

    #[tokio::test]
    async fn the_page_comes_from_the_binary_with_its_policy() {
        for name in ["index.html", "swagger-ui-bundle.js", "swagger-initializer.js", "index.css"] {
            let response = file(Ok(Path(name.to_owned()))).await;
            assert_eq!(response.status(), StatusCode::OK, "{name}");
            assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        }
        assert_eq!(file(Ok(Path("nothing.js".to_owned()))).await.status(), StatusCode::NOT_FOUND);
    }
}
