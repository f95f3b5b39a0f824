//! `/docs`: a page that needs no network.

use reqwest::Method;
use reqwest::StatusCode;

use crate::support::TestApp;
use crate::support::caller::answer;

/// The values of `src="…"` and `href="…"`.
fn loads(html: &str) -> Vec<&str> {
    let values = ["src=\"", "href=\""].into_iter().flat_map(|name| html.split(name).skip(1));
    values.filter_map(|rest| rest.split('"').next()).collect()
}

/// What a style sheet fetches.
fn fetched(css: &str) -> Vec<&str> {
    let values = ["url(", "@import"].into_iter().flat_map(|name| css.split(name).skip(1));
    values
        .filter_map(|rest| rest.split([')', ';']).next())
        .map(|it| it.trim_matches(['"', '\'', ' ']))
        .collect()
}

/// Guards that the page works behind a firewall: all of it comes from the binary, and its policy allows nothing else.
#[tokio::test]
async fn the_page_loads_nothing_from_another_host() {
    let app = TestApp::start().await;
    let get = async |path: &str| answer(app.caller().stranger(Method::GET, path)).await;

    let page = get("/docs").await;

    assert_eq!(page.status, StatusCode::OK, "after the redirect to /docs/");
    assert!(page.header("content-type").starts_with("text/html"));
    let policy = page.header("content-security-policy");
    for part in
        ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("http") && !policy.contains('*'), "{policy}");
    let files = loads(&page.text);
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let name = file.strip_prefix("./").unwrap_or_else(|| panic!("{file} is elsewhere"));
        let file = get(&format!("/docs/{name}")).await;
        assert_eq!(file.status, StatusCode::OK, "{name}");
        assert!(file.headers.contains_key("content-security-policy"), "{name}");
        if file.header("content-type").starts_with("text/css") {
            let is_inside = |it: &&str| it.starts_with("data:");
            let outside: Vec<&str> =
                fetched(&file.text).into_iter().filter(|it| !is_inside(it)).collect();
            assert!(outside.is_empty(), "{name} fetches {outside:?}");
        }
    }
    let settings = get("/docs/swagger-initializer.js").await.text;
    assert!(settings.contains("/openapi.json"), "{settings}");
    assert!(!settings.contains("://"), "{settings}");
    let validator_is_off = settings.contains(r#""validatorUrl": "none""#);
    assert!(validator_is_off, "the page would ask another host about the document: {settings}");
    let other = get("/docs/nothing.js").await;
    assert_eq!((other.status, other.code()), (StatusCode::NOT_FOUND, "unknown_route"));
    app.finish().await;
}

/// Guards the page's folder: it has the page's files, and no way out.
#[tokio::test]
async fn the_page_s_folder_has_no_way_out() {
    let app = TestApp::start().await;

    for name in ["..%2f..%2fetc%2fpasswd", "%2e%2e%2fopenapi.json", "a%00b", "%ff", "index.html%2f"]
    {
        let path = format!("/docs/{name}");
        let answer = answer(app.caller().stranger(Method::GET, &path)).await;
        assert!(answer.status.is_client_error(), "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}: {answer:?}");
    }
    app.finish().await;
}

/// Clients that are made from the document call an operation by its name.
#[test]
fn every_operation_of_the_document_has_a_name_of_its_own() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let text = std::fs::read_to_string(path).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let methods = document["paths"].as_object().unwrap().values();
    let operations = methods.flat_map(|methods| methods.as_object().unwrap().values());
    let mut names: Vec<&str> =
        operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();

    assert!(count > 50, "{count}");
    assert_eq!(names.len(), count);
}
