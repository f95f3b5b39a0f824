//! Thousands of schedules a minute: the service's own lanes, loads, flushes, recoveries, holds and Lua scripts over stores in
//! memory, on one thread and without time, so that a seed repeats a schedule step by step (docs/adr/0026).
//!
//! | file | holds |
//! |---|---|
//! | `redis/` | a Redis under the real scripts |
//! | `postgres.rs`, `holds.rs`, `ledger.rs` | a ledger in memory |
//! | `calls.rs`, `deliver.rs` | calls of the stores, and what becomes of them |
//! | `node.rs`, `clients.rs`, `tasks.rs` | what runs |
//! | `schedule.rs` | what a seed makes of all this |
//! | `check.rs` | the end, and whether every promise was kept |
//! | `guards.rs` | that the simulation finds what is taken away |
//! | `real.rs` | that a real Redis answers the same |

mod calls;
mod check;
mod clients;
mod deliver;
mod guards;
mod holds;
mod ledger;
mod node;
mod postgres;
mod real;
mod redis;
mod schedule;
mod tasks;

use std::time::Instant;

use schedule::Product;
use schedule::Schedule;

/// The schedules of a run, from the seed 1 on: about a minute of one core in a debug build. `HEADROOM_SIM_SCHEDULES` says
/// otherwise, for a longer search.
const SCHEDULES: u64 = 1_200;

/// Runs a seed's schedule and judges it.
fn run(seed: u64, product: &Product) -> (Schedule, Result<(), String>) {
    // Every second schedule has a Redis that loses something.
    let mut schedule = Schedule::new(seed, seed.is_multiple_of(2), product);
    schedule.run();
    let verdict = schedule.judge();
    (schedule, verdict)
}

/// Lets timers be made. None ever goes off: no schedule waits for the clock of the machine.
fn with_timers<T>(work: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    work()
}

fn setting(name: &str) -> Option<u64> {
    std::env::vars().find(|(known, _)| known == name).map(|(_, value)| value.parse().unwrap())
}

/// Guards promises 1 to 4: whatever is delayed, lost, repeated, forgotten or rolled back, in whatever order.
/// `HEADROOM_SIM_SEED` runs one seed alone, and shows its steps.
#[test]
fn every_schedule_keeps_every_promise() {
    with_timers(|| {
        let only = setting("HEADROOM_SIM_SEED");
        let schedules = setting("HEADROOM_SIM_SCHEDULES").unwrap_or(SCHEDULES);
        let seeds = only.map_or(1..=schedules, |seed| seed..=seed);
        let product = Product::whole();
        let (began_at, mut steps, mut losses) = (Instant::now(), 0, 0);
        for seed in seeds {
            let (schedule, verdict) = run(seed, &product);
            if only.is_some() {
                println!("{}", schedule.trace.join("\n"));
            }
            if let Err(wrong) = verdict {
                panic!("HEADROOM_SIM_SEED={seed}: {wrong}");
            }
            (steps, losses) = (steps + schedule.trace.len(), losses + schedule.losses);
        }
        println!("{steps} steps, {losses} losses, {:?}", began_at.elapsed());
    });
}

/// Guards the simulation: a seed is worth nothing when it does not repeat.
#[test]
fn a_seed_repeats_its_schedule_step_by_step() {
    with_timers(|| {
        let product = Product::whole();
        for seed in [3, 4, 40] {
            let first = run(seed, &product).0.trace;
            let again = run(seed, &product).0.trace;
            assert_eq!(first, again, "seed {seed}");
        }
    });
}
