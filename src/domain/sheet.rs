//! What one request is measured against.

use chrono::DateTime;
use chrono::Utc;

use super::calendar::Calendar;
use super::grant::GrantLine;
use super::limit::Limit;
use super::limit::Mode;
use super::period::Window;
use super::units::Amount;
use super::units::Units;

/// One limit of one level of the subject, and what the request adds to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The level the limit belongs to; 1 is the root.
    pub depth: u8,
    /// The rule.
    pub limit: Limit,
    /// The instance of the limit's period; for a sliding limit the current slice.
    pub window: Window,
    /// Units that each one of the request's amount adds.
    pub weight: Amount,
    /// For a sliding limit, the first seconds of the slices before the window that still count.
    pub earlier_s: Vec<i64>,
}

impl Line {
    /// The line of a limit at an instant, in the calendar of the subject's level.
    #[must_use]
    pub fn at(
        depth: u8,
        limit: Limit,
        weight: Amount,
        at: DateTime<Utc>,
        calendar: &Calendar,
    ) -> Self {
        let slices = limit.period.slices(at).filter(|_| limit.sliding);
        let window =
            slices.map_or_else(|| limit.period.window_at(at, calendar), |slices| slices.current);
        let earlier_s = slices.map_or_else(Vec::new, |slices| slices.earlier_s.to_vec());
        Self { depth, limit, window, weight, earlier_s }
    }

    /// The units that an amount adds.
    #[must_use]
    pub const fn units(&self, amount: Units) -> u64 {
        (self.weight.get() as u64).saturating_mul(amount.get())
    }

    /// The units of the amount for which the limit has no room, and which would come from grants.
    #[must_use]
    pub fn excess(&self, counts: Counts, amount: Units) -> u64 {
        let units = self.units(amount);
        let allowance = self.limit.allowance().unwrap_or(Units::MAX);
        let room = allowance.saturating_add(counts.carried.get()).saturating_sub(counts.taken());
        units.saturating_sub(room.get())
    }

    /// Whether this limit refuses the amount at those counts, as the script decides it, when `spared` units come from
    /// grants.
    #[must_use]
    pub fn would_refuse(&self, counts: Counts, amount: Units, spared: u64) -> bool {
        let units = self.units(amount).saturating_sub(spared);
        let ceiling =
            self.limit.ceiling().unwrap_or(Units::MAX).saturating_add(counts.carried.get());
        units > 0 && counts.used.get() + counts.held.get() + units > ceiling.get()
    }

    /// Whether a hold of the amount is refused for the share of the limit that may be held.
    #[must_use]
    pub fn would_hold_too_much(&self, counts: Counts, amount: Units, spared: u64) -> bool {
        let units = self.units(amount).saturating_sub(spared);
        let is_above = |most: Units| counts.held.saturating_add(units) > most;
        units > 0 && self.limit.hold_units().is_some_and(is_above)
    }

    /// Whether a charge of the amount, which leaves `taken` of the counts, passes only because the limit is in shadow mode.
    #[must_use]
    pub fn would_deny(&self, counts: Counts, taken: Units, amount: Units) -> bool {
        let is_shadow = self.limit.mode == Mode::Shadow && self.units(amount) > 0;
        let is_above = |max: Units| taken > max.saturating_add(counts.carried.get());
        is_shadow && self.limit.max.is_some_and(is_above)
    }
}

/// What counts of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Units used.
    pub used: Units,
    /// Units held for work in progress.
    pub held: Units,
    /// Units that the window before left.
    pub carried: Units,
    /// Bonus units that are left.
    pub granted: Units,
}

impl Counts {
    /// Units used or held.
    #[must_use]
    pub fn taken(self) -> Units {
        self.used.saturating_add(self.held.get())
    }
}

/// All limits that one request is measured against, each in its window.
///
/// A sheet does not name the subject, so that requests of many subjects on one plan share it. The outbox carries it
/// beside the events, which keeps a flush from working out windows and limits a second time (I9).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheet {
    /// The plan that the limits come from, at the time of the request.
    pub plan: String,
    /// How many levels the subject's path has, 1–4.
    pub depth: u8,
    /// The limits, root level first.
    pub lines: Vec<Line>,
    /// What is charged past the limits, root level first, and of one level and metric in the order in which it is used up.
    pub grants: Vec<GrantLine>,
    /// Limits of its levels whose windows begin with what those before them left, whatever the request charges.
    pub rolling: Vec<Line>,
    /// When a grant or a raised limit ends and the sheet with it, in Unix seconds.
    pub until_s: Option<i64>,
}

impl Sheet {
    /// The instants at which every line's window is current, that of a rolling one too: from the latest start to the
    /// earliest end, in Unix milliseconds. A sheet without lines is current at any time.
    #[must_use]
    pub fn current_ms(&self) -> (i64, i64) {
        let windows = || self.lines.iter().chain(&self.rolling).map(|line| line.window);
        let start_s = windows().map(|window| window.start_s).max();
        let end_s = windows().map(|window| window.end_s).chain(self.until_s).min();
        (start_s.unwrap_or(0) * 1_000, end_s.unwrap_or(Window::LIFETIME.end_s) * 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Metric;
    use crate::domain::Period;
    use crate::domain::Portion;

    fn units(units: u64) -> Units {
        Units::new(units).unwrap()
    }

    fn limit(max: Option<u64>) -> Limit {
        Limit::new(Metric::new("messages").unwrap(), Period::Month, max.map(units))
    }

    /// A line on which each one of an amount adds two units.
    fn line(limit: Limit) -> Line {
        let window = Window { start_s: 10, end_s: 20 };
        let weight = Amount::new(2).unwrap();
        Line { depth: 1, limit, window, weight, earlier_s: Vec::new() }
    }

    fn counts(used: u64, held: u64, carried: u64) -> Counts {
        Counts {
            used: units(used),
            held: units(held),
            carried: units(carried),
            granted: Units::ZERO,
        }
    }

    #[test]
    fn a_charge_is_refused_from_the_first_unit_that_has_no_room() {
        let hard = line(limit(Some(10)));
        assert_eq!((hard.units(units(3)), counts(4, 3, 5).taken()), (6, units(7)));
        for (counts, amount, spared, refused) in [
            (counts(4, 2, 0), 2, 0, false),
            (counts(5, 2, 0), 2, 0, true),
            (counts(5, 2, 1), 2, 0, false),
            (counts(5, 2, 0), 2, 1, false),
            (counts(50, 0, 0), 1, 2, false),
        ] {
            assert_eq!(hard.would_refuse(counts, units(amount), spared), refused, "{counts:?}");
        }
        assert!(!line(limit(None)).would_refuse(counts(50, 0, 0), units(1), 0));
    }

    #[test]
    fn what_the_limit_has_no_room_for_comes_from_grants() {
        let hard = line(limit(Some(10)));
        assert_eq!(hard.excess(counts(4, 2, 0), units(2)), 0);
        assert_eq!(hard.excess(counts(4, 3, 0), units(2)), 1);
        assert_eq!(hard.excess(counts(4, 3, 1), units(2)), 0);
        assert_eq!(hard.excess(counts(40, 0, 0), units(2)), 4);
        let shadow = Limit { mode: Mode::Shadow, ..limit(Some(10)) };
        assert_eq!(
            (shadow.allowance(), line(shadow).excess(counts(40, 0, 0), units(2))),
            (None, 0)
        );
    }

    #[test]
    fn holds_end_at_their_share() {
        let half = line(Limit { hold_max: Some(Portion::Percent(50)), ..limit(Some(10)) });
        assert_eq!(half.limit.hold_units(), Some(units(5)));
        assert!(!half.would_hold_too_much(counts(9, 3, 0), units(1), 0));
        assert!(half.would_hold_too_much(counts(0, 4, 0), units(1), 0));
        assert!(!half.would_hold_too_much(counts(0, 4, 0), units(1), 1));
        assert!(!half.would_hold_too_much(counts(0, 6, 0), units(1), 2));
        let fixed = Limit { hold_max: Some(Portion::Units(units(3))), ..limit(None) };
        assert_eq!(fixed.hold_units(), Some(units(3)));
        assert_eq!(limit(Some(10)).hold_units(), None);
        assert!(!line(limit(Some(10))).would_hold_too_much(counts(0, 99, 0), units(1), 0));
    }

    #[test]
    fn a_shadow_limit_tells_what_it_would_have_refused() {
        let shadow = line(Limit { mode: Mode::Shadow, ..limit(Some(10)) });
        assert!(!shadow.would_deny(counts(8, 0, 0), units(10), units(1)));
        assert!(shadow.would_deny(counts(9, 0, 0), units(11), units(1)));
        assert!(!shadow.would_deny(counts(9, 0, 1), units(11), units(1)));
        assert!(!shadow.would_deny(counts(11, 0, 0), units(11), units(0)));
        assert!(!line(limit(Some(10))).would_deny(counts(9, 0, 0), units(11), units(1)));
    }

    #[test]
    fn shares_of_a_limit_are_of_its_max() {
        let of = |portion| Limit { rollover: portion, refund_max: portion, ..limit(Some(10)) };
        let half = of(Some(Portion::Percent(50)));
        assert_eq!((half.rollover_units(), half.refund_units()), (units(5), Some(units(5))));
        let fixed = of(Some(Portion::Units(units(7))));
        assert_eq!((fixed.rollover_units(), fixed.refund_units()), (units(7), Some(units(7))));
        assert_eq!((of(None).rollover_units(), of(None).refund_units()), (Units::ZERO, None));
        assert_eq!(limit(Some(10)).allowance(), Some(units(10)));
    }

    #[test]
    fn a_sheet_is_current_while_all_windows_are() {
        let over = |start_s, end_s| Line { window: Window { start_s, end_s }, ..line(limit(None)) };
        let sheet = Sheet { lines: vec![over(10, 20), over(5, 30)], ..Sheet::default() };
        assert_eq!(sheet.current_ms(), (10_000, 20_000));
        assert_eq!(over(10, 20).window.ms(), (10_000, 20_000));
        let rolling = Sheet { rolling: vec![over(12, 18)], ..sheet.clone() };
        assert_eq!(rolling.current_ms(), (12_000, 18_000));
        assert_eq!(Sheet { until_s: Some(15), ..sheet }.current_ms(), (10_000, 15_000));
        assert_eq!(Sheet::default().current_ms(), (0, Window::LIFETIME.end_s * 1_000));
    }
}
