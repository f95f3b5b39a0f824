//! Acts on counters through the service: each is in the audit log once, whatever breaks on its way there.

use headroom::counters::Fault;
use headroom::counters::ShardFault;
use headroom::domain::Period;
use headroom::domain::Units;
use headroom::ledger::AuditFilter;
use headroom::ledger::AuditRow;
use headroom::quota::FlushState;
use headroom::quota::NewCount;
use headroom::quota::ResetScope;
use headroom::quota::SetOrder;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::advance::advance;
use crate::support::orders;
use crate::support::orders::accept;
use crate::support::orders::actor;
use crate::support::proxy::Loss;

const SUBJECT: &str = "user:u_1";
/// More steps than a flush has: reads, statements, the commit, the trim.
const STEPS_MAX: usize = 200;

fn options() -> Options {
    let catalogue = Some(orders::messages_a_month(10_000));
    Options { catalogue, ..Options::default() }.with("HEADROOM_FLUSHER_TRIM_LAG_S", 0)
}

/// Clears the subject's counters, and answers the event's id.
async fn reset(app: &TestApp) -> Uuid {
    let scope = ResetScope::default();
    app.quota().reset(&orders::subject(SUBJECT), scope, &actor()).await.unwrap().event_id
}

/// Gives the subject's counters another value, and answers the event's id.
async fn set(app: &TestApp, count: NewCount) -> Uuid {
    let order = SetOrder { metric: orders::metric("messages"), period: None, count };
    app.quota().set_usage(&orders::subject(SUBJECT), &order, &actor()).await.unwrap().event_id
}

fn units(count: u64) -> Units {
    Units::new(count).unwrap()
}

/// The acts on counters, oldest first.
async fn rows(app: &TestApp) -> Vec<AuditRow> {
    let filter = AuditFilter { target: Some(SUBJECT), ..AuditFilter::default() };
    let mut rows = app.quota().audit(filter, 1_000).await.unwrap();
    rows.reverse();
    rows
}

/// What the counter of this month was before and after each act.
async fn counts(app: &TestApp) -> Vec<(Value, Value)> {
    let usage = app.quota().usage(&orders::subject(SUBJECT)).await.unwrap();
    let start_at = usage.limits[0].window.start_at().format("%Y-%m-%dT%H:%M:%SZ");
    let name = format!("messages-month from {start_at}");
    let count = |document: Option<String>| {
        let counts: Value = serde_json::from_str(&document.unwrap()).unwrap();
        assert_eq!(counts.as_object().unwrap().len(), 1, "{counts}");
        counts[&name].clone()
    };
    rows(app).await.into_iter().map(|row| (count(row.before), count(row.after))).collect()
}

/// Guards promise 3: who changed what a subject has used can be told afterwards.
#[tokio::test]
async fn each_act_is_in_the_audit_log_with_what_the_counter_was() {
    let app = TestApp::start_with(options()).await;
    accept(app.quota(), SUBJECT, 3).await;
    reset(&app).await;
    accept(app.quota(), SUBJECT, 1).await;
    set(&app, NewCount::Absolute(units(37))).await;
    set(&app, NewCount::Less(units(40))).await;
    assert_eq!(rows(&app).await, [], "acts come with their events");

    app.flush().await;

    let expected = [(3, 0), (1, 37), (37, 0)].map(|(before, after)| (json!(before), json!(after)));
    assert_eq!(counts(&app).await, expected);
    let rows = rows(&app).await;
    let actions: Vec<&str> = rows.iter().map(|row| &*row.action).collect();
    assert_eq!(actions, ["usage.reset", "usage.set", "usage.decrement"]);
    for row in rows {
        assert_eq!((&*row.actor, row.reason.as_deref()), ("k_1", Some("a test")));
        assert_eq!(row.request_id.as_deref(), Some("an-act"));
    }
    app.finish().await;
}

/// A reset that clears nothing is an act too.
#[tokio::test]
async fn a_reset_of_nothing_is_recorded() {
    let app = TestApp::start_with(options()).await;
    let scope = ResetScope { metric: None, period: Some(Period::Day) };
    app.quota().reset(&orders::subject(SUBJECT), scope, &actor()).await.unwrap();

    app.flush().await;

    let rows = rows(&app).await;
    assert_eq!((rows.len(), &rows[0].before, &rows[0].after), (1, &None, &None));
    app.finish().await;
}

/// Guards promise 2: a flusher may die at any step of a batch that holds acts.
#[tokio::test]
async fn a_flush_that_dies_at_any_step_records_each_act_once() {
    let app = TestApp::start_with(options()).await;
    let quota = app.quota().clone();
    let shard = orders::shard_of(SUBJECT);
    let (mut acts, mut ended) = (0, Vec::new());

    for steps in 1..STEPS_MAX {
        acts += 1;
        set(&app, NewCount::Absolute(units(acts))).await;
        let mut state = FlushState::default();
        let mut flush = Box::pin(quota.flush(shard, &mut state));
        let done = advance(&mut flush.as_mut(), steps).await;
        drop(flush);
        ended.extend(done.map(|_| steps));
        if ended.len() == 3 {
            break;
        }
    }

    assert!(ended[0] > 5, "a flush has more steps than {ended:?}");
    drop(quota);
    app.flush().await;
    let expected: Vec<_> = (1..=acts).map(|act| (json!(act - 1), json!(act))).collect();
    assert_eq!(counts(&app).await, expected);
    app.finish().await;
}

/// Guards ADR 0003: an act whose reply is lost is found again, and is one event.
#[tokio::test]
async fn an_act_whose_reply_is_lost_is_recorded_once() {
    let options = options()
        .with("HEADROOM_REDIS_RESPONSE_TIMEOUT_MS", 200)
        .with("HEADROOM_SERVER_REQUEST_TIMEOUT_MS", 30_000);
    let (app, proxy) = TestApp::start_behind_proxy(options).await;
    accept(app.quota(), SUBJECT, 2).await;

    proxy.lose_next(Loss::Closed);
    set(&app, NewCount::Absolute(units(9))).await;
    proxy.lose_next(Loss::Silent);
    reset(&app).await;

    assert_eq!(proxy.faults(), 2);
    app.flush().await;
    assert_eq!(counts(&app).await, [(json!(2), json!(9)), (json!(9), json!(0))]);
    app.finish().await;
}

/// Guards promises 2 and 3 across a recovery: what the flusher had taken is not recorded again, the rest is.
#[tokio::test]
async fn acts_that_a_recovery_salvages_are_recorded_once() {
    let lagging = options().with("HEADROOM_FLUSHER_TRIM_LAG_S", 600).patient();
    let app = TestApp::start_with(lagging).await;
    set(&app, NewCount::Absolute(units(5))).await;
    app.flush().await;
    set(&app, NewCount::Absolute(units(8))).await;
    reset(&app).await;
    let fault = Fault { kind: ShardFault::Rollback, epoch: 1, seq: 3 };
    let shard = orders::shard_of(SUBJECT);
    app.counters().fence(shard, Uuid::now_v7(), fault).await.unwrap().unwrap();

    assert_eq!(accept(app.quota(), SUBJECT, 1).await, 1);

    let expected = [(0, 5), (5, 8), (8, 0)].map(|(before, after)| (json!(before), json!(after)));
    assert_eq!(counts(&app).await, expected);
    assert_eq!(app.ledger().cursor(shard).await.unwrap().epoch, 2);
    app.finish().await;
}
