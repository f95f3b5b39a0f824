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
