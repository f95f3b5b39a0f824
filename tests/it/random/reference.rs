//! What every answer must be: limits over a map of counters.

use std::collections::BTreeMap;

use chrono::DateTime;
use headroom::domain::Calendar;
use headroom::domain::Catalogue;
use headroom::domain::Decision;
use headroom::domain::Limit;
use headroom::domain::LimitState;
use headroom::domain::Period;
use headroom::domain::Units;
use headroom::quota::Ask;
use headroom::quota::Order;
use headroom::quota::ResetScope;
use headroom::quota::Rewritten;
use headroom::quota::Usage;

use crate::support::orders;

/// Subject, metric, period and first second of the window.
type Counter = (String, String, Period, i64);

/// An accepted order under an idempotency key: what was asked, and the units used that were answered.
type Answered = (Order, Vec<u64>);

/// What an event did to a counter that Redis alone keeps: its place in the shard, and the units it added; it cleared the
/// counter when there are none.
type Short = (u64, Counter, Option<u64>);

/// Counters, and the orders that were answered under keys.
pub struct Reference {
    catalogue: Catalogue,
    counters: BTreeMap<Counter, u64>,
    short: Vec<Short>,
    /// The last place that was given out, by shard.
    seqs: BTreeMap<u16, u64>,
    answered: BTreeMap<(String, String), Answered>,
    /// Accepted consumes and resets.
    pub events: u64,
}

/// What an order must be answered with.
#[derive(Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whether it is allowed, whether it repeats an answer, and the units used of each limit.
    Decided(bool, bool, Vec<u64>),
    /// The key was used with another payload.
    Mismatch,
}

impl Reference {
    pub fn new(catalogue: &str) -> Self {
        Self {
            catalogue: Catalogue::parse(catalogue).unwrap(),
            counters: BTreeMap::new(),
            short: Vec::new(),
            seqs: BTreeMap::new(),
            answered: BTreeMap::new(),
            events: 0,
        }
    }

    /// Decides an order at an instant, and charges it unless it is a check.
    pub fn decide(&mut self, order: &Order, is_check: bool, at_ms: i64) -> Expected {
        let is_charge = !is_check && order.amount.get() > 0;
        let name = order.idempotency_key.clone().filter(|_| is_charge);
        let name = name.map(|key| (order.subject.as_str().to_owned(), key));
        if let Some((first, used)) = name.as_ref().and_then(|name| self.answered.get(name)) {
            let is_same = (&first.ask, first.amount) == (&order.ask, order.amount);
            let used = used.clone();
            return if is_same { Expected::Decided(true, true, used) } else { Expected::Mismatch };
        }
        let lines = self.lines(order);
        let counters = lines.iter().map(|(limit, _)| counter(order.subject.as_str(), limit, at_ms));
        let counters: Vec<Counter> = counters.collect();
        let used: Vec<u64> = counters.iter().map(|counter| self.used(counter)).collect();
        let allowed = lines.iter().zip(&used).all(|((limit, units), used)| {
            let ceiling = limit.ceiling().map_or(Units::MAX.get(), Units::get);
            *units == 0 || used + units <= ceiling
        });
        if !allowed || !is_charge {
            return Expected::Decided(allowed, false, used);
        }
        let after: Vec<u64> =
            lines.iter().zip(used).map(|((_, units), used)| used + units).collect();
        let seq = self.next_seq(order.subject.as_str());
        let short = counters.iter().zip(&lines).filter(|(counter, _)| is_short(counter));
        self.short.extend(short.map(|(counter, (_, units))| (seq, counter.clone(), Some(*units))));
        self.counters.extend(counters.into_iter().zip(after.iter().copied()));
        if let Some(name) = name {
            self.answered.insert(name, (order.clone(), after.clone()));
        }
        Expected::Decided(true, false, after)
    }

    /// The limits that an order is measured against, and the units it adds to each.
    fn lines(&self, order: &Order) -> Vec<(Limit, u64)> {
        let amount = u64::from(order.amount.get());
        let charges: Vec<(&str, u64)> = match &order.ask {
            Ask::Metric(metric) => vec![(metric.as_str(), amount)],
            Ask::Feature(feature) => panic!("{feature} charges nothing"),
            Ask::Model(model) => {
                let (_, rule) = self.catalogue.model(model).unwrap();
                let weighted = rule.charges.iter();
                weighted.map(|(it, weight)| (it.as_str(), amount * u64::from(*weight))).collect()
            }
        };
        let limits = &self.catalogue.plans["only"].limits;
        let lines = charges.iter().flat_map(|(metric, units)| {
            let of_metric = limits.iter().filter(move |limit| limit.metric.as_str() == *metric);
            of_metric.map(|limit| (limit.clone(), *units))
        });
        lines.collect()
    }

    /// Counts an event of the subject, and gives it its place.
    fn next_seq(&mut self, subject: &str) -> u64 {
        self.events += 1;
        let seq = self.seqs.entry(orders::shard_of(subject)).or_default();
        *seq += 1;
        *seq
    }

    /// A load of the subject, of whose shard the events up to `floor` are trimmed: the counters that Redis alone keeps
    /// come back as far as the outbox still has them.
    pub fn restore(&mut self, subject: &str, floor: u64) {
        self.counters.retain(|counter, _| counter.0 != subject || !is_short(counter));
        let kept = self.short.iter().filter(|(seq, it, _)| *seq > floor && it.0 == subject);
        for (_, counter, units) in kept {
            let used = self.counters.entry(counter.clone()).or_default();
            *used = units.map_or(0, |units| *used + units);
        }
    }

    fn used(&self, counter: &Counter) -> u64 {
        self.counters.get(counter).copied().unwrap_or(0)
    }

    /// The units used of each limit of the plan.
    pub fn usage(&self, usage: &Usage) -> Vec<u64> {
        let limits = self.catalogue.plans["only"].limits.iter();
        let subject = usage.subject.as_str();
        limits.map(|it| self.used(&counter(subject, it, usage.decided_at_ms))).collect()
    }

    /// Clears what a reset clears at an instant, and answers it.
    pub fn reset(&mut self, subject: &str, scope: &ResetScope, at_ms: i64) -> Vec<Rewritten> {
        let seq = self.next_seq(subject);
        let mut cleared = Vec::new();
        for limit in &self.catalogue.plans["only"].limits {
            let is_metric = scope.metric.as_ref().is_none_or(|metric| *metric == limit.metric);
            let is_period = match scope.period {
                Some(period) => period == limit.period,
                None => limit.period != Period::Lifetime,
            };
            let counter = counter(subject, limit, at_ms);
            let units = self.counters.get_mut(&counter);
            let Some(units) = units.filter(|units| is_metric && is_period && **units > 0) else {
                continue;
            };
            let window = limit.period.window_at(instant(at_ms), &Calendar::UTC);
            let units = -std::mem::take(units).cast_signed();
            self.short.extend(is_short(&counter).then_some((seq, counter, None)));
            cleared.push(Rewritten {
                metric: limit.metric.clone(),
                period: limit.period,
                window,
                units,
            });
        }
        cleared.sort_by(|a, b| (&a.metric, a.period).cmp(&(&b.metric, b.period)));
        cleared
    }

    /// The counters above zero that Postgres has.
    pub fn counters(&self) -> BTreeMap<Counter, u64> {
        let kept = self.counters.iter().filter(|(it, used)| **used > 0 && !is_short(it));
        kept.map(|(it, n)| (it.clone(), *n)).collect()
    }
}

/// What an answer says, in the reference's words. Panics when a window is not the one of the answer's instant.
pub fn said(decision: &Decision) -> Expected {
    if !decision.replayed {
        check_windows(&decision.limits, decision.decided_at_ms);
    }
    Expected::Decided(decision.allowed, decision.replayed, used(&decision.limits))
}

/// The units used of each limit.
pub fn used(limits: &[LimitState]) -> Vec<u64> {
    limits.iter().map(|state| state.used.get()).collect()
}

/// Panics when a limit's window is not the one of the instant.
pub fn check_windows(limits: &[LimitState], at_ms: i64) {
    for state in limits {
        assert_eq!(
            state.window,
            state.period.window_at(instant(at_ms), &Calendar::UTC),
            "{}",
            state.name()
        );
    }
}

/// Whether Redis alone keeps the counter.
const fn is_short(counter: &Counter) -> bool {
    matches!(counter.2, Period::Minute | Period::Hour)
}

fn counter(subject: &str, limit: &Limit, at_ms: i64) -> Counter {
    let start_s = limit.period.window_at(instant(at_ms), &Calendar::UTC).start_s;
    (subject.to_owned(), limit.metric.as_str().to_owned(), limit.period, start_s)
}

fn instant(at_ms: i64) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp_millis(at_ms).unwrap()
}
