//! The simulation finds what is taken away from the product: a guard of a script, or one of the loops.

use headroom::ledger::FlushGuards;
use headroom::quota::Guards;

use super::run;
use super::schedule::Without;
use super::with_timers;

/// Seeds that are tried at most.
const SEEDS_MAX: u64 = 400;

/// The first seed whose schedule goes wrong, and how.
fn first_found(without: &Without) -> Option<(u64, String)> {
    with_timers(|| {
        (1..=SEEDS_MAX).find_map(|seed| run(seed, without).1.err().map(|wrong| (seed, wrong)))
    })
}

#[track_caller]
fn assert_found(name: &str, without: &Without) {
    let found = first_found(without);
    println!("{name}: {found:?}");
    assert!(found.is_some(), "{name} is not missed in {SEEDS_MAX} schedules");
}

fn scripts(name: &'static str) -> Without {
    Without { scripts: vec![name], ..Without::default() }
}

fn loops(guards: Guards) -> Without {
    Without { guards, ..Without::default() }
}

#[test]
fn a_missing_guard_of_the_scripts_is_found() {
    for name in ["earlier_attempt", "epoch_in_counter", "tail", "fence", "floor_check"] {
        assert_found(name, &scripts(name));
    }
}

#[test]
fn a_missing_guard_of_the_loops_is_found() {
    let all = Guards::default();
    let no_compare = FlushGuards { compare_and_set: false, ..FlushGuards::default() };
    let no_dedupe = FlushGuards { dedupe: false, ..FlushGuards::default() };
    assert_found("seq_check", &loops(Guards { seq_check: false, ..all }));
    assert_found("salvage", &loops(Guards { salvage: false, ..all }));
    assert_found("compare_and_set", &loops(Guards { flush: no_compare, ..all }));
    assert_found("dedupe", &loops(Guards { flush: no_dedupe, ..all }));
    assert_found("fence", &loops(Guards { fence: false, ..all }));
    let early = Without {
        scripts: vec!["trim_after_commit"],
        ..loops(Guards { trim_after_commit: false, ..all })
    };
    assert_found("trim_after_commit", &early);
}
