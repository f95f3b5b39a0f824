//! Random commands to two nodes, against a reference that was written from the documents and shares no rule with the
//! service. A failure is shrunk to the fewest commands that still show it.
//!
//! | file | holds |
//! |---|---|
//! | `steps.rs` | the commands, and the form of the answers |
//! | `generate.rs`, `given.rs` | random commands: to counters and subjects; to holds, events and grants |
//! | `catalogues.rs`, `profiles.rs` | random catalogues, limits and profiles |
//! | `limits.rs` | which limits hold for a path |
//! | `reference.rs` | what every answer must be |
//! | `lines.rs`, `claims.rs` | there: a limit in its window; what a request claims of limits and grants |
//! | `deciding.rs`, `rolling.rs` | there: consumes, checks, reserves and looks; what windows leave to the next |
//! | `holds.rs`, `lost.rs` | there: what is held and what ends it; what a recovery makes of that |
//! | `grants.rs`, `refunds.rs`, `acts.rs` | there: grants and gifts; refunds; what admins do to counters |
//! | `case.rs`, `units.rs`, `codes.rs` | commands to the service, and what it says |
//! | `world.rs`, `ending.rs` | the servers, the nodes, and what is broken in them; what they hold when a case ends |

#![allow(
    clippy::cognitive_complexity,
    clippy::needless_pass_by_value,
    clippy::redundant_closure_for_method_calls,
    clippy::similar_names,
    clippy::too_many_arguments,
    clippy::trivially_copy_pass_by_ref,
    reason = "a reference reads like the rules it is written from"
)]

mod acts;
mod case;
mod catalogues;
mod claims;
mod codes;
mod deciding;
mod ending;
mod generate;
mod given;
mod grants;
mod holds;
mod limits;
mod lines;
mod lost;
mod profiles;
mod reference;
mod refunds;
mod rolling;
mod steps;
mod units;
mod world;

use std::rc::Rc;
use std::thread::ScopedJoinHandle;

use proptest::test_runner::Config;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;
use proptest_state_machine::ReferenceStateMachine;
use proptest_state_machine::StateMachineTest;

use case::Case;
use case::WORLD;
use reference::Reference;
use world::World;

/// Seeds of a run, each with servers of its own, unless `HEADROOM_TEST_SEED` names one.
const SEEDS: u64 = 24;
/// Seeds that are run at once.
const AT_ONCE: usize = 2;
/// Cases of a seed, unless `HEADROOM_TEST_CASES` says otherwise.
const CASES: u64 = 60;
/// Commands of a case.
const STEPS: usize = 70;
/// Commands of a run, at least.
const STEPS_MIN: u64 = 100_000;

const _: () = assert!(SEEDS * CASES * STEPS as u64 >= STEPS_MIN);

/// A number that whoever runs the test may set.
#[expect(clippy::disallowed_methods, reason = "a setting of this test, not of the service")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn runner(seed: u64) -> TestRunner {
    let cases = setting("HEADROOM_TEST_CASES").unwrap_or(CASES);
    let cases = u32::try_from(cases).unwrap();
    let config =
        Config { cases, failure_persistence: None, max_shrink_time: 60_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

#[expect(clippy::print_stdout, reason = "whoever wants to repeat a run needs its seeds")]
fn print(text: &str) {
    println!("{text}");
}

/// Runs the cases of a seed, and answers how many commands those were.
fn run(seed: u64) -> u64 {
    print(&format!("HEADROOM_TEST_SEED={seed}"));
    let world = Rc::new(World::start());
    WORLD.set(Some(world.clone()));
    let mut runner = runner(seed);
    let config = runner.config().clone();

    let cases = Reference::sequential_strategy(STEPS..=STEPS);
    let outcome = runner.run(&cases, |(reference, steps, seen)| {
        Case::test_sequential(config.clone(), reference, steps, seen);
        Ok(())
    });

    WORLD.set(None);
    let World { app, runtime, steps, .. } = Rc::into_inner(world).unwrap();
    if let Err(failure) = outcome {
        panic!("HEADROOM_TEST_SEED={seed}: {failure}");
    }
    runtime.block_on(app.finish());
    steps.get()
}

/// What a thread made; its panic goes on in this one.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Guards promises 1, 2, 4 and 6 and I1 to I8 for plans, overrides, calendars, levels, features and acts, for holds, refunds,
/// grants, gifts and rollover, in any order and with any loss of caches. Every run has the
/// same seeds, unless `HEADROOM_TEST_FIRST_SEED` chooses others; `HEADROOM_TEST_SEED` repeats a single one.
#[test]
fn random_commands_give_the_answers_of_a_reference() {
    if let Some(seed) = setting("HEADROOM_TEST_SEED") {
        run(seed);
        return;
    }
    let first = setting("HEADROOM_TEST_FIRST_SEED").unwrap_or(1);
    let of_thread =
        |thread: usize| (0..SEEDS).skip(thread).step_by(AT_ONCE).map(move |it| first + it);
    let steps: u64 = std::thread::scope(|scope| {
        let threads =
            (0..AT_ONCE).map(|thread| scope.spawn(move || of_thread(thread).map(run).sum::<u64>()));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(joined).sum()
    });
    print(&format!("{steps} commands"));
    assert!(setting("HEADROOM_TEST_CASES").is_some() || steps >= STEPS_MIN, "{steps}");
}
