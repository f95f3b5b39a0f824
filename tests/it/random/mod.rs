//! Thousands of random steps through real servers, against a reference that is a map of counters.
//!
//! | file | holds |
//! |---|---|
//! | `torture/dice.rs` | the random numbers |
//! | `reference.rs` | what every answer must be |
//! | `walk.rs` | the steps |

#[path = "../../../torture/dice.rs"]
mod dice;
mod reference;
mod walk;

pub use dice::Dice;
use walk::Walk;

/// Guards promises 1, 2, 4 and 6: consumes, checks, resets, flushes, evictions, restarts and moved clocks in any order
/// give the answers of a plain map, and Postgres has the same in the end. To look for more, change the seeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_steps_give_the_answers_of_a_plain_map() {
    const STEPS: usize = 1_200;
    for seed in [1, 20_261_122, 0x5eed] {
        println!("seed {seed}");
        let mut walk = Walk::start(seed).await;
        for step in 0..STEPS {
            walk.step(&format!("seed {seed}, step {step}")).await;
        }
        walk.finish().await;
    }
}
