//! The full protocol holds.

use super::bounds::Bounds;
use super::bounds::Guards;
use super::bounds::Model;
use super::search::Outcome;

/// Every kind of fault once, and two flushers.
const FAULTS: Bounds =
    Bounds { evictions: 1, failovers: 1, flushers: 2, resets: 1, ..Bounds::CALM };

fn search(bounds: Bounds) -> Outcome {
    let guards = Guards::ALL;
    Model { guards, bounds }.search()
}

/// Guards I1, I2, I4 and promises 2 and 3: evictions, flushers that race and crash, a failover to a
/// lagging replica and an admin reset, all in one world. I3 is checked below, in a world without failovers.
#[test]
fn the_stores_agree_with_two_flushers_an_eviction_a_failover_and_a_reset() {
    let outcome = search(FAULTS);
    assert_eq!(outcome, Outcome::Holds { states: 452_712 });
}

/// Guards promise 3: recovery may be interrupted by another failover, at any of its three steps.
#[test]
fn recovery_holds_when_a_second_failover_interrupts_it() {
    let outcome = search(Bounds { failovers: 2, ..Bounds::CALM });
    assert_eq!(outcome, Outcome::Holds { states: 80_641 });
}

/// Guards I3: without a loss in Redis the limit is exact, whatever is evicted, reset or crashes.
#[test]
fn nothing_is_over_admitted_while_redis_loses_nothing() {
    let outcome =
        search(Bounds { limit: 2, ops: 4, evictions: 2, flushers: 2, resets: 1, ..Bounds::CALM });
    assert_eq!(outcome, Outcome::Holds { states: 11_255 });
}

/// Guards I1: dedupe is the second line behind the cursor compare-and-set. Alone, the cursor is
/// enough in every world of this size; `counter_examples.rs` shows dedupe at work without it.
#[test]
fn the_cursor_compare_and_set_alone_keeps_two_flushers_from_counting_twice() {
    let guards = Guards { dedupe: false, ..Guards::ALL };
    let outcome = Model { guards, bounds: FAULTS }.search();
    assert_eq!(outcome, Outcome::Holds { states: 452_712 });
}
