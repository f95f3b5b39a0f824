//! Flushes that are interrupted, held up and raced, at every step that they have.

use std::pin::pin;

use futures_util::future::join_all;
use headroom::quota::FlushState;
use headroom::quota::FlushStep;
use headroom::quota::Quota;
use headroom::quota::QuotaError;

use super::MODEL;
use super::consume_in_turn;
use super::counted;
use super::logged;
use super::messages_a_month;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::advance::advance;
use crate::support::caller::Answer;

/// More steps than a flush has: reads, statements, the commit, the trim.
const STEPS_MAX: usize = 200;

/// Subjects whose events are all in one shard, so that one flush has them all.
const SUBJECT: &str = "org:acme/user:u_1";

/// A node without a flusher that trims at once, so that the trim is a step too.
async fn start(nodes: usize) -> TestApp {
    let options =
        Options { nodes, catalogue: Some(messages_a_month(10_000)), ..Options::default() };
    let options = options.with("HEADROOM_FLUSHER_TRIM_LAG_S", 0);
    // Who waits for a lock that is held up gives up soon.
    TestApp::start_with(options.with("HEADROOM_POSTGRES_STATEMENT_TIMEOUT_MS", 500)).await
}

fn shard(quota: &Quota) -> u16 {
    headroom::domain::Subject::parse(SUBJECT).unwrap().shard(quota.shard_count())
}

/// Guards promise 2 and I4: a flusher may die at any step, and the next one goes on from the cursor.
#[tokio::test]
async fn a_flush_that_dies_at_any_step_loses_and_doubles_nothing() {
    let app = start(1).await;
    let quota = app.quota().clone();
    let shard = shard(&quota);
    let caller = app.caller();
    let mut ended = Vec::new();
    let mut accepted = 0;

    for steps in 1..STEPS_MAX {
        let answers = join_all((0..3).map(|_| caller.consume(SUBJECT, MODEL))).await;
        accepted += answers.iter().filter(|answer| answer.is_allowed()).count();
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
    assert_all_logged(app, accepted).await;
}

/// Everything that was accepted is in Postgres once.
async fn assert_all_logged(app: TestApp, accepted: usize) {
    app.flush().await;
    assert_eq!(logged(&app).await.1, accepted);
    assert_eq!(counted(&app, SUBJECT).await, i64::try_from(accepted).unwrap());
    app.finish().await;
}

/// Guards promise 2: a flusher that is overtaken while it holds an old batch writes none of it again.
#[tokio::test]
async fn a_flush_that_is_overtaken_at_any_step_writes_nothing_twice() {
    let app = start(2).await;
    let (slow, fast) = (app.quota_of(0).clone(), app.quota_of(1).clone());
    let shard = shard(&slow);
    let mut overtaken = 0;
    let mut accepted = 0;

    for steps in 1..STEPS_MAX {
        assert!(app.caller().consume(SUBJECT, MODEL).await.is_allowed());
        accepted += 1;
        let (mut slow_state, mut fast_state) = (FlushState::default(), FlushState::default());
        let mut held_up = pin!(slow.flush(shard, &mut slow_state));
        if advance(&mut held_up, steps).await.is_some() {
            break;
        }
        let first = fast.flush(shard, &mut fast_state).await;
        let second = held_up.await;
        assert_one_took_it(&first, &second, steps);
        overtaken += usize::from(matches!(first, Ok(FlushStep::Flushed(1))));
        app.flush().await;
    }

    assert!(overtaken > 2, "the second flusher was first {overtaken} times");
    drop((slow, fast));
    assert_all_logged(app, accepted).await;
}

type Step = Result<FlushStep, QuotaError>;

/// At most one of two flushers has written the event; a flusher that waited too long for the lock may say so.
#[track_caller]
fn assert_one_took_it(first: &Step, second: &Step, steps: usize) {
    let took = |step: &Step| matches!(step, Ok(FlushStep::Flushed(count)) if *count > 0);
    assert!(!(took(first) && took(second)), "after {steps} steps: {first:?}, {second:?}");
    let is_expected = |step: &Step| matches!(step, Ok(_) | Err(QuotaError::Unavailable { .. }));
    assert!(is_expected(first) && is_expected(second), "{first:?}, {second:?}");
}

/// Guards promise 2: any number of flushers may run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_flushers_that_race_under_load_log_each_event_once() {
    let options = Options {
        nodes: 2,
        flushers: true,
        catalogue: Some(messages_a_month(250)),
        ..Options::default()
    };
    let options = options
        .with("HEADROOM_FLUSHER_BATCH_EVENTS_MAX", 7)
        .with("HEADROOM_FLUSHER_IDLE_POLL_MS", 1)
        .with("HEADROOM_FLUSHER_TRIM_LAG_S", 0);
    let app = TestApp::start_with(options).await;
    let callers = [app.caller_of(0), app.caller_of(1)];

    let lines =
        (0..16).map(|line| consume_in_turn(&callers[line % 2], format!("user:u_{}", line % 4), 80));
    let answers = join_all(lines).await.into_iter().flatten();
    let accepted: Vec<_> =
        answers.filter(Answer::is_allowed).map(|answer| answer.event_id()).collect();

    assert_eq!(accepted.len(), 1_000, "four subjects with 250 each");
    app.flush().await;
    assert_eq!(logged(&app).await, (accepted.into_iter().collect(), 1_000));
    app.finish().await;
}
