//! Decisions, counted by outcome.

use std::sync::LazyLock;

use metrics::Counter;

use crate::domain::Decision;
use crate::telemetry;
use crate::telemetry::names;

const OUTCOMES: [&str; 4] = ["allowed", "refused", "replayed", "degraded"];

/// Counts a decision. Each counter is looked up by its label once; a look-up costs more than all else that is counted.
pub(super) fn count(decision: &Decision) {
    static COUNTERS: LazyLock<[Counter; OUTCOMES.len()]> = LazyLock::new(|| {
        telemetry::metrics(); // a counter that is made before the recorder counts nothing
        OUTCOMES.map(|outcome| metrics::counter!(names::DECISIONS_TOTAL, "outcome" => outcome))
    });
    COUNTERS[place(decision)].increment(1);
}

/// The outcome's place in [`OUTCOMES`].
const fn place(decision: &Decision) -> usize {
    match (decision.allowed, decision.replayed, decision.degraded) {
        (_, _, true) => 3,
        (_, true, _) => 2,
        (false, ..) => 1,
        (true, ..) => 0,
    }
}
