//! Analysts' answers must be what plain SQL finds in the log.

use headroom::domain::Event;
use headroom::ledger::Batch;
use headroom::ledger::FlushGuards;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::api::bad_input::assert_problem;
use crate::api::keys::fenced_key;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Caller;
use crate::traffic::Traffic;

/// Five weeks of a chat, up to and with today, in the log and the rollups. Nobody charged it in Redis.
async fn five_weeks() -> (TestApp, Caller) {
    let app = TestApp::start().await;
    let today_s = app.clock.now_ms().div_euclid(86_400_000) * 86_400;
    let traffic = Traffic {
        seed: 11,
        events: 6_000,
        subjects: 400,
        start_s: today_s - 34 * 86_400,
        days: 35,
    };
    let mut from_seq = 0;
    let events: Vec<Event> = traffic.events().collect();
    for part in events.chunks(1_000) {
        let to_seq = from_seq + part.len() as u64;
        let events = part.to_vec();
        let batch = Batch { epoch: 1, from_seq, to_seq, events, ..Batch::default() };
        app.ledger().flush(&batch, FlushGuards::default()).await.unwrap();
        from_seq = to_seq;
    }
    app.quota().fold_rollups().await.unwrap();
    let caller = app.caller();
    (app, caller)
}

/// The one JSON document that plain SQL over the log answers.
async fn plain(app: &TestApp, sql: &str) -> Value {
    let text: String = app.postgres().await.query_one(sql, &[]).await.unwrap().get(0);
    serde_json::from_str(&text).unwrap()
}

const LOGGED: &str = "logged AS (
    SELECT (occurred_at AT TIME ZONE 'UTC')::date AS day, split_part(subject, '/', 1) AS subject, model,
        (charges ->> 'messages')::bigint AS units, coalesce((charges ->> 'premium_messages')::bigint, 0) AS premium
    FROM message_logs
)";
const TODAY: &str = "(now() AT TIME ZONE 'UTC')::date";

/// Guards `getUsageAnalytics(7)`: daily counts, premium usage and active users, exactly.
#[tokio::test]
async fn a_summary_is_what_the_log_adds_up_to() {
    let (mut app, caller) = five_weeks().await;

    for days in [1, 7, 30, 35] {
        let summary = caller.get(&format!("/v1/analytics/summary?days={days}")).await;
        let wanted = plain(
            &app,
            &format!(
                "WITH {LOGGED}, asked AS (SELECT * FROM logged WHERE day > {TODAY} - {days} AND day <= {TODAY})
                 SELECT json_build_object(
                     'from', {TODAY} - {days} + 1, 'to', {TODAY},
                     'total_messages', (SELECT sum(units) FROM asked),
                     'premium_messages', (SELECT sum(premium) FROM asked),
                     'active_users', (SELECT count(DISTINCT subject) FROM asked),
                     'days', (SELECT json_agg(day ORDER BY date) FROM (
                         SELECT day AS date, sum(units) AS total_messages, sum(premium) AS premium_messages,
                             count(DISTINCT subject) AS active_users
                         FROM asked GROUP BY 1) AS day))::text"
            ),
        )
        .await;
        assert_eq!(summary.body, wanted, "{days}");
    }
    app.stop_nodes().await;
}

/// Guards the other sums: subjects, distribution, models, months.
#[tokio::test]
async fn top_subjects_distribution_models_and_months_are_what_the_log_adds_up_to() {
    let (mut app, caller) = five_weeks().await;
    let month = format!("date_trunc('month', {TODAY})::date");

    let top = caller.get("/v1/analytics/subjects?limit=5").await;
    let wanted = format!(
        "WITH {LOGGED} SELECT json_agg(top)::text FROM (
             SELECT subject, count(*) AS events, sum(units) AS units FROM logged WHERE day >= {month}
             GROUP BY 1 ORDER BY sum(units) DESC, subject LIMIT 5) AS top"
    );
    let mut subjects = top.body["subjects"].clone();
    for subject in subjects.as_array_mut().unwrap() {
        let share = subject.as_object_mut().unwrap().remove("share_permille").unwrap();
        assert!((1..=1_000).contains(&share.as_u64().unwrap()));
    }
    assert_eq!(subjects, plain(&app, &wanted).await);

    let distribution = caller.get("/v1/analytics/distribution?metric=premium_messages").await.body;
    let wanted = format!(
        "WITH {LOGGED}, of_subject AS (
             SELECT subject, sum(premium) AS units FROM logged WHERE day >= {month} AND premium > 0 GROUP BY 1)
         SELECT json_build_object('subjects', count(*), 'units', sum(units), 'max', max(units),
             'p50', percentile_disc(0.5) WITHIN GROUP (ORDER BY units),
             'p90', percentile_disc(0.9) WITHIN GROUP (ORDER BY units),
             'p99', percentile_disc(0.99) WITHIN GROUP (ORDER BY units))::text FROM of_subject"
    );
    for (name, value) in plain(&app, &wanted).await.as_object().unwrap() {
        assert_eq!(&distribution[name], value, "{name}");
    }
    let counted = distribution["buckets"].as_array().unwrap().iter();
    let counted: u64 = counted.map(|bucket| bucket["subjects"].as_u64().unwrap()).sum();
    assert_eq!(json!(counted), distribution["subjects"]);

    let models = caller.get("/v1/analytics/models?days=30").await.body;
    let wanted = format!(
        "WITH {LOGGED} SELECT json_agg(found)::text FROM (
             SELECT model, count(*) AS events, sum(units) AS units,
                 round(sum(units) * 1000 / sum(sum(units)) OVER ()) AS share_permille
             FROM logged WHERE day > {TODAY} - 30 GROUP BY 1 ORDER BY sum(units) DESC, model COLLATE \"C\") AS found"
    );
    assert_eq!(models["models"], plain(&app, &wanted).await);

    let months = caller.get("/v1/analytics/months").await.body;
    let wanted = format!(
        "WITH {LOGGED} SELECT json_agg(month)::text FROM (
             SELECT count(*) AS events, count(DISTINCT subject) AS active_subjects FROM logged
             WHERE day >= {month} - interval '1 month' GROUP BY date_trunc('month', day) ORDER BY date_trunc('month', day)
         ) AS month"
    );
    for (found, wanted) in months["months"]
        .as_array()
        .unwrap()
        .iter()
        .zip(plain(&app, &wanted).await.as_array().unwrap())
    {
        assert_eq!(
            (&found["events"], &found["active_subjects"]),
            (&wanted["events"], &wanted["active_subjects"])
        );
    }
    app.stop_nodes().await;
}

/// The views that analysts query themselves agree with the log, too.
#[tokio::test]
async fn the_views_agree_with_the_log() {
    let (mut app, _caller) = five_weeks().await;
    let views = [
        (
            "SELECT day, units, active_subjects FROM daily_usage WHERE metric = 'messages'",
            "SELECT day, sum(units), count(DISTINCT subject) FROM logged GROUP BY 1",
        ),
        (
            "SELECT month, subject, units, active_days FROM user_usage WHERE metric = 'messages'",
            "SELECT date_trunc('month', day)::date, subject, sum(units), count(DISTINCT day) FROM logged GROUP BY 1, 2",
        ),
        (
            "SELECT day, model, events FROM model_usage WHERE metric = 'messages'",
            "SELECT day, model, count(*) FROM logged GROUP BY 1, 2",
        ),
        (
            "SELECT start, subjects FROM active_users WHERE metric = 'messages' AND period = 'month'",
            "SELECT date_trunc('month', day)::date, count(DISTINCT subject) FROM logged GROUP BY 1",
        ),
        (
            "SELECT day, active_subjects, premium_subjects, premium_units FROM premium_adoption",
            "SELECT day, count(DISTINCT subject), count(DISTINCT subject) FILTER (WHERE premium > 0), sum(premium)
             FROM logged GROUP BY 1",
        ),
        (
            "SELECT subject, units FROM usage_spikes WHERE metric = 'messages'",
            "SELECT subject, today FROM (
                 SELECT subject, sum(units) FILTER (WHERE day = current_day) AS today,
                     round(sum(units) FILTER (WHERE day < current_day)::numeric / 7, 2) AS average
                 FROM logged, (SELECT (now() AT TIME ZONE 'UTC')::date AS current_day) AS now
                 WHERE day >= current_day - 7 GROUP BY 1) AS sums
             WHERE today >= 20 AND average > 0 AND today >= 3 * average",
        ),
    ];
    for (view, sql) in views {
        for (one, other) in [(view, sql), (sql, view)] {
            let difference = format!(
                "WITH {LOGGED} SELECT count(*)::text FROM (({one}) EXCEPT ALL ({other})) AS difference"
            );
            assert_eq!(plain(&app, &difference).await, json!(0), "{one}");
        }
    }
    app.stop_nodes().await;
}

const LIMITS: &str = r#"
metrics = ["messages"]
default_plan = "small"
[plans.small]
limits = [{ metric = "messages", period = "month", max = 10 }]
[plans.large]
limits = [{ metric = "messages", period = "month", max = 1000 }]
[[models]]
names = ["*"]
charges = { messages = 1 }
"#;

/// Guards the list of those who are near a limit, and the rate of refusals: by the limits that each subject has.
#[tokio::test]
async fn who_is_near_a_limit_goes_by_each_subjects_own_limits() {
    let options = Options { catalogue: Some(LIMITS.to_owned()), ..Options::default() };
    let app = TestApp::start_with(options).await;
    let caller = app.caller();
    let own = json!({ "limits": [{ "metric": "messages", "period": "month", "max": 4 }] });
    caller.put("/v1/subjects/user:own", "*", &own).await;
    caller.put("/v1/subjects/user:large", "*", &json!({ "plan": "large" })).await;
    for (subject, amount) in
        [("user:near", 8), ("user:far", 7), ("user:own", 4), ("user:large", 700)]
    {
        assert!(caller.charge(subject, "messages", amount).await.is_allowed());
    }
    assert_eq!(caller.charge("user:near", "messages", 5).await.status.as_u16(), 429);
    caller.put("/v1/subjects/user:blocked", "*", &json!({ "blocked": true })).await;
    assert_eq!(caller.consume("user:blocked", "gemini").await.code(), "subject_blocked");
    app.flush().await;
    app.quota().write_denials().await.unwrap();

    let near = caller.get("/v1/analytics/near-limit").await.body;
    let rate = caller.get("/v1/analytics/denials?days=2").await.body;

    let near: Vec<_> = near["near_limit"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["subject"].as_str().unwrap(), it["used_permille"].as_u64().unwrap()))
        .collect();
    assert_eq!(near, [("user:own", 1_000), ("user:near", 800)]);
    let counts = (&rate["denied"], &rate["accepted"], &rate["denied_permille"]);
    assert_eq!(counts, (&json!(2), &json!(4), &json!(333)));
    let codes = ["limit_exceeded", "subject_blocked"].map(|it| json!({ "name": it, "denied": 1 }));
    assert_eq!(rate["codes"], json!(codes), "a block names no metric");
    app.finish().await;
}

/// Guards the bounds of that list: where nobody has a limit of one's own it goes by the plans' limits on the metric that is asked
/// for, and a limit of 0 is none that somebody could be near.
#[tokio::test]
async fn who_is_near_a_limit_of_a_plan_goes_by_the_metric_that_is_asked_for() {
    let limits = LIMITS.replace("metrics = [\"messages\"]", "metrics = [\"messages\", \"tokens\"]").replace(
        "[plans.small]\nlimits = [",
        "[plans.small]\nlimits = [{ metric = \"tokens\", period = \"month\", max = 5000 }, { metric = \"messages\", period = \"day\", max = 500 }, ",
    );
    let options = Options { catalogue: Some(limits), ..Options::default() };
    let app = TestApp::start_with(options).await;
    let caller = app.caller();
    for (subject, amount) in [("user:near", 8), ("user:far", 7), ("user:none", 9)] {
        assert!(caller.charge(subject, "messages", amount).await.is_allowed());
    }
    let near = async || {
        app.flush().await;
        let near = caller.get("/v1/analytics/near-limit").await.body;
        let near = near["near_limit"].as_array().unwrap().clone();
        let names = near.iter().map(|it| (it["subject"].clone(), it["limit"].clone()));
        names.collect::<Vec<_>>()
    };
    let month = json!("messages-month");

    let by_plan = near().await;
    let zero = json!({ "limits": [{ "metric": "messages", "period": "month", "max": 0 }] });
    assert_eq!(caller.put("/v1/subjects/user:none", "*", &zero).await.status, StatusCode::OK);
    let but_zero = near().await;

    let (none, of_plan) = ((json!("user:none"), month.clone()), (json!("user:near"), month));
    assert_eq!(by_plan, [none, of_plan.clone()]);
    assert_eq!(but_zero, [of_plan]);
    app.finish().await;
}

/// Guards who may ask and what: analysts with a key over the whole tree, within bounds.
#[tokio::test]
async fn analytics_are_for_keys_over_the_whole_tree_and_within_bounds() {
    let app = TestApp::start().await;
    let caller = app.caller();
    let fenced = caller.with_key(&fenced_key(&app, &["read"], "org:a").await);
    for path in ["summary", "subjects", "distribution", "models", "denials", "near-limit", "months"]
    {
        let path = format!("/v1/analytics/{path}");
        assert_eq!(caller.get(&path).await.status, StatusCode::OK, "{path}");
        assert_eq!(fenced.get(&path).await.code(), "permission_denied", "{path}");
        let unknown = caller.get(&format!("{path}?metric=unheard_of")).await;
        assert_eq!(unknown.code(), "unknown_metric", "{path}");
    }
    for (query, words) in [
        ("summary?days=0", "days must be 1 to 92"),
        ("summary?days=93", "days must be 1 to 92"),
        ("subjects?limit=1001", "limit must be 1 to 1000"),
        ("subjects?month=2026-13", "month must be a month"),
        ("distribution?month=26-1", "month must be a month"),
        ("near-limit?percent=0", "percent must be 1 to 100"),
        ("months?months=14", "months must be 1 to 13"),
    ] {
        let answer = caller.get(&format!("/v1/analytics/{query}")).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "invalid_request", &[words]);
    }
    app.finish().await;
}

/// Guards that analysts' questions go where they are set to go, with no more than an analyst's rights.
#[tokio::test]
async fn analysts_questions_go_to_their_own_store() {
    let mut app = TestApp::start_with(Options { nodes: 0, ..Options::default() }).await;
    let login = "analyst_of_a_test";
    let make = format!(
        "DROP ROLE IF EXISTS {login}; CREATE ROLE {login} LOGIN PASSWORD 'x' IN ROLE headroom_analyst"
    );
    app.postgres().await.batch_execute(&make).await.unwrap();
    let (scheme, rest) = app.stores.postgres_url.split_once("://").unwrap();
    let place = rest.split_once('@').map_or(rest, |(_, place)| place);
    app.set("ANALYTICS_DATABASE_URL", format!("{scheme}://{login}:x@{place}"));
    app.add_node().await;
    let caller = app.caller();
    caller.charge("user:u_1", "messages", 1).await;
    app.flush().await;

    for path in [
        "/v1/logs",
        "/v1/analytics/summary",
        "/v1/analytics/subjects",
        "/v1/analytics/distribution",
        "/v1/analytics/models",
        "/v1/analytics/denials",
        "/v1/analytics/near-limit",
        "/v1/analytics/months",
    ] {
        assert_eq!(caller.get(path).await.status, StatusCode::OK, "{path}");
    }
    let who = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'analyst_of_a_test'";
    assert!(app.postgres().await.query_one(who, &[]).await.unwrap().get::<_, i64>(0) > 0);
    app.finish().await;
}

/// Guards the table of names for dashboards that were written for another system: each of ours is there.
#[tokio::test]
async fn what_others_call_by_other_names_is_there_under_ours() {
    let app = TestApp::start().await;
    let page = include_str!("../../../docs/ANALYTICS.md");
    let (_, table) = page.split_once("| there | here |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let ours = rows.map(|row| row.split('|').nth(2).unwrap().split('`').nth(1).unwrap());
    let ours: Vec<&str> = ours.collect();
    let postgres = app.postgres().await;

    assert_eq!(ours.len(), 7, "{ours:?}");
    for name in ours {
        let found = "SELECT to_regclass($1::text) IS NOT NULL";
        let is_there: bool = postgres.query_one(found, &[&name]).await.unwrap().get(0);
        assert!(is_there, "{name}");
    }
    app.finish().await;
}
