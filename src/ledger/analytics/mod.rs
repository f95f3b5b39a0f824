//! Analysts' questions: sums over the rollups and the open counters, never over the log. All go to the analysts' store.

mod denials;
mod near_limit;
mod subjects;
mod totals;

pub use denials::DenialTotals;
pub use near_limit::OpenCounter;
pub use subjects::SubjectDay;
pub use totals::DayTotal;
pub use totals::HourTotal;
pub use totals::MonthTotal;
