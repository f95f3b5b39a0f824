//! What is changed in the scripts of a test: guards that it takes out itself, and the mutant that whoever runs the tests
//! names by `HEADROOM_TEST_MUTANT`, to see that they notice it.

use std::sync::LazyLock;

use headroom::counters::Tampering;

use crate::mutants::lua;

static CHANGED: LazyLock<Option<(String, String)>> = LazyLock::new(named_mutant);

/// The scripts without these guards, and with the mutant.
pub fn tampering(guards_off: &[&'static str]) -> Tampering {
    Tampering { guards_off: guards_off.to_vec(), changed: CHANGED.clone() }
}

#[expect(clippy::disallowed_methods, reason = "a setting of the tests, not of the service")]
fn named_mutant() -> Option<(String, String)> {
    let name = std::env::var("HEADROOM_TEST_MUTANT").ok()?;
    let mutant = lua::mutants().into_iter().find(|it| it.name == name);
    let mutant = mutant.unwrap_or_else(|| panic!("no mutant is called {name}"));
    Some((mutant.file.clone(), mutant.text()))
}
