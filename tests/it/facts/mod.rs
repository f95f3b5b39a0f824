//! What happened and what it adds up to: refusals, pages of the log, rollups, forecasts.

mod analytics;
mod archive;
mod denials;
mod dynamic;
mod forecast;
mod logs;
mod persons;
mod retention;
mod upkeep;

use crate::support::TestApp;

/// Moves the nodes' clock to just after the next full minute.
fn at_the_start_of_a_minute(app: &TestApp) {
    let into_it_ms = app.clock.now_ms().rem_euclid(60_000);
    app.clock.advance(60_500 - into_it_ms);
}
