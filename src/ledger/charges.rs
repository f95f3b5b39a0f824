//! What an event used, by metric, as `message_logs.charges` holds it.

use std::collections::BTreeMap;

use crate::domain::EventKind;
use crate::domain::Tally;
use crate::domain::event::Delta;

/// What one level used of one metric.
#[derive(Clone, Copy, Default)]
struct Share {
    /// Of the plan: every limit counts the same units, so the largest delta is what was used.
    plan: i64,
    /// Of grants: each counts units of its own.
    grants: i64,
}

/// Units used by metric: those of the level that used most of it, since every level counts the same units. Negative of a
/// refund. Kinds that use nothing have none.
pub(super) fn charges_of(kind: EventKind, lines: &[Delta]) -> BTreeMap<&str, i64> {
    let sign = match kind {
        EventKind::Consume | EventKind::Set | EventKind::Commit => 1,
        EventKind::Refund => -1,
        EventKind::Reset
        | EventKind::Reserve
        | EventKind::Release
        | EventKind::Expire
        | EventKind::Extend
        | EventKind::Transfer
        | EventKind::Rollover => return BTreeMap::new(),
    };
    let mut charges: BTreeMap<&str, i64> = BTreeMap::new();
    for ((metric, _), share) in shares(sign, lines) {
        let charge = charges.entry(metric).or_default();
        *charge = share.plan.saturating_add(share.grants).max(*charge);
    }
    charges.into_iter().map(|(metric, units)| (metric, units * sign)).collect()
}

/// What each level used of each metric, as far as it goes in the direction of `sign`.
fn shares(sign: i64, lines: &[Delta]) -> BTreeMap<(&str, u8), Share> {
    let mut shares: BTreeMap<(&str, u8), Share> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.tally == Tally::Used) {
        let units = line.units.saturating_mul(sign);
        if units > 0 {
            let share = shares.entry((line.metric.as_str(), line.depth)).or_default();
            match line.grant {
                None => share.plan = share.plan.max(units),
                Some(_) => share.grants = share.grants.saturating_add(units),
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Metric;
    use crate::domain::Period;
    use crate::domain::Window;

    fn line(depth: u8, metric: &str, grant: Option<u64>, tally: Tally, units: i64) -> Delta {
        let metric = Metric::new(metric).unwrap();
        let (period, window) = (Period::Lifetime, Window::LIFETIME);
        Delta { depth, metric, period, window, grant, tally, units, after: None, limit: None }
    }

    fn charges(kind: EventKind, lines: &[Delta]) -> Vec<(&str, i64)> {
        charges_of(kind, lines).into_iter().collect()
    }

    #[test]
    fn a_charge_is_that_of_the_level_that_used_most() {
        let used = |depth, grant, units| line(depth, "messages", grant, Tally::Used, units);
        let lines = [
            used(1, None, 10),
            used(2, None, 6),
            used(2, None, 4),
            used(2, Some(7), 3),
            used(2, Some(8), 1),
            line(2, "tokens", None, Tally::Used, 40),
        ];
        for kind in [EventKind::Consume, EventKind::Commit] {
            assert_eq!(charges(kind, &lines), [("messages", 10), ("tokens", 40)]);
            assert_eq!(charges(kind, &lines[1..]), [("messages", 10), ("tokens", 40)]);
            assert_eq!(charges(kind, &lines[2..4]), [("messages", 7)]);
        }
    }

    #[test]
    fn a_refund_charges_what_it_gives_back_below_zero() {
        let lines = [
            line(1, "messages", None, Tally::Used, -2),
            line(1, "messages", None, Tally::Refunded, 2),
            line(1, "messages", Some(7), Tally::Used, -3),
        ];
        assert_eq!(charges(EventKind::Refund, &lines), [("messages", -5)]);
    }

    #[test]
    fn what_is_held_carried_or_given_away_is_no_charge() {
        let held = line(1, "messages", None, Tally::Held { until_s: 9 }, 5);
        let used = line(1, "messages", Some(7), Tally::Used, 5);
        assert_eq!(charges(EventKind::Commit, std::slice::from_ref(&held)), []);
        for kind in [
            EventKind::Reserve,
            EventKind::Release,
            EventKind::Expire,
            EventKind::Extend,
            EventKind::Rollover,
            EventKind::Transfer,
            EventKind::Reset,
        ] {
            assert_eq!(charges(kind, &[held.clone(), used.clone()]), []);
        }
    }
}
