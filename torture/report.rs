//! What runs came to, for people and for docs/RELIABILITY.md.

use std::fmt::Write;

use crate::nemesis::Tally;
use crate::plan::Plan;
use crate::plan::Topology;
use crate::run::Outcome;

/// The sums of all runs of a topology.
#[derive(Default)]
pub(crate) struct Sums {
    runs: u64,
    broken: u64,
    /// Runs that something in them, or of the nemesis itself, brought down.
    pub(crate) unended: u64,
    operations: u64,
    done: u64,
    refused: u64,
    unknown: u64,
    incidents: u64,
    missing: u64,
    lost: u64,
    doubled: u64,
    explained: u64,
    over_admitted: u64,
    grants: u64,
    gifts: u64,
    half: u64,
    faults: Tally,
}

impl Sums {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        let it = &outcome.verdict;
        self.runs += 1;
        self.broken += u64::from(!it.is_kept());
        self.operations += it.operations;
        self.done += it.done;
        self.refused += it.refused;
        self.unknown += it.unknown;
        self.incidents += it.incidents;
        self.missing += it.missing;
        self.lost += it.lost;
        self.doubled += it.doubled;
        self.explained += it.explained;
        self.over_admitted += it.over_admitted;
        self.grants += it.grants;
        self.gifts += it.gifts;
        self.half += it.half;
        for (fault, times) in &outcome.faults {
            *self.faults.entry(fault.clone()).or_default() += times;
        }
    }

    pub(crate) const fn is_kept(&self) -> bool {
        self.broken == 0 && self.unended == 0
    }

    /// A table, and the faults by kind.
    pub(crate) fn text(&self, topology: Topology, machine: &str) -> String {
        let mut text = String::new();
        let faults: u64 = self.faults.values().sum();
        let rows = [
            ("runs", self.runs),
            ("runs in which a promise broke", self.broken),
            ("runs that came to no end", self.unended),
            ("operations", self.operations),
            ("of them done", self.done),
            ("of them refused", self.refused),
            ("of them of unknown fate", self.unknown),
            ("faults", faults),
            ("incidents", self.incidents),
            ("acknowledged, and lost by Redis as an incident says", self.missing),
            ("**lost**", self.lost),
            ("**doubled**", self.doubled),
            ("units above a limit that Redis' losses explain", self.explained),
            ("**units over-admitted beyond that**", self.over_admitted),
            ("grants made", self.grants),
            ("gifts made", self.gifts),
            ("**gifts with one side**", self.half),
        ];
        let title = match topology {
            Topology::Single => "one Redis with a replica",
            Topology::Sentinel => "two that a sentinel watches",
            Topology::Cluster => "a cluster of three and three",
        };
        let _infallible = writeln!(text, "{machine}.\n\n| {title} | |\n|---|--:|");
        for (name, count) in rows {
            let _infallible = writeln!(text, "| {name} | {count} |");
        }
        let _infallible = writeln!(text, "\nFaults by kind: {}.", self.kinds());
        text
    }

    fn kinds(&self) -> String {
        let kinds = self.faults.iter().map(|(fault, times)| format!("{fault} {times}"));
        kinds.collect::<Vec<_>>().join(", ")
    }
}

/// One run in one line.
pub(crate) fn line(plan: &Plan, outcome: &Outcome) -> String {
    let it = &outcome.verdict;
    let faults: u64 = outcome.faults.values().sum();
    format!(
        "{} seed {}: {} operations ({} done, {} refused, {} unknown), {} gifts, {faults} faults, \
         {} incidents, {} lost by redis, lost {}, doubled {}, {} gifts of one side, above limits {} \
         explained and {} over-admitted: {}",
        plan.topology.name(),
        plan.seed,
        it.operations,
        it.done,
        it.refused,
        it.unknown,
        it.gifts,
        it.incidents,
        it.missing,
        it.lost,
        it.doubled,
        it.half,
        it.explained,
        it.over_admitted,
        if it.is_kept() { "kept" } else { "BROKEN" }
    )
}
