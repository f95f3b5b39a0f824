//! Decisions for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::Calendar;
use crate::domain::Decision;
use crate::domain::Limit;
use crate::domain::LimitState;
use crate::domain::Metric;
use crate::domain::Mode;
use crate::domain::Period;
use crate::domain::Subject;
use crate::domain::Units;
use crate::quota::Usage;

/// 2025-11-22T08:26:40.500Z.
pub const DECIDED_AT_MS: i64 = 1_763_800_000_500;

/// A hard limit in the window that holds [`DECIDED_AT_MS`].
pub fn limit(
    subject: &str,
    metric: &str,
    period: Period,
    max: Option<u64>,
    used: u64,
) -> LimitState {
    LimitState {
        subject: subject.into(),
        metric: Metric::new(metric).unwrap(),
        period,
        window: period.window_at(
            chrono::DateTime::from_timestamp_millis(DECIDED_AT_MS).unwrap(),
            &Calendar::UTC,
        ),
        sliding: false,
        max: max.map(|max| Units::new(max).unwrap()),
        mode: Mode::Hard,
        warning_percent: Limit::WARNING_PERCENT,
        critical_percent: Limit::CRITICAL_PERCENT,
        used: Units::new(used).unwrap(),
        reserved: Units::ZERO,
        carried: Units::ZERO,
        granted: Units::ZERO,
        violated: false,
        would_deny: false,
    }
}

/// The usage of a subject on the plan `chat` in UTC, without features, at [`DECIDED_AT_MS`].
pub fn usage(subject: &str, limits: Vec<LimitState>) -> Usage {
    Usage {
        subject: Subject::parse(subject).unwrap(),
        plan: "chat".to_owned(),
        limits,
        features: BTreeMap::new(),
        upgrade_url: None,
        is_blocked: false,
        calendar: Calendar::UTC,
        last_reset_at: None,
        decided_at_ms: DECIDED_AT_MS,
    }
}

/// An accepted decision about `user:u_1` with those limits.
pub fn decision(limits: Vec<LimitState>) -> Decision {
    Decision {
        allowed: limits.iter().all(|state| !state.violated),
        event_id: None,
        limits,
        memo: Arc::default(),
        degraded: false,
        replayed: false,
        request_id: "req-1".to_owned(),
        plan: "chat".to_owned(),
        upgrade_url: None,
        recommended_plan: None,
        decided_at_ms: DECIDED_AT_MS,
        hold: None,
        free_at_s: None,
        room_at_s: None,
    }
}
