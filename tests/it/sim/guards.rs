//! The simulation finds what is taken away from the product: a guard of a script, or one of the loops.

use headroom::ledger::FlushGuards;
use headroom::quota::Guards;

use super::run;
use super::schedule::Product;
use super::with_timers;

/// Seeds that are tried at most.
const SEEDS_MAX: u64 = 200;

/// Fails unless a schedule goes wrong without these guards of the scripts, and with those of the loops.
#[track_caller]
fn assert_found(scripts_off: &[&'static str], guards: Guards) {
    let product = Product::without(scripts_off, guards);
    let found = with_timers(|| {
        (1..=SEEDS_MAX).find_map(|seed| run(seed, &product).1.err().map(|wrong| (seed, wrong)))
    });
    assert!(found.is_some(), "nothing goes wrong in {SEEDS_MAX} schedules");
}

#[test]
fn a_missing_guard_of_the_scripts_is_found() {
    for name in ["earlier_attempt", "epoch_in_counter", "fence", "tail"] {
        assert_found(&[name], Guards::default());
    }
}

#[test]
fn a_missing_guard_of_the_loops_is_found() {
    let all = Guards::default();
    let no_compare = FlushGuards { compare_and_set: false, ..FlushGuards::default() };
    let no_dedupe = FlushGuards { dedupe: false, ..FlushGuards::default() };
    assert_found(&[], Guards { salvage: false, ..all });
    assert_found(&[], Guards { flush: no_compare, ..all });
    assert_found(&[], Guards { flush: no_dedupe, ..all });
    assert_found(&["trim_after_commit"], Guards { trim_after_commit: false, ..all });
}
