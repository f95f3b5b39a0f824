//! `/dashboard`: a page that anybody may load and that shows nothing without a key.

use reqwest::Method;
use reqwest::StatusCode;

use crate::support::TestApp;
use crate::support::caller::answer;

/// Guards the page's policy, and that its files need no key; holds with and without the built page in the binary.
#[tokio::test]
async fn the_dashboard_answers_without_a_key_and_loads_nothing_from_another_host() {
    let app = TestApp::start().await;
    let get = async |path: &str| answer(app.caller().stranger(Method::GET, path)).await;

    let page = get("/dashboard").await;

    assert_eq!(page.status, StatusCode::OK, "after the redirect to /dashboard/");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-cache");
    assert!(page.header("etag").starts_with("W/\""), "{page:?}");
    let policy = page.header("content-security-policy");
    for part in ["default-src 'self'", "object-src 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    let is_loose = ["http", "*", "unsafe", "data:"].iter().any(|it| policy.contains(it));
    assert!(!is_loose, "{policy}");
    assert!(!page.text.contains("://"), "{}", page.text);
    app.finish().await;
}

/// Guards the page's folder: it has the page's files, and no way out.
#[tokio::test]
async fn the_dashboard_s_folder_has_no_way_out() {
    let app = TestApp::start().await;

    for name in ["..%2f..%2fetc%2fpasswd", "%2e%2e%2fopenapi.json", "a%00b", "%ff", "nothing.js"] {
        let path = format!("/dashboard/{name}");
        let answer = answer(app.caller().stranger(Method::GET, &path)).await;
        assert!(answer.status.is_client_error(), "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}: {answer:?}");
    }
    app.finish().await;
}
