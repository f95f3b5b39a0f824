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

use super::limits;
use super::limits::Charges;
use super::limits::Rules;
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
pub struct Line {
    path: String,
    pub limit: Limit,
    pub window: Window,
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
        let Charges { of_one, feature } = limits::charges(&self.catalogue, asked.path, &asked.ask)?;
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
        let plan = rules.plan();
        let charged = of_one.iter().map(|(metric, weight)| (metric, weight * asked.amount));
        let lines = charged.flat_map(|(metric, units)| self.charged(&rules, metric, units));
        let lines: Vec<Line> = lines.collect();
        let said = self.decide(&lines, is_charge);
        let allowed = said.iter().all(|limit| !limit.is_violated);
        let answer = |replayed| Said::Decided {
            allowed,
            replayed,
            plan: plan.clone(),
            limits: said.clone(),
        };
        if let Some(key) = key.filter(|_| allowed) {
            self.answered.insert(key, (asked.clone(), answer(true)));
        }
        Ok(answer(false))
    }

    /// The lines of a metric: the limits of all levels, or a month on the last when there are none.
    fn charged(&self, rules: &Rules<'_>, metric: &str, units: u64) -> Vec<Line> {
        let all = rules.levels.iter().flat_map(|it| it.limits.iter().map(move |limit| (it, limit)));
        let of_metric = all.filter(|(_, limit)| limit.metric.as_str() == metric);
        let lines = of_metric.map(|(it, limit)| self.line(&it.path, limit, it.calendar, units));
        let mut lines: Vec<Line> = lines.collect();
        if lines.is_empty() {
            let limit = Limit::new(Metric::new(metric).unwrap(), Period::Month, None);
            let last = rules.last();
            lines.push(self.line(&last.path, &limit, last.calendar, units));
        }
        lines
    }

    /// Charges all lines or none, and says how they are then.
    fn decide(&mut self, lines: &[Line], is_charge: bool) -> Vec<LimitSaid> {
        let violated: Vec<bool> = lines.iter().map(|line| self.refuses(line)).collect();
        let is_charged = is_charge && !violated.contains(&true);
        if is_charged {
            self.events += 1;
            for line in lines {
                self.count(line).used += line.units;
            }
        }
        let said = lines.iter().zip(violated).map(|(line, is_violated)| {
            let after = self.used(line) + if is_charged { 0 } else { line.units };
            let is_above = line.limit.max.is_some_and(|max| after > max.get());
            let would_deny = line.limit.mode == Mode::Shadow && line.units > 0 && is_above;
            LimitSaid { is_violated, would_deny, ..self.state(line) }
        });
        let mut said: Vec<LimitSaid> = said.collect();
        said.sort();
        said
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

    fn after(&self, jump: Jump) -> i64 {
        match jump {
            Jump::By(ms) => self.now_ms + ms,
            Jump::ToEnd { period, calendar, before } => {
                let end_ms = period.window_at(self.now(), &calendar).end_s * 1_000;
                if before { end_ms - 1 } else { end_ms }
            }
        }
    }

    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.now_ms).unwrap()
    }

    pub fn line(&self, path: &str, limit: &Limit, calendar: Calendar, units: u64) -> Line {
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
    pub fn count(&mut self, line: &Line) -> &mut Count {
        let none = Count { end_s: line.window.end_s, used: 0, reset_at_ms: None };
        self.counters.entry(line.counters[0].clone()).or_insert(none)
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
pub fn slices(period: Period, now: DateTime<Utc>) -> [i64; 7] {
    let length_s = slice_s(period);
    let current_s = now.timestamp() - now.timestamp() % length_s;
    [0, 1, 2, 3, 4, 5, 6].map(|back| current_s - back * length_s)
}

const _: () = assert!(UNITS_MAX == Units::MAX.get());
