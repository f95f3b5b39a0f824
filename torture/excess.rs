//! Units that were accepted above a hard limit, by the log in its order.

use std::collections::BTreeMap;

use crate::evidence::CounterName;
use crate::evidence::Delta;
use crate::evidence::Evidence;
use crate::evidence::Granted;
use crate::evidence::Logged;
use crate::history::Act;
use crate::history::Invocation;

/// What is known of a counter.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    used: i64,
    /// Units that were acknowledged and lost. Where in the order they were accepted is not known: they count from the start.
    lost: i64,
    above: i64,
}

/// A limit of a level: what one event charges once at most.
type Line = (u16, u8, String, String);

/// The units above hard limits that `explained` does not explain, and those that it does; and where they are.
///
/// An event charges each limit of each level once. So what Redis lost of a shard explains as many units of each of them.
pub(crate) fn above_limits(
    evidence: &Evidence,
    missing: &[&Invocation],
    explained: impl Fn(u16) -> u64,
) -> (u64, u64, Vec<String>) {
    let mut lines: BTreeMap<Line, u64> = BTreeMap::new();
    let mut named = Vec::new();
    for (name, running) in run(evidence, missing).iter().filter(|(_, it)| it.above > 0) {
        *lines.entry(line_of(evidence, name)).or_default() += running.above.unsigned_abs();
        named.push(format!("above its limit: {name:?} {running:?}"));
    }
    for (grant, above) in above_grants(evidence) {
        *lines.entry(line_of_grant(evidence, grant)).or_default() += above;
        named.push(format!("{above} units more than it has: {grant:?}"));
    }
    let mut shards: BTreeMap<u16, u64> = BTreeMap::new();
    for ((shard, ..), above) in lines {
        let most = shards.entry(shard).or_default();
        *most = (*most).max(above);
    }
    let within: u64 = shards.iter().map(|(shard, above)| *above.min(&explained(*shard))).sum();
    let beyond: u64 = shards.iter().map(|(it, above)| above.saturating_sub(explained(*it))).sum();
    (beyond, within, named)
}

fn line_of(evidence: &Evidence, name: &CounterName) -> Line {
    let depth = u8::try_from(name.level.split('/').count()).unwrap_or(u8::MAX);
    (evidence.shard_of(&name.level), depth, name.metric.clone(), name.period.clone())
}

fn line_of_grant(evidence: &Evidence, grant: &Granted) -> Line {
    let depth = u8::try_from(grant.subject.split('/').count()).unwrap_or(u8::MAX);
    (evidence.shard_of(&grant.subject), depth, "messages".to_owned(), "grant".to_owned())
}

/// The grants of which more was taken than they have, and how much more. An event takes its units of all grants of a level
/// together once.
fn above_grants(evidence: &Evidence) -> Vec<(&Granted, u64)> {
    let mut used: BTreeMap<u64, (i64, u64)> = BTreeMap::new();
    let amounts: BTreeMap<u64, i64> =
        evidence.grants.iter().map(|it| (it.id, it.amount.cast_signed())).collect();
    for row in in_order(evidence) {
        for (id, units) in &row.of_grants {
            let (used, above) = used.entry(*id).or_default();
            *used += units;
            let amount = amounts.get(id).copied().unwrap_or(0);
            *above += (*used - amount).clamp(0, (*units).max(0)).unsigned_abs();
        }
    }
    let grants = evidence.grants.iter().filter_map(|grant| {
        let (_, above) = used.get(&grant.id)?;
        (*above > 0).then_some((grant, *above))
    });
    grants.collect()
}

/// The log in the order in which it was decided.
fn in_order(evidence: &Evidence) -> Vec<&Logged> {
    let mut rows: Vec<&Logged> = evidence.logged.iter().collect();
    rows.sort_by_key(|row| (row.shard, row.epoch, row.seq));
    rows
}

/// Every counter at the end of the log.
fn run(evidence: &Evidence, missing: &[&Invocation]) -> BTreeMap<CounterName, Running> {
    let mut counters: BTreeMap<CounterName, Running> = BTreeMap::new();
    for it in missing.iter().filter(|it| it.act == Act::Consume) {
        for name in counters_of(evidence, it) {
            counters.entry(name).or_default().lost += i64::try_from(it.amount).unwrap_or(i64::MAX);
        }
    }
    for row in in_order(evidence) {
        for delta in &row.deltas {
            let max = evidence.max_of(&delta.name);
            apply(counters.entry(delta.name.clone()).or_default(), row, delta, max);
        }
    }
    counters
}

fn apply(running: &mut Running, row: &Logged, delta: &Delta, max: Option<i64>) {
    running.used += delta.units;
    if row.kind == "reset" {
        running.lost = 0;
    }
    // A commit that passed a limit, or came late, says so: it is honoured whatever the limit is.
    let is_limited = matches!(row.kind.as_str(), "consume" | "commit") && !row.is_past_limit;
    let Some(max) = max.filter(|_| is_limited) else { return };
    running.above += (running.used + running.lost - max).clamp(0, delta.units.max(0));
}

/// The counters that a lost operation charged: of each of its limits the latest window, which clocks may have moved on since.
fn counters_of(evidence: &Evidence, it: &Invocation) -> Vec<CounterName> {
    let rows = evidence.logged.iter().filter(|row| row.subject == it.subject);
    let names = rows.flat_map(|row| row.deltas.iter().map(|delta| &delta.name));
    let mut latest: BTreeMap<Line, &CounterName> = BTreeMap::new();
    for name in names {
        let known = latest.entry(line_of(evidence, name)).or_insert(name);
        if known.window_end_s < name.window_end_s {
            *known = name;
        }
    }
    latest.into_values().cloned().collect()
}
