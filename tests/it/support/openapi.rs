//! The OpenAPI document as a contract: every answer that a test gets must be documented for its route.

use std::sync::LazyLock;

use serde_json::Value;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
});

/// Fails unless the document names the status and the content type for the route. Routes that it does not have answer
/// 404, and methods that it does not have answer 405, or 404 where a word after the last parameter decides. The pages
/// `/docs` and `/dashboard` are no part of it.
pub fn assert_documented(method: &str, path: &str, status: u16, content_type: &str) {
    let is_within =
        |page: &str| path.strip_prefix(page).is_some_and(|it| it.is_empty() || it.starts_with('/'));
    if ["/docs", "/dashboard"].into_iter().any(is_within) {
        return;
    }
    let Some(item) = item(path) else {
        assert_eq!(status, 404, "{method} {path} is not in openapi.json");
        return;
    };
    // A server answers HEAD wherever it answers GET.
    let method = if method == "HEAD" { "get".to_owned() } else { method.to_ascii_lowercase() };
    let Some(responses) = item.get(&method).map(|operation| &operation["responses"]) else {
        assert!(matches!(status, 404 | 405), "{method} {path} is not in openapi.json");
        return;
    };
    let class = format!("{}XX", status / 100);
    let found = responses.get(status.to_string()).or_else(|| responses.get(class));
    let found = found.unwrap_or_else(|| panic!("{method} {path}: {status} is not in openapi.json"));
    let documented = found["content"].as_object();
    let is_documented = documented.is_none_or(|types| {
        let essence = |text: &str| text.split(';').next().unwrap_or_default().trim().to_owned();
        types.keys().any(|name| essence(name) == essence(content_type))
    });
    assert!(is_documented, "{method} {path}: {status} as {content_type} is not in openapi.json");
}

fn item(path: &str) -> Option<&'static Value> {
    let fitting = DOCUMENT["paths"].as_object().unwrap().iter().filter(|(it, _)| fits(it, path));
    // The longest is the most particular: `{metric}:decrement` goes before `{metric}`.
    fitting.max_by_key(|(template, _)| template.len()).map(|(_, item)| item)
}

/// Whether a path is an instance of a template such as `/v1/subjects/{subject}/usage`.
fn fits(template: &str, path: &str) -> bool {
    let (mut wanted, mut found) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if fits_segment(wanted, found) => {}
            _ => return false,
        }
    }
}

/// Whether a segment is an instance of one such as `usage`, `{metric}` or `{metric}:decrement`.
fn fits_segment(wanted: &str, found: &str) -> bool {
    match wanted.split_once('}') {
        Some((_, word)) => found.ends_with(word),
        None => wanted == found,
    }
}
