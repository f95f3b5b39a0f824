//! The HTTP API as callers meet it: real requests over real sockets.

mod audit;
mod bad_fields;
pub(crate) mod bad_input;
mod batches;
mod bounds;
mod catalogue;
mod chat;
mod counts;
mod dashboard;
mod decisions;
mod docs;
mod entitlements;
mod forward_auth;
mod grants;
mod headers;
mod idempotency;
pub(crate) mod keys;
mod limits;
mod operations;
mod plans;
mod refunds;
mod reservations;
mod resets;
mod rs256;
mod shutdown;
mod subjects;
pub(crate) mod tokens;
mod transfers;
mod usage;

use chrono::DateTime;
use chrono::Utc;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;

/// Nodes with a catalogue of the test's own.
fn with_catalogue(text: &str) -> Options {
    Options { catalogue: Some(text.to_owned()), ..Options::default() }
}

/// What a test wants to know of an answer that is a problem.
fn told(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.code())
}

/// Moves the nodes' clock to an instant.
fn move_to(app: &TestApp, instant: &str) {
    let target: DateTime<Utc> = instant.parse().unwrap();
    app.clock.advance(target.timestamp_millis() - app.clock.now_ms());
}
