//! Random commands to two nodes, against a reference that was written from the documents and shares no rule with the
//! service. A failure is shrunk to the fewest commands that still show it.
//!
//! | file | holds |
//! |---|---|
//! | `steps.rs` | the commands, and the form of the answers |
//! | `generate.rs` | random commands, catalogues and profiles |
//! | `limits.rs` | which limits hold for a path |
//! | `reference.rs` | what every answer must be |
//! | `case.rs` | commands to the service, and what it says |
//! | `world.rs` | the servers, the nodes, and what is broken in them |

mod case;
mod generate;
mod limits;
mod reference;
mod steps;
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

/// Cases of a run. `PROPTEST_CASES` is another number.
const CASES: u32 = 64;
/// Commands of a case.
const STEPS: std::ops::Range<usize> = 40..100;

/// The seed that is set, or another one each time.
fn seed() -> u64 {
    let set = std::env::var("HEADROOM_TEST_SEED").ok();
    set.map_or_else(|| uuid::Uuid::now_v7().as_u64_pair().1, |text| text.parse().unwrap())
}

fn runner(seed: u64) -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES").ok().map_or(CASES, |text| text.parse().unwrap());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Guards promises 1, 2, 4 and 6 and I1 to I7 for plans, overrides, calendars, levels, features and acts, in any order and
/// with any loss of caches. `HEADROOM_TEST_SEED` repeats a run.
#[test]
fn random_commands_give_the_answers_of_a_reference() {
    let seed = seed();
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
