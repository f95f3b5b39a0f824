//! A limit of a level as a request meets it, with the counters that count.

use chrono::DateTime;
use chrono::Utc;
use headroom::domain::Calendar;
use headroom::domain::Limit;
use headroom::domain::Metric;
use headroom::domain::Period;
use headroom::domain::Units;
use headroom::domain::Window;

use super::limits::Rules;
use super::limits::UNITS_MAX;
use super::reference::Count;
use super::reference::Counter;
use super::reference::Reference;
use super::steps::LimitSaid;

/// A limit of a level as a request meets it.
#[derive(Clone, Debug)]
pub struct Line {
    pub path: String,
    pub limit: Limit,
    pub window: Window,
    /// The counters that count; the first is the one that is added to.
    pub counters: Vec<Counter>,
    /// Units that the whole request adds.
    pub units: u64,
}

impl Line {
    /// Whether nothing counts any more of what is added to its first counter.
    pub fn has_ended(&self, now_s: i64) -> bool {
        let Window { start_s, end_s } = self.window;
        let end_s =
            if self.limit.sliding { start_s + 7 * slice_s(self.limit.period) } else { end_s };
        end_s <= now_s
    }
}

impl Reference {
    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.now_ms).unwrap()
    }

    pub fn now_s(&self) -> i64 {
        self.now_ms.div_euclid(1_000)
    }

    pub fn line(&self, path: &str, limit: &Limit, calendar: Calendar, units: u64) -> Line {
        line_at(self.now(), path, limit, calendar, units)
    }

    /// The line with the slices that count now.
    pub fn as_now(&self, line: &Line) -> Line {
        if !line.limit.sliding {
            return line.clone();
        }
        let now = self.line(&line.path, &line.limit, Calendar::UTC, line.units);
        Line { counters: now.counters, ..line.clone() }
    }

    pub fn used(&self, line: &Line) -> u64 {
        let counts = line.counters.iter().filter_map(|counter| self.counters.get(counter));
        counts.map(|count| count.used).sum()
    }

    /// What the window before left to that of a line.
    pub fn carried(&self, line: &Line) -> u64 {
        self.counters.get(&line.counters[0]).and_then(|count| count.carried).unwrap_or(0)
    }

    /// The counter that a line adds to.
    pub fn count(&mut self, line: &Line) -> &mut Count {
        let none = Count { end_s: line.window.end_s, ..Count::default() };
        self.counters.entry(line.counters[0].clone()).or_insert(none)
    }

    /// A limit as it stands, neither violated nor denying.
    pub fn state(&self, line: &Line, granted: u64) -> LimitSaid {
        let max = line.limit.max.map(Units::get);
        let (used, held, carried) = (self.used(line), self.held(line).0, self.carried(line));
        let taken = UNITS_MAX.min(used + held);
        LimitSaid {
            path: line.path.clone(),
            metric: line.limit.metric.to_string(),
            period: line.limit.period,
            window: line.window,
            is_sliding: line.limit.sliding,
            max,
            used,
            held,
            carried,
            granted,
            remaining: max.map(|max| (max + carried).min(UNITS_MAX).saturating_sub(taken)),
            overage: max.map_or(0, |max| taken.saturating_sub(max + carried)),
            mode: line.limit.mode.as_str(),
            is_violated: false,
            would_deny: false,
        }
    }
}

/// The lines of metrics at an instant: the limits of all levels, or of a metric without any a month on the last.
pub fn lines_at(at: DateTime<Utc>, rules: &Rules<'_>, charged: &[(String, u64)]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (metric, units) in charged {
        let known = lines.len();
        for level in &rules.levels {
            let of_metric = level.limits.iter().filter(|limit| limit.metric.as_str() == metric);
            lines.extend(of_metric.map(|it| line_at(at, &level.path, it, level.calendar, *units)));
        }
        if lines.len() == known {
            let limit = Limit::new(Metric::new(metric).unwrap(), Period::Month, None);
            let last = rules.last();
            lines.push(line_at(at, &last.path, &limit, last.calendar, *units));
        }
    }
    lines
}

fn line_at(at: DateTime<Utc>, path: &str, limit: &Limit, calendar: Calendar, units: u64) -> Line {
    let counter =
        |start_s| (path.to_owned(), limit.metric.to_string(), limit.period, limit.sliding, start_s);
    let (window, counters) = if limit.sliding {
        let starts = slices(limit.period, at);
        let window = Window { start_s: starts[0], end_s: starts[0] + slice_s(limit.period) };
        (window, starts.into_iter().map(counter).collect())
    } else {
        let window = limit.period.window_at(at, &calendar);
        (window, vec![counter(window.start_s)])
    };
    Line { path: path.to_owned(), limit: limit.clone(), window, counters, units }
}

/// Whether Redis alone counts by the period.
pub fn is_short(period: Period) -> bool {
    period == Period::Minute || period == Period::Hour
}

/// A sixth of a period, in seconds.
fn slice_s(period: Period) -> i64 {
    if period == Period::Minute { 10 } else { 600 }
}

/// The first seconds of the slices that count at an instant, the current one first.
pub fn slices(period: Period, now: DateTime<Utc>) -> [i64; 7] {
    let length_s = slice_s(period);
    let current_s = now.timestamp() - now.timestamp() % length_s;
    [0, 1, 2, 3, 4, 5, 6].map(|back| current_s - back * length_s)
}

const _: () = assert!(UNITS_MAX == Units::MAX.get());
