//! Looking at a running service: metrics, traces, drift, and what is deployed to look at them.

mod collector;
mod deployed;
mod drift;
mod metrics;
mod repair;
mod traces;
mod verifying;

use std::time::Duration;

use headroom::counters::keys;
use headroom::quota::DriftReport;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::state::State;

/// Enough for all keys of a test in one step.
const KEYS_MAX: u32 = 10_000;

/// Nodes whose auditors do not walk by themselves: the tests take the steps.
fn options() -> Options {
    Options::default().patient().with("HEADROOM_DRIFT_KEYS_PER_S", 0)
}

/// A step of the auditor.
async fn step(app: &TestApp) {
    app.quota().audit_drift(KEYS_MAX, Duration::ZERO).await.unwrap();
}

/// A whole walk: a step for each shard.
async fn round(app: &TestApp) -> DriftReport {
    for _ in 0..app.quota().shard_count() {
        step(app).await;
    }
    app.quota().drift().await.unwrap()
}

fn key_of(subject: &str) -> String {
    keys::subject(orders::shard_of(subject), subject)
}

async fn state_of(app: &TestApp, subject: &str) -> State {
    State::read(&app.redis().await, &key_of(subject)).await.unwrap()
}

/// Adds units to the subject's counter whose name begins so, behind the service's back. Answers the state from before.
async fn add_units(app: &TestApp, subject: &str, counter: &str, units: i64) -> State {
    let before = state_of(app, subject).await;
    let mut broken = before.clone();
    let found = broken.counters.iter_mut().find(|(name, _)| name.starts_with(counter));
    found.unwrap().1 += units;
    broken.write(&app.redis().await, &key_of(subject)).await;
    before
}
