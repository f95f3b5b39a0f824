//! `headroom repair`: counters in Redis made again from Postgres and the outbox.

use serde_json::Value;
use serde_json::json;

use super::add_units;
use super::options;
use super::round;
use super::state_of;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders::accept;
use crate::support::orders::used;
use crate::support::program::env_of;
use crate::support::program::run;
use crate::support::state::State;

const SUBJECT: &str = "user:u_1";
const OTHER: &str = "user:u_2";
const CATALOGUE: &str = "metrics = [\"messages\"]\ndefault_plan = \"only\"\n\
    [plans.only]\nlimits = [\n\
    { metric = \"messages\", period = \"hour\", max = 1000 },\n\
    { metric = \"messages\", period = \"month\", max = 1000 },\n]\n\
    [[models]]\nnames = [\"*\"]\ncharges = { messages = 1 }\n";

async fn start() -> TestApp {
    let settings = options().with("HEADROOM_FLUSHER_TRIM_LAG_S", 0);
    let catalogue = Some(CATALOGUE.to_owned());
    TestApp::start_with(Options { catalogue, ..settings }).await
}

async fn repair(app: &TestApp, arguments: &[&str]) -> Value {
    let arguments = [&["repair", "--json"][..], arguments].concat();
    run(&arguments, env_of(app)).await.json()
}

/// The counters by their names, in the order of the names.
fn counters(state: &State) -> Vec<(String, i64)> {
    let mut counters = state.counters.clone();
    counters.sort();
    counters
}

async fn audited(app: &TestApp) -> Vec<(String, String, Option<String>)> {
    let sql = "SELECT actor, target, reason FROM audit_log WHERE action = 'subject.repair'";
    let rows = app.postgres().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Guards the repair: a dry run changes nothing, a repair sets what Postgres and the outbox add up to. Events that are not in
/// Postgres yet still come there, holds stay held, and counters of an hour, which Redis alone keeps, stay as they are.
#[tokio::test]
async fn a_repair_mends_what_a_dry_run_shows() {
    let app = start().await;
    accept(app.quota(), SUBJECT, 3).await;
    app.flush().await;
    accept(app.quota(), SUBJECT, 2).await;
    let body = json!({ "subject": SUBJECT, "metric": "messages", "amount": 4, "ttl_s": 600 });
    let held = app.caller().post("/v1/reservations", &body).await;
    assert!(held.is_allowed(), "{held:?}");
    accept(app.quota(), OTHER, 1).await;
    let whole = add_units(&app, SUBJECT, "messages:m:", 7).await;
    let broken = state_of(&app, SUBJECT).await;
    round(&app).await;
    assert_eq!(round(&app).await.sums.units, 7);

    let dry = repair(&app, &["--dry-run"]).await;
    let after_dry = state_of(&app, SUBJECT).await;
    let audited_dry = audited(&app).await;
    let real = repair(&app, &["--reason", "ticket 4711"]).await;
    let mended = state_of(&app, SUBJECT).await;
    let again = repair(&app, &[]).await;

    for (answer, is_done) in [(&dry, false), (&real, true)] {
        let found = answer["found"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{answer}");
        assert_eq!(
            (&found[0]["subject"], &found[0]["repaired"]),
            (&json!(SUBJECT), &json!(is_done))
        );
        let counter = &found[0]["counters"][0];
        assert_eq!((&counter["redis"], &counter["postgres"]), (&json!(12), &json!(5)));
    }
    assert_eq!((after_dry, audited_dry), (broken, Vec::new()), "a dry run writes nothing");
    assert_eq!(counters(&mended), counters(&whole), "what there was before it was broken");
    let row = ("cli".to_owned(), SUBJECT.to_owned(), Some("ticket 4711".to_owned()));
    assert_eq!(audited(&app).await, [row]);
    assert_eq!(again["found"], json!([]));
    let report = app.quota().drift().await.unwrap();
    assert_eq!((report.sums.units, report.found.len()), (0, 0), "reported no more");
    assert_eq!(used(app.quota(), SUBJECT).await, 5);
    app.finish().await;
}

/// Guards that one subject can be repaired alone.
#[tokio::test]
async fn one_subject_is_repaired_alone() {
    let app = start().await;
    for subject in [SUBJECT, OTHER] {
        accept(app.quota(), subject, 3).await;
        add_units(&app, subject, "messages:m:", -1).await;
    }

    let one = repair(&app, &[OTHER]).await;
    let rest = repair(&app, &[]).await;

    let names = |answer: &Value| {
        let found = answer["found"].as_array().unwrap().iter();
        found.map(|it| it["subject"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((names(&one), names(&rest)), (vec![OTHER.to_owned()], vec![SUBJECT.to_owned()]));
    let unknown = repair(&app, &["user:nobody"]).await;
    assert_eq!(unknown["found"], json!([]), "what is not loaded needs no repair");
    app.finish().await;
}
