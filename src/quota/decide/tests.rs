use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::Told;
use super::states;
use super::was_above;
use crate::counters::More;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::PackedSheet;
use crate::counters::StoredLine;
use crate::domain::Amount;
use crate::domain::Counts;
use crate::domain::Limit;
use crate::domain::LimitState;
use crate::domain::Line;
use crate::domain::Metric;
use crate::domain::Mode;
use crate::domain::Period;
use crate::domain::Portion;
use crate::domain::Sheet;
use crate::domain::Subject;
use crate::domain::Tally;
use crate::domain::Units;
use crate::domain::Window;

const DAY: Window = Window { start_s: 0, end_s: 86_400 };

fn units(count: u64) -> Units {
    Units::new(count).unwrap()
}

fn stored(units_charged: i64, max: Option<u64>, mode: Mode) -> StoredLine {
    StoredLine {
        depth: 1,
        metric: Metric::new("messages").unwrap(),
        period: Period::Day,
        window: DAY,
        grant: None,
        tally: Tally::Used,
        sliding: false,
        units: units_charged,
        max: max.map(units),
        mode,
        warning_percent: 80,
        critical_percent: 95,
        used: Units::ZERO,
        after: None,
    }
}

#[test]
fn a_charge_was_above_a_shadow_limit_alone_and_when_it_took_more_than_there_was() {
    let taken = Counts { used: units(8), held: units(4), carried: units(2), granted: units(9) };
    let above = |line: StoredLine| was_above(&line, taken);

    assert!(above(stored(1, Some(9), Mode::Shadow)), "12 are taken of 9 and 2 carried");
    assert!(!above(stored(1, Some(10), Mode::Shadow)), "12 are taken of 10 and 2 carried");
    assert!(!above(stored(0, Some(9), Mode::Shadow)), "nothing was charged");
    assert!(!above(stored(1, None, Mode::Shadow)), "there is no limit");
    assert!(!above(stored(1, Some(9), Mode::Hard)), "the limit is no shadow");
}

fn line(depth: u8, metric: &str, max: u64) -> Line {
    let limit = Limit::new(Metric::new(metric).unwrap(), Period::Day, Some(units(max)));
    Line { depth, limit, window: DAY, weight: Amount::ONE, earlier_s: Vec::new() }
}

/// The limits of five units of that kind, when each line has 8 used and so many units of grants.
fn told(
    kind: OperationKind,
    lines: Vec<Line>,
    granted: &[u64],
    is_refused: bool,
) -> Vec<LimitState> {
    let used = lines.iter().map(|_| units(8)).collect();
    let granted = granted.iter().map(|count| units(*count)).collect();
    let more =
        More { held: Vec::new(), carried: Vec::new(), granted, free_at_s: None, room_at_s: None };
    let sheet = Sheet {
        plan: "p".to_owned(),
        depth: 2,
        lines,
        grants: Vec::new(),
        rolling: Vec::new(),
        until_s: None,
    };
    let operation = Operation {
        kind,
        subject: Subject::parse("org:a/user:b").unwrap(),
        sheet: Arc::new(PackedSheet::charge(sheet)),
        event_id: Uuid::nil(),
        idempotency: None,
        model: None,
        request_id: String::new(),
        trace_id: None,
        metadata: None,
        amount: units(5),
        hold: None,
        refunds: None,
        profile_versions: [0; Subject::LEVELS_MAX],
        deadline: Instant::now(),
        since_seq: None,
        since_epoch: 1,
    };
    states(&operation, &Told { used, more: Some(Box::new(more)) }, is_refused)
}

#[test]
fn a_shadow_limit_is_measured_against_what_is_charged_or_would_be() {
    let would_deny = |kind, max, is_refused| {
        let mut line = line(1, "messages", max);
        line.limit.mode = Mode::Shadow;
        told(kind, vec![line], &[], is_refused)[0].would_deny
    };

    for kind in [OperationKind::Consume, OperationKind::Reserve] {
        assert!(would_deny(kind, 7, false), "8 are taken of 7, with these five");
        assert!(!would_deny(kind, 8, false), "8 are taken of 8, with these five");
    }
    for (kind, is_refused) in [(OperationKind::Check, false), (OperationKind::Consume, true)] {
        assert!(would_deny(kind, 12, is_refused), "13 would be taken of 12");
        assert!(!would_deny(kind, 13, is_refused), "13 would be taken of 13");
    }
}

#[test]
fn the_share_that_may_be_held_is_violated_by_refused_holds_alone() {
    let violated = |kind, is_refused| {
        let mut line = line(1, "messages", 100);
        line.limit.hold_max = Some(Portion::Units(units(4)));
        told(kind, vec![line], &[], is_refused)[0].violated
    };

    assert!(violated(OperationKind::Reserve, true));
    assert!(!violated(OperationKind::Reserve, false));
    assert!(!violated(OperationKind::Consume, true));
}

#[test]
fn grants_spare_the_limits_of_their_level_and_metric() {
    let lines = || {
        vec![
            line(1, "messages", 10),
            line(1, "messages", 9),
            line(1, "tokens", 10),
            line(2, "messages", 10),
        ]
    };
    let violated = |granted: &[u64]| {
        let states = told(OperationKind::Consume, lines(), granted, true);
        states.iter().map(|state| state.violated).collect::<Vec<_>>()
    };

    // Three of the five units have no room below 10: that many come from grants, and the other two are charged.
    assert_eq!(violated(&[4, 0, 0, 0]), [false, true, true, true]);
    assert_eq!(violated(&[2, 0, 0, 0]), [true, true, true, true]);
    assert_eq!(violated(&[4, 4, 0, 0]), [false, false, true, true]);
}
