//! The tests themselves against mutants that the recordings noticed.

use std::process::Command;
use std::process::Stdio;

use super::lua::Mutant;
use super::run::Verdict;
use crate::random::Dice;

/// Tests that are asked one folder after the other, until one fails.
const FOLDERS: [&str; 9] = [
    "scripts::",
    "guards::",
    "recovery::",
    "loading::",
    "life::",
    "windows::",
    "resetting::",
    "observe::",
    "faults::idempotency",
];
const SEED: u64 = 11;

/// Runs this program's other tests with some of the mutants, and prints which of them none notices.
pub fn run(mutants: &[Mutant], verdicts: &[Verdict], count: usize) {
    let is_noticed = |verdict: &Verdict| matches!(verdict, Verdict::Killed(_));
    let pairs = mutants.iter().zip(verdicts);
    let mut noticed: Vec<_> = pairs.filter(|(_, it)| is_noticed(it)).map(|(it, _)| it).collect();
    let mut dice = Dice::new(SEED);
    let (mut tried, mut failed) = (0, 0);
    while tried < count && !noticed.is_empty() {
        let at = usize::try_from(dice.below(noticed.len() as u64)).unwrap();
        let mutant = noticed.swap_remove(at);
        tried += 1;
        let by = FOLDERS.iter().find(|folder| !passes(folder, &mutant.name));
        failed += usize::from(by.is_some());
        println!("{}: {}", by.unwrap_or(&"NOT NOTICED"), mutant.name);
    }
    println!("{failed} of {tried} are noticed by the tests themselves");
}

fn passes(folder: &str, mutant: &str) -> bool {
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args([folder, "--test-threads", "4"]).env("HEADROOM_TEST_MUTANT", mutant);
    tests.env_remove("HEADROOM_MUTANTS_BESIDE").stdout(Stdio::null()).stderr(Stdio::null());
    tests.status().unwrap().success()
}
