//! What windows leave to the next, in the reference.

use headroom::domain::Calendar;
use headroom::domain::Limit;
use headroom::domain::Period;

use super::limits;
use super::limits::Rules;
use super::lines::Line;
use super::reference::Reference;

impl Reference {
    /// The limits of a path that roll over, by level, and the calendar of each.
    pub fn rolling(&self, rules: &Rules<'_>) -> Vec<(Calendar, Vec<Line>)> {
        let of_level = rules.levels.iter().map(|level| {
            let rolling = level.limits.iter().filter(|limit| limit.rollover.is_some());
            let line = |limit: &Limit| self.line(&level.path, limit, level.calendar, 0);
            (level.calendar, rolling.map(line).collect())
        });
        of_level.collect()
    }

    /// Begins the windows that nobody has begun, with what those before them left: an event a level.
    pub fn roll(&mut self, levels: Vec<(Calendar, Vec<Line>)>) {
        for (calendar, lines) in levels {
            let is_new = |line: &&Line| !self.counters.contains_key(&line.counters[0]);
            let new: Vec<Line> = lines.iter().filter(is_new).cloned().collect();
            let left: Vec<u64> = new.iter().map(|line| self.left_before(line, calendar)).collect();
            for (line, left) in new.iter().zip(left) {
                self.count(line).carried = Some(left);
            }
            if !new.is_empty() {
                (self.events, self.has_rolled) = (self.events + 1, true);
            }
        }
    }

    fn left_before(&self, line: &Line, calendar: Calendar) -> u64 {
        let last = line.window.start_at() - chrono::TimeDelta::seconds(1);
        let before_s = Period::window_at(line.limit.period, last, &calendar).start_s;
        let mut counter = line.counters[0].clone();
        counter.4 = before_s;
        let (held, _) = self.held(&Line { counters: vec![counter.clone()], ..line.clone() });
        let max = line.limit.max.unwrap().get();
        let most = limits::portion(line.limit.rollover.unwrap(), max);
        match self.counters.get(&counter) {
            Some(count) => {
                let own = (count.used + held).saturating_sub(count.carried.unwrap_or(0));
                most.min(max.saturating_sub(own))
            }
            None if held > 0 || self.known.contains(&line.path) => {
                most.min(max.saturating_sub(held))
            }
            None => 0,
        }
    }
}
