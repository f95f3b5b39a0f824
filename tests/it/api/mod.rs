//! The HTTP API as callers meet it: real requests over real sockets.

mod bad_fields;
mod bad_input;
mod bounds;
mod chat;
mod decisions;
mod docs;
mod headers;
mod idempotency;
pub(crate) mod keys;
mod operations;
mod rs256;
mod shutdown;
pub(crate) mod tokens;
mod usage;

use chrono::DateTime;
use chrono::Utc;

use crate::support::TestApp;

/// Moves the nodes' clock to an instant.
fn move_to(app: &TestApp, instant: &str) {
    let target: DateTime<Utc> = instant.parse().unwrap();
    app.clock.advance(target.timestamp_millis() - app.clock.now_ms());
}
