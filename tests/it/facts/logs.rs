//! Pages of the log over HTTP.

use headroom::domain::EventKind;
use reqwest::Method;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::api::bad_input::assert_problem;
use crate::api::keys::fenced_key;
use crate::api::keys::key;
use crate::support::TestApp;
use crate::support::caller::Answer;
use crate::support::caller::Caller;
use crate::support::caller::answer;

/// What each row says in a field.
fn all<'a>(page: &'a Answer, field: &str) -> Vec<&'a str> {
    let logs = page.body["logs"].as_array().unwrap_or_else(|| panic!("{page:?}")).iter();
    logs.map(|row| row[field].as_str().unwrap()).collect()
}

/// Follows the links from a first page, and answers the ids of all rows.
async fn follow(caller: &Caller, path: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let page = caller.get(&path).await;
        ids.extend(all(&page, "id").iter().map(|id| (*id).to_owned()));
        let link = page.header("link").strip_suffix(">; rel=\"next\"");
        next = link.and_then(|link| link.strip_prefix('<')).map(str::to_owned);
        assert_eq!(next.is_some(), page.body["next_cursor"].is_string(), "{page:?}");
    }
    ids
}

/// Consumes, a reset and refusals of three subjects, a second apart, in Postgres.
async fn filled() -> (TestApp, Caller) {
    let app = TestApp::start().await;
    let caller = app.caller();
    for number in 0..24 {
        app.clock.advance(1_000);
        let subject = ["user:u_1", "org:a/user:u_2", "org:a"][number % 3];
        let model = ["claude-sonnet-4", "gemini-2.0-flash"][number % 2];
        // Under a key the event's id tells the month alone.
        let answer = caller.consume_once(subject, model, &format!("key-{number}")).await;
        assert!(answer.is_allowed(), "{answer:?}");
    }
    app.clock.advance(1_000);
    assert_eq!(caller.charge("user:u_1", "messages", 1_000).await.status.as_u16(), 429);
    caller.delete("/v1/subjects/user:u_1/usage").await;
    app.flush().await;
    app.quota().write_denials().await.unwrap();
    (app, caller)
}

/// Guards that every row is in exactly one page, newest first, through cursors and links, whatever a page holds.
#[tokio::test]
async fn pages_of_any_size_hold_every_row_once_newest_first() {
    let (app, caller) = filled().await;

    let whole = caller.get("/v1/logs?limit=1000").await;
    let at = all(&whole, "occurred_at");
    assert!(at.is_sorted_by(|a, b| a >= b) && at.len() == 26, "{at:?}");
    let ids = all(&whole, "id");
    for limit in [1, 5, 26] {
        assert_eq!(follow(&caller, &format!("/v1/logs?limit={limit}")).await, ids, "{limit}");
    }
    let consumed = follow(&caller, "/v1/logs?limit=3&kind=consume").await;
    assert_eq!(consumed.len(), 24);
    app.finish().await;
}

/// Guards the filters, and that a subject's log holds what lies below it, and nothing beside it.
#[tokio::test]
async fn a_log_is_filtered_by_subject_model_metric_kind_and_time() {
    let (app, caller) = filled().await;
    let count = async |path: &str| follow(&caller, path).await.len();

    assert_eq!(count("/v1/subjects/user:u_1/logs").await, 10);
    assert_eq!(count("/v1/subjects/org:a/logs?limit=3").await, 16);
    assert_eq!(count("/v1/subjects/org:a%2Fuser:u_2/logs").await, 8);
    assert_eq!(count("/v1/subjects/user:u/logs").await, 0);
    assert_eq!(count("/v1/logs?model=claude-sonnet-4&limit=5").await, 12);
    assert_eq!(count("/v1/logs?metric=premium_messages").await, 12);
    let denied = caller.get("/v1/logs?kind=denied").await;
    assert_eq!(all(&denied, "kind"), ["denied"]);
    let row = &denied.body["logs"][0];
    assert_eq!((&row["code"], &row["limit"]), (&json!("limit_exceeded"), &json!("messages-month")));
    assert_eq!((&row["amount"], &row["charges"]), (&json!(1_000), &json!({})));
    assert_eq!(all(&caller.get("/v1/logs?kind=reset").await, "subject"), ["user:u_1"]);
    let page = caller.get("/v1/logs?limit=1000").await;
    let at = all(&page, "occurred_at");
    let between = format!("/v1/logs?from={}&to={}", at[20], at[10]);
    assert_eq!(count(&between).await, 10);
    app.finish().await;
}

/// Guards the fence: a key sees its part of the tree, an end user themselves, and nobody else anything.
#[tokio::test]
async fn a_fenced_key_reads_its_part_of_the_tree_alone() {
    let (app, caller) = filled().await;
    let fenced = caller.with_key(&fenced_key(&app, &["read"], "org:a").await);
    let deeper = caller.with_key(&fenced_key(&app, &["read"], "org:a/user:u_2").await);
    let blind = caller.with_key(&key(&app, &["consume"]).await);

    let subjects = |page: &Answer| {
        let mut subjects: Vec<String> =
            all(page, "subject").into_iter().map(str::to_owned).collect();
        subjects.sort_unstable();
        subjects.dedup();
        subjects
    };
    assert_eq!(subjects(&fenced.get("/v1/logs").await), ["org:a", "org:a/user:u_2"]);
    assert_eq!(subjects(&deeper.get("/v1/logs").await), ["org:a/user:u_2"]);
    assert_eq!(fenced.get("/v1/subjects/user:u_1/logs").await.code(), "unknown_subject");
    assert_eq!(deeper.get("/v1/subjects/org:a/logs").await.code(), "unknown_subject");
    assert_eq!(blind.get("/v1/logs").await.code(), "permission_denied");
    let stranger = answer(caller.stranger(Method::GET, "/v1/logs")).await;
    assert_eq!(stranger.code(), "unauthenticated");
    app.finish().await;
}

/// Guards the other formats: the same rows, which programs read line by line.
#[tokio::test]
async fn the_same_page_comes_as_csv_and_as_json_lines() {
    let (app, caller) = filled().await;
    let metadata = json!({ "chat": "a \"b\", c" });
    let body = json!({ "subject": "user:u_3", "model": "claude-x", "metadata": metadata });
    caller.post("/v1/consume", &body).await;
    app.flush().await;
    let accepting = async |accept: &str| {
        answer(caller.request(Method::GET, "/v1/logs?limit=2").header("accept", accept)).await
    };

    let (csv, lines) = (accepting("text/csv").await, accepting("application/x-ndjson").await);
    let json = accepting("application/json").await;

    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8; header=present");
    let rows: Vec<&str> = csv.text.lines().collect();
    assert!(rows[0].starts_with("id,occurred_at,kind,subject") && rows.len() == 3, "{csv:?}");
    assert!(rows[1].ends_with(r#","{""chat"": ""a \""b\"", c""}""#), "{}", rows[1]);
    let parsed: Vec<Value> =
        lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::from(parsed), json.body["logs"]);
    assert_eq!(json.body["logs"][0]["metadata"], metadata);
    for page in [&csv, &lines] {
        assert_eq!(page.header("link"), json.header("link"));
    }
    app.finish().await;
}

/// Guards that every kind that there is can be asked for: those of the domain, and those that Postgres takes.
#[tokio::test]
async fn a_log_is_asked_for_every_kind_that_it_may_hold() {
    let app = TestApp::start().await;
    let known = "SELECT pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conname = 'message_logs_kind_known' AND conrelid = 'message_logs'::regclass";
    let known: String = app.postgres().await.query_one(known, &[]).await.unwrap().get(0);
    let of_domain = (0..=u8::MAX).filter_map(EventKind::coded).map(EventKind::as_str);
    let others = of_domain.chain(["denied"]).map(str::to_owned);
    let kinds: Vec<String> =
        known.split('\'').skip(1).step_by(2).map(str::to_owned).chain(others).collect();
    assert!(kinds.len() > 12, "{kinds:?}");

    for kind in kinds {
        let page = app.caller().get(&format!("/v1/logs?kind={kind}")).await;
        assert_eq!(page.status, StatusCode::OK, "{kind}: {page:?}");
    }
    app.finish().await;
}

/// Guards that a query is understood or refused with the rule that it breaks.
#[tokio::test]
async fn a_query_that_no_row_can_fit_is_refused() {
    let app = TestApp::start().await;
    for (query, words) in [
        ("limit=0", "limit must be 1 to 1000"),
        ("limit=1001", "limit must be 1 to 1000"),
        ("cursor=7", "cursor must be"),
        ("kind=gift", "kind must be one of consume"),
        ("metric=A", "metric must be"),
        ("model=a%00b", "model must be"),
        ("from=yesterday", "from"),
        ("from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "to must be after from"),
        ("form=a", "form"),
    ] {
        let answer = app.caller().get(&format!("/v1/logs?{query}")).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", &[words]);
    }
    app.finish().await;
}
