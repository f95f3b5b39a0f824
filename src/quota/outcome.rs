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

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(allowed: bool, replayed: bool, degraded: bool) -> Decision {
        Decision { allowed, degraded, replayed, ..Decision::default() }
    }

    #[test]
    fn each_decision_is_counted_by_its_outcome() {
        let of =
            |allowed, replayed, degraded| OUTCOMES[place(&decision(allowed, replayed, degraded))];

        assert_eq!([of(true, false, false), of(false, false, false)], ["allowed", "refused"]);
        assert_eq!([of(true, true, false), of(false, true, false)], ["replayed", "replayed"]);
        assert_eq!([of(true, false, true), of(false, true, true)], ["degraded", "degraded"]);
    }

    #[test]
    fn a_decision_is_among_the_metrics() {
        count(&decision(true, false, true));

        let text = telemetry::metrics().render();
        let line = format!("{}{{outcome=\"degraded\"}}", names::DECISIONS_TOTAL);
        assert!(text.lines().any(|it| it.starts_with(&line) && !it.ends_with(" 0")), "{text}");
    }
}
