//! Events that can be given back, in the reference.

use headroom::domain::Period;

use super::grants::Grant;
use super::limits;
use super::lines::Line;
use super::reference::Count;
use super::reference::Counter;
use super::reference::Reference;
use super::steps::GivenSaid;
use super::steps::Said;

/// An event whose id the case has been told.
#[derive(Clone, Debug)]
pub struct Logged {
    path: String,
    /// What it took; `None` when it is of a kind that cannot be given back.
    taken: Option<Vec<Taken>>,
    /// The key under which it was given back, and what was.
    refund: Option<(Option<u8>, Vec<GivenSaid>)>,
}

/// What an event took of a limit or a grant.
#[derive(Clone, Debug)]
pub struct Taken {
    path: String,
    metric: String,
    period: Period,
    of: Of,
    start_s: i64,
    end_s: i64,
    units: u64,
}

#[derive(Clone, Debug)]
enum Of {
    Limit(Counter),
    Grant(usize),
}

impl Taken {
    pub fn of_line(line: &Line, units: u64) -> Self {
        Self {
            path: line.path.clone(),
            metric: line.limit.metric.to_string(),
            period: line.limit.period,
            of: Of::Limit(line.counters[0].clone()),
            start_s: line.window.start_s,
            end_s: line.window.end_s,
            units,
        }
    }

    pub fn of_grant(id: usize, grant: &Grant, units: u64) -> Self {
        Self {
            path: grant.path.clone(),
            metric: grant.metric.clone(),
            period: Period::Lifetime,
            of: Of::Grant(id),
            start_s: headroom::domain::Window::LIFETIME.start_s,
            end_s: grant.end_s,
            units,
        }
    }

    /// When nothing counts any more of what was taken: of a slice six slices after its end.
    fn counts_until_s(&self) -> i64 {
        match &self.of {
            Of::Limit((.., true, _)) => self.end_s + 6 * (self.end_s - self.start_s),
            Of::Limit(_) | Of::Grant(_) => self.end_s,
        }
    }

    fn said(&self, units: u64) -> GivenSaid {
        let grant = if let Of::Grant(id) = self.of { Some(id) } else { None };
        let period = grant.is_none().then_some(self.period);
        let (path, metric) = (self.path.clone(), self.metric.clone());
        GivenSaid { path, metric, period, grant, start_s: self.start_s, end_s: self.end_s, units }
    }
}

impl Reference {
    /// Keeps an event whose id is told.
    pub fn log(&mut self, path: &str, taken: Option<Vec<Taken>>) {
        self.events += 1;
        self.logged.push(Logged { path: path.to_owned(), taken, refund: None });
    }

    pub(super) fn refund(&mut self, place: usize, key: Option<u8>) -> Result<Said, String> {
        let Some(event) = self.logged.get(place).cloned() else {
            return Err("unknown_event".to_owned());
        };
        let taken = event.taken.ok_or("not_refundable")?;
        if let Some((first, given)) = event.refund {
            let replay = Said::Refunded { given, replayed: true };
            return if first == key { Ok(replay) } else { Err("already_refunded".to_owned()) };
        }
        let mut given = Vec::new();
        for it in &taken {
            let units = self.give_back(&event.path, it);
            given.extend((units > 0).then(|| it.said(units)));
        }
        if given.is_empty() {
            return Err("nothing_to_refund".to_owned());
        }
        given.sort();
        self.logged[place].refund = Some((key, given.clone()));
        self.log(&event.path, None);
        Ok(Said::Refunded { given, replayed: false })
    }

    /// Gives back what may be, and answers how much that is.
    fn give_back(&mut self, path: &str, taken: &Taken) -> u64 {
        if taken.counts_until_s() <= self.now_s() {
            return 0;
        }
        let counter = match &taken.of {
            Of::Grant(id) => {
                let used = &mut self.grants[*id].used;
                let units = taken.units.min(*used);
                *used -= units;
                return units;
            }
            Of::Limit(counter) => counter.clone(),
        };
        let cap = match self.refund_rule(path, taken) {
            Some((false, _)) => return 0,
            Some((true, cap)) => cap,
            None => None,
        };
        let Some(used) = self.counters.get(&counter).map(|count| count.used) else { return 0 };
        let units = taken.units.min(used);
        let noted = self.noted(&counter);
        let given = noted.iter().filter_map(|it| self.counters.get(it)).map(|it| it.refunded);
        let given: u64 = given.sum();
        if units == 0 || cap.is_some_and(|cap| given + units > cap) {
            return 0;
        }
        self.counters.get_mut(&counter).unwrap().used -= units;
        if cap.is_some() {
            let end_s = noted[0].4 + taken.end_s - taken.start_s;
            let new = Count { end_s, ..Count::default() };
            self.counters.entry(noted[0].clone()).or_insert(new).refunded += units;
        }
        units
    }

    /// Where it stands what refunds gave back of a counter's limit; the first is added to. Of a sliding limit these are the
    /// slices that count now.
    fn noted(&self, counter: &Counter) -> Vec<Counter> {
        let (path, metric, period, is_slice, _) = counter;
        let slices = period.slices(self.now()).filter(|_| *is_slice);
        let Some(slices) = slices else { return vec![counter.clone()] };
        let starts = std::iter::once(slices.current.start_s).chain(slices.earlier_s);
        starts.map(|start_s| (path.clone(), metric.clone(), *period, true, start_s)).collect()
    }

    /// Whether the limit in force allows refunds, and the most that they give back in a window.
    fn refund_rule(&self, path: &str, taken: &Taken) -> Option<(bool, Option<u64>)> {
        let rules = self.rules_now(path).ok()?;
        let level = rules.levels.iter().find(|level| level.path == taken.path)?;
        let mut limits = level.limits.iter();
        let limit = limits
            .find(|limit| limit.metric.as_str() == taken.metric && limit.period == taken.period)?;
        Some((limit.refundable, limits::refund_max(limit)))
    }
}
