//! The command line, as an operator runs it: answers on standard output, reasons on standard error, codes for scripts.

mod catalogue;
mod config;
mod keys;
mod profiles;
mod resets;
mod stores;
mod subjects;
mod units;
mod watching;

use crate::support::TestApp;
use crate::support::program::Outcome;
use crate::support::program::env_of;
use crate::support::program::run;

/// Runs a command on a test's stores.
async fn on(app: &TestApp, arguments: &[&str]) -> Outcome {
    let outcome = run(arguments, env_of(app)).await;
    outcome.assert_hides(crate::support::ADMIN_KEY);
    outcome
}

/// Fails unless the command was refused with these words, and said nothing else.
fn assert_refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{outcome:?}");
    assert!(outcome.stderr.starts_with("error: "), "{outcome:?}");
    assert!(words.iter().all(|word| outcome.stderr.contains(word)), "{words:?}: {outcome:?}");
}
