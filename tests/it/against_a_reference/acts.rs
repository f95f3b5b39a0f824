//! What admins do to counters, in the reference.

use headroom::domain::Calendar;
use headroom::domain::Limit;
use headroom::domain::Period;
use headroom::domain::Profile;
use headroom::quota::Ask;
use headroom::quota::NewCount;
use headroom::quota::ResetScope;
use headroom::quota::SetOrder;

use super::limits;
use super::lines::Line;
use super::lines::is_short;
use super::lines::slices;
use super::reference::Counter;
use super::reference::Reference;
use super::steps::Said;

impl Reference {
    pub(super) fn set(&mut self, path: &str, order: &SetOrder) -> Result<Said, String> {
        let ask = Ask::Metric(order.metric.clone());
        limits::charges(&self.catalogue, path, &ask)?;
        let rules = self.rules_now(path)?;
        let rolling = self.rolling(&rules);
        let last = rules.last();
        let is_set = |limit: &&Limit| {
            limit.metric == order.metric
                && !is_short(limit.period)
                && order.period.is_none_or(|period| period == limit.period)
        };
        let mut wanted: Vec<Limit> = last.limits.iter().filter(is_set).cloned().collect();
        if wanted.is_empty() {
            let period = order.period.unwrap_or(Period::Month);
            wanted.push(Limit::new(order.metric.clone(), period, None));
        }
        let lines: Vec<Line> =
            wanted.iter().map(|limit| self.line(path, limit, last.calendar, 0)).collect();
        self.roll(rolling);
        let (count, name): (Box<dyn Fn(u64) -> u64>, _) = match order.count {
            NewCount::Absolute(units) => (Box::new(move |_| units.get()), "usage.set"),
            NewCount::Less(units) => {
                (Box::new(move |used| used.saturating_sub(units.get())), "usage.decrement")
            }
        };
        let mut rewritten = Vec::new();
        for line in lines {
            let counted = self.count(&line);
            let before = counted.used;
            counted.used = count(before);
            let units = counted.used.cast_signed() - before.cast_signed();
            let Limit { metric, period, .. } = line.limit;
            rewritten.push((metric.to_string(), period, line.window.start_s, units));
        }
        Ok(self.act(name, rewritten))
    }

    pub(super) fn reset(&mut self, path: &str, scope: &ResetScope) -> Result<Said, String> {
        if let Some(metric) = &scope.metric {
            limits::charges(&self.catalogue, path, &Ask::Metric(metric.clone()))?;
        }
        let calendar = self.profiles.get(path).map_or(Calendar::UTC, Profile::calendar);
        let (now, now_ms) = (self.now(), self.now_ms);
        let is_cleared = |(level, metric, period, is_slice, start_s): &Counter| {
            let (from_s, to_s) = if *is_slice {
                let slices = slices(*period, now);
                (slices[6], slices[0] + 1)
            } else {
                let window = period.window_at(now, &calendar);
                (window.start_s, window.end_s)
            };
            level == path
                && scope.metric.as_ref().is_none_or(|wanted| wanted.as_str() == metric)
                && scope.period.map_or(*period != Period::Lifetime, |wanted| wanted == *period)
                && (from_s..to_s).contains(start_s)
        };
        let mut rewritten = Vec::new();
        for (counter, count) in &mut self.counters {
            if count.used > 0 && is_cleared(counter) {
                let (_, metric, period, _, start_s) = counter;
                let units = -std::mem::take(&mut count.used).cast_signed();
                count.reset_at_ms = Some(now_ms);
                rewritten.push((metric.clone(), *period, *start_s, units));
            }
        }
        Ok(self.act("usage.reset", rewritten))
    }

    fn act(&mut self, name: &'static str, mut rewritten: Vec<(String, Period, i64, i64)>) -> Said {
        self.events += 1;
        self.acts.push(name);
        rewritten.sort();
        Said::Rewritten(rewritten)
    }
}
