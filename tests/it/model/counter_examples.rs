//! Each guard is needed: without it the search finds a shortest way to a broken promise.
//!
//! The traces are part of the tests: a change of the model that makes one longer or shorter is a
//! change of what the guard protects from, and should be read before it is accepted.

use super::bounds::Bounds;
use super::bounds::Guards;
use super::bounds::Model;
use super::invariants::Broken;
use super::search::Outcome;
use super::search::Trace;

/// One flusher and one eviction.
const EVICTION: Bounds = Bounds { evictions: 1, ..Bounds::CALM };

/// One flusher and one failover to a replica that may lag.
const FAILOVER: Bounds = Bounds { failovers: 1, ..Bounds::CALM };

/// Two flushers and no faults but their crashes.
const TWO_FLUSHERS: Bounds = Bounds { flushers: 2, ..Bounds::CALM };

/// The first counter is loaded and the first unit consumed.
const FIRST_UNIT: &str = "load reads, load applies, consume";

/// The replica hears of the loaded counter and not of the unit, which reaches Postgres; then the replica takes over.
const LOGGED_THEN_LOST: &str = "load reads, load applies, replicate, consume, \
     flusher 0 reads, flusher 0 commits, failover";

#[track_caller]
fn assert_breaks(guards: Guards, bounds: Bounds, broken: Broken, steps: &[&str]) {
    let steps = steps.iter().flat_map(|part| part.split(", "));
    let trace = Trace { broken, steps: steps.map(str::to_owned).collect() };
    let outcome = Model { guards, bounds }.search();
    assert_eq!(outcome, Outcome::Breaks(trace));
}

/// Guards I2: a snapshot from before a trim misses the trimmed units in both places.
#[test]
fn a_load_without_the_floor_check_forgets_units_that_were_flushed_meanwhile() {
    let guards = Guards { floor_check: false, ..Guards::ALL };
    let steps =
        [FIRST_UNIT, "evict, load reads, flusher 0 reads, flusher 0 commits, trim, load applies"];
    assert_breaks(guards, EVICTION, Broken::LoadedCounter, &steps);
}

/// Guards I2: units that wait in the outbox are part of the counter.
#[test]
fn a_load_without_the_outbox_tail_forgets_units_that_are_not_flushed() {
    let guards = Guards { tail: false, ..Guards::ALL };
    let steps = [FIRST_UNIT, "evict, load reads, load applies"];
    assert_breaks(guards, EVICTION, Broken::LoadedCounter, &steps);
}

/// Guards I2: the slower of two flushers must not move the cursor back.
#[test]
fn a_flusher_without_the_cursor_compare_and_set_moves_the_cursor_back() {
    let guards = Guards { cursor_compare_and_set: false, ..Guards::ALL };
    let steps = [
        FIRST_UNIT,
        "flusher 0 reads, consume, flusher 1 reads, flusher 1 commits, flusher 0 commits",
    ];
    assert_breaks(guards, TWO_FLUSHERS, Broken::TailAlreadyCounted, &steps);
}

/// Guards I1: when the cursor does not stop a second flusher, counting only newly logged events must.
#[test]
fn a_flusher_without_dedupe_counts_twice_what_the_cursor_lets_through() {
    let guards = Guards { cursor_compare_and_set: false, dedupe: false, ..Guards::ALL };
    let steps =
        [FIRST_UNIT, "flusher 0 reads, flusher 1 reads, flusher 0 commits, flusher 1 commits"];
    assert_breaks(guards, TWO_FLUSHERS, Broken::LedgerSum, &steps);
}

/// Guards I2: a rollback shows as a sequence behind the cursor's, and nothing else shows it.
#[test]
fn a_failover_without_the_sequence_check_is_taken_for_the_truth() {
    let guards = Guards { seq_check: false, ..Guards::ALL };
    let steps = [LOGGED_THEN_LOST];
    assert_breaks(guards, FAILOVER, Broken::LoadedCounter, &steps);
}

/// Guards I2: recovery touches no counter, so an old one must be known by its epoch.
#[test]
fn a_counter_without_an_epoch_survives_recovery_with_a_wrong_count() {
    let guards = Guards { epoch_in_counter: false, ..Guards::ALL };
    let steps = [LOGGED_THEN_LOST, "fence, salvage, open"];
    assert_breaks(guards, FAILOVER, Broken::LoadedCounter, &steps);
}

/// Guards promise 3: what a flusher has read is not yet in Postgres.
#[test]
fn a_trim_before_the_commit_loses_an_acknowledged_unit() {
    let guards = Guards { trim_after_commit: false, ..Guards::ALL };
    let steps = [FIRST_UNIT, "flusher 0 reads, trim"];
    assert_breaks(guards, Bounds::CALM, Broken::LostOperation, &steps);
}

/// Guards promise 3: units accepted between a failover and its detection are only in the outbox.
#[test]
fn a_recovery_without_salvage_loses_units_accepted_after_the_failover() {
    let guards = Guards { salvage: false, ..Guards::ALL };
    let steps = [LOGGED_THEN_LOST, "consume, fence, salvage, open"];
    assert_breaks(guards, FAILOVER, Broken::LostOperation, &steps);
}

/// Guards promise 3: a unit accepted after the outbox was read for salvage would be thrown away at opening.
#[test]
fn a_recovery_without_the_fence_loses_units_accepted_during_it() {
    let guards = Guards { fence: false, ..Guards::ALL };
    let steps = [LOGGED_THEN_LOST, "salvage, consume, open"];
    assert_breaks(guards, FAILOVER, Broken::LostOperation, &steps);
}

/// Guards I1: a reset past the outbox is undone by the events that were waiting in it.
#[test]
fn a_reset_that_deletes_is_undone_by_the_outbox() {
    let guards = Guards { reset_as_event: false, ..Guards::ALL };
    let bounds = Bounds { resets: 1, ..Bounds::CALM };
    let steps = [FIRST_UNIT, "deleting reset, flusher 0 reads, flusher 0 commits"];
    assert_breaks(guards, bounds, Broken::ResetUndone, &steps);
}
