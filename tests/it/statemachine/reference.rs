//! What every answer must be: rules over a map of counters, with a clock that stands still.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use headroom::domain::Calendar;
use headroom::domain::Catalogue;
use headroom::domain::Limit;
use headroom::domain::Metric;
use headroom::domain::Mode;
use headroom::domain::Period;
use headroom::domain::Profile;
use headroom::domain::Units;
use headroom::domain::Window;
use headroom::quota::Ask;
use headroom::quota::NewCount;
use headroom::quota::ResetScope;
use headroom::quota::SetOrder;

use super::limits;
use super::limits::UNITS_MAX;
use super::steps::Asked;
use super::steps::Jump;
use super::steps::LimitSaid;
use super::steps::Said;
use super::steps::Step;

/// Path, metric, period, whether it is a slice, first second of the window.
pub type Counter = (String, String, Period, bool, i64);

/// What a counter holds, as Postgres has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub end_s: i64,
    pub used: u64,
    /// When it was last cleared, in Unix milliseconds.
    pub reset_at_ms: Option<i64>,
}

/// The whole state of the system, and what it said last.
#[derive(Clone, Debug)]
pub struct Reference {
    pub now_ms: i64,
    pub catalogue: Catalogue,
    pub profiles: BTreeMap<String, Profile>,
    pub counters: BTreeMap<Counter, Count>,
    answered: BTreeMap<(&'static str, u8), (Asked, Said)>,
    /// Accepted consumes and acts.
    pub events: usize,
    /// Acts on counters, by name.
    pub acts: Vec<&'static str>,
    pub said: Said,
}

/// A limit of a level as a request meets it.
struct Line {
    path: String,
    limit: Limit,
    window: Window,
    counters: Vec<Counter>,
    /// Units that the whole request adds.
    units: u64,
}

impl Reference {
    pub fn new(now_ms: i64, catalogue: Catalogue) -> Self {
        Self {
            now_ms,
            catalogue,
            profiles: BTreeMap::new(),
            counters: BTreeMap::new(),
            answered: BTreeMap::new(),
            events: 0,
            acts: Vec::new(),
            said: Said::Done,
        }
    }

    /// Does what a command does, and keeps what is said to it.
    pub fn take(&mut self, step: &Step) {
        let said = match step {
            Step::Put { path, profile, .. } => self.put(path, profile),
            Step::Delete { path, .. } => match self.profiles.remove(*path) {
                Some(_) => Ok(Said::Done),
                None => Err("unknown_subject".to_owned()),
            },
            Step::Replace { catalogue, .. } => {
                self.catalogue = catalogue.clone();
                Ok(Said::Done)
            }
            Step::Order { asked, is_check, .. } => self.order(asked, *is_check),
            Step::Look { path, .. } => self.look(path),
            Step::Set { path, order, .. } => self.set(path, order),
            Step::Reset { path, scope, .. } => self.reset(path, scope),
            Step::Move(jump) => {
                self.now_ms = self.after(*jump);
                Ok(Said::Done)
            }
            Step::Recover { .. } => {
                // Redis alone has counters of minutes and hours.
                self.counters.retain(|counter, _| !is_short(counter.2));
                Ok(Said::Done)
            }
            Step::Evict { .. } | Step::ForgetScripts | Step::Flush { .. } => Ok(Said::Done),
        };
        self.said = said.unwrap_or_else(Said::Refused);
    }

    fn put(&mut self, path: &str, profile: &Profile) -> Result<Said, String> {
        let Catalogue { plans, metrics, features, .. } = &self.catalogue;
        let fits = profile.plan.as_ref().is_none_or(|plan| plans.contains_key(plan))
            && profile.limits.iter().all(|limit| metrics.contains(&limit.metric))
            && profile.features.keys().all(|feature| features.contains(feature));
        if !fits {
            return Err("bad_profile".to_owned());
        }
        self.profiles.insert(path.to_owned(), profile.clone());
        Ok(Said::Done)
    }

    fn order(&mut self, asked: &Asked, is_check: bool) -> Result<Said, String> {
        let (charges, feature) = limits::charges(&self.catalogue, asked.path, &asked.ask)?;
        let is_charge = !is_check && asked.amount > 0;
        let key = asked.key.filter(|_| is_charge).map(|key| (asked.path, key));
        if let Some((first, said)) = key.and_then(|key| self.answered.get(&key)) {
            let is_same = (&first.ask, first.amount) == (&asked.ask, asked.amount);
            return if is_same { Ok(said.clone()) } else { Err("mismatch".to_owned()) };
        }
        let rules = limits::rules(&self.catalogue, &self.profiles, asked.path)?;
        if let Some(path) = rules.blocked() {
            return Err(format!("blocked {path}"));
        }
        if let Some(feature) = feature.filter(|feature| !rules.features.contains(&**feature)) {
            return Err(format!("not_entitled {feature}"));
        }
        let mut lines = Vec::new();
        for (metric, weight) in charges {
            let known = lines.len();
            for level in &rules.levels {
                let of_metric = level.limits.iter().filter(|limit| limit.metric.as_str() == metric);
                lines.extend(of_metric.map(|limit| {
                    self.line(&level.path, limit, level.calendar, weight * asked.amount)
                }));
            }
            if lines.len() == known {
                let limit = Limit::new(Metric::new(&metric).unwrap(), Period::Month, None);
                let last = rules.last();
                lines.push(self.line(&last.path, &limit, last.calendar, weight * asked.amount));
            }
        }
        let plan = rules.plan();
        let allowed = !lines.iter().any(|line| self.refuses(line));
        if allowed && is_charge {
            self.events += 1;
            lines.iter().for_each(|line| self.add(line));
        }
        let said = |line: &Line| {
            let is_violated = !allowed && self.refuses(line);
            let used = self.used(line);
            let after = if allowed && is_charge { used } else { used + line.units };
            let is_above = line.limit.max.is_some_and(|max| after > max.get());
            let would_deny = line.limit.mode == Mode::Shadow && line.units > 0 && is_above;
            LimitSaid { is_violated, would_deny, ..self.state(line) }
        };
        let mut limits: Vec<LimitSaid> = lines.iter().map(said).collect();
        limits.sort();
        let answer = |replayed| Said::Decided { allowed, replayed, plan, limits };
        if let Some(key) = key.filter(|_| allowed) {
            self.answered.insert(key, (asked.clone(), answer.clone()(true)));
        }
        Ok(answer(false))
    }

    fn look(&self, path: &str) -> Result<Said, String> {
        let rules = limits::rules(&self.catalogue, &self.profiles, path)?;
        let states = rules.levels.iter().flat_map(|level| {
            level.limits.iter().map(|limit| {
                let line = self.line(&level.path, limit, level.calendar, 0);
                let is_violated = limit.max.is_some()
                    && limit.mode != Mode::Shadow
                    && self.used(&line) >= limits::ceiling(limit);
                LimitSaid { is_violated, ..self.state(&line) }
            })
        });
        let mut states: Vec<LimitSaid> = states.collect();
        states.sort();
        let features = self.catalogue.features.iter();
        Ok(Said::Used {
            plan: rules.plan(),
            limits: states,
            features: features.map(|it| (it.clone(), rules.features.contains(&**it))).collect(),
            is_blocked: rules.blocked().is_some(),
            calendar: rules.last().calendar,
        })
    }

    fn set(&mut self, path: &str, order: &SetOrder) -> Result<Said, String> {
        let ask = Ask::Metric(order.metric.clone());
        limits::charges(&self.catalogue, path, &ask)?;
        let rules = limits::rules(&self.catalogue, &self.profiles, path)?;
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

    fn reset(&mut self, path: &str, scope: &ResetScope) -> Result<Said, String> {
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

    fn after(&self, jump: Jump) -> i64 {
        match jump {
            Jump::By(ms) => self.now_ms + ms,
            Jump::ToEnd { period, calendar, before } => {
                let end_ms = period.window_at(self.now(), &calendar).end_s * 1_000;
                if before { end_ms - 1 } else { end_ms }
            }
        }
    }

    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.now_ms).unwrap()
    }

    fn line(&self, path: &str, limit: &Limit, calendar: Calendar, units: u64) -> Line {
        let counter = |start_s| {
            let metric = limit.metric.to_string();
            (path.to_owned(), metric, limit.period, limit.sliding, start_s)
        };
        let (window, counters) = if limit.sliding {
            let starts = slices(limit.period, self.now());
            let window = Window { start_s: starts[0], end_s: starts[0] + slice_s(limit.period) };
            (window, starts.into_iter().map(counter).collect())
        } else {
            let window = limit.period.window_at(self.now(), &calendar);
            (window, vec![counter(window.start_s)])
        };
        Line { path: path.to_owned(), limit: limit.clone(), window, counters, units }
    }

    fn used(&self, line: &Line) -> u64 {
        let counts = line.counters.iter().filter_map(|counter| self.counters.get(counter));
        counts.map(|count| count.used).sum()
    }

    fn refuses(&self, line: &Line) -> bool {
        line.units > 0 && self.used(line) + line.units > limits::ceiling(&line.limit)
    }

    /// The counter that a line adds to.
    fn count(&mut self, line: &Line) -> &mut Count {
        let none = Count { end_s: line.window.end_s, used: 0, reset_at_ms: None };
        self.counters.entry(line.counters[0].clone()).or_insert(none)
    }

    fn add(&mut self, line: &Line) {
        self.count(line).used += line.units;
    }

    /// A limit as it stands, neither violated nor denying.
    fn state(&self, line: &Line) -> LimitSaid {
        let (max, used) = (line.limit.max.map(Units::get), self.used(line));
        LimitSaid {
            path: line.path.clone(),
            metric: line.limit.metric.to_string(),
            period: line.limit.period,
            window: line.window,
            is_sliding: line.limit.sliding,
            max,
            used,
            remaining: max.map(|max| max.saturating_sub(used)),
            overage: max.map_or(0, |max| used.saturating_sub(max)),
            mode: line.limit.mode.as_str(),
            is_violated: false,
            would_deny: false,
        }
    }
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
fn slices(period: Period, now: DateTime<Utc>) -> [i64; 7] {
    let length_s = slice_s(period);
    let current_s = now.timestamp() - now.timestamp() % length_s;
    [0, 1, 2, 3, 4, 5, 6].map(|back| current_s - back * length_s)
}

const _: () = assert!(UNITS_MAX == Units::MAX.get());
