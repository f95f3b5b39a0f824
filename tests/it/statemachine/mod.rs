//! Random commands to two nodes, against a reference that was written from the documents and shares no rule with the
//! service. A failure is shrunk to the fewest commands that still show it.
//!
//! | file | holds |
//! |---|---|
//! | `steps.rs` | the commands, and the form of the answers |
//! | `generate.rs` | random commands and profiles |
//! | `catalogues.rs` | random catalogues and limits |
//! | `limits.rs` | which limits hold for a path |
//! | `reference.rs` | what every answer must be |
//! | `acts.rs` | what admins do to counters there |
//! | `case.rs` | commands to the service, and what it says |
//! | `world.rs` | the servers, the nodes, and what is broken in them |

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
mod deciding;
mod ending;
mod generate;
mod given;
mod grants;
mod holds;
mod limits;
mod lines;
mod reference;
mod refunds;
mod steps;
mod units;
mod world;

use std::rc::Rc;

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

/// Cases of a run, unless `HEADROOM_TEST_CASES` says otherwise.
const CASES: u64 = 150;
/// Commands of a case.
const STEPS: std::ops::Range<usize> = 40..100;

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

/// Guards promises 1, 2, 4 and 6 and I1 to I7 for plans, overrides, calendars, levels, features and acts, in any order and
/// with any loss of caches. Each run has another seed, unless `HEADROOM_TEST_SEED` repeats one.
#[test]
fn random_commands_give_the_answers_of_a_reference() {
    let other = || uuid::Uuid::now_v7().as_u64_pair().1;
    let seed = setting("HEADROOM_TEST_SEED").unwrap_or_else(other);
    println!("HEADROOM_TEST_SEED={seed}");
    let world = Rc::new(World::start());
    WORLD.set(Some(world.clone()));
    let mut runner = runner(seed);
    let config = runner.config().clone();

    let outcome = runner.run(&Reference::sequential_strategy(STEPS), |(reference, steps, seen)| {
        Case::test_sequential(config.clone(), reference, steps, seen);
        Ok(())
    });

    WORLD.set(None);
    println!("{} cases", world.cases());
    let World { app, runtime, .. } = Rc::into_inner(world).unwrap();
    if let Err(failure) = outcome {
        panic!("HEADROOM_TEST_SEED={seed}: {failure}");
    }
    runtime.block_on(app.finish());
}
