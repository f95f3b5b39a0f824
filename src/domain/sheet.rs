//! What one request is measured against.

use super::limit::Limit;
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
    /// The instance of the limit's period.
    pub window: Window,
    /// Units the request adds.
    pub amount: Amount,
}

impl Line {
    /// Whether this limit refuses its amount when `used` units are used, as the script decides it.
    #[must_use]
    pub fn would_refuse(&self, used: Units) -> bool {
        let after = used.get() + u64::from(self.amount.get());
        let ceiling = self.limit.ceiling().unwrap_or(Units::MAX);
        self.amount > Amount::ZERO && after > ceiling.get()
    }
}

/// All limits that one request is measured against, each in its window.
///
/// A sheet does not name the subject, so that requests of many subjects on one plan share it. The outbox carries it
/// beside the events, which keeps a flush from working out windows and limits a second time (I9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// The plan that the limits come from, at the time of the request.
    pub plan: String,
    /// The limits, root level first.
    pub lines: Vec<Line>,
}

impl Sheet {
    /// The instants at which every line's window is current: from the latest start to the earliest end, in Unix
    /// milliseconds. A sheet without lines is current at any time.
    #[must_use]
    pub fn current_ms(&self) -> (i64, i64) {
        let start_s = self.lines.iter().map(|line| line.window.start_s).max();
        let end_s = self.lines.iter().map(|line| line.window.end_s).min();
        (start_s.unwrap_or(0) * 1_000, end_s.unwrap_or(Window::LIFETIME.end_s) * 1_000)
    }
}
