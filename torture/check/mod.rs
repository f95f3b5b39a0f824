//! The checker: whether what was told to the clients, what is logged and what is counted keep the promises.
//!
//! It is a pure function of the evidence, so that a test can plant a breach. What Redis lost it takes from the incidents:
//! an acknowledged operation may be missing if an incident of its shard, of the epoch in which it was accepted, has room for it.

mod gifts;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;

use uuid::Uuid;

use crate::evidence::Counter;
use crate::evidence::CounterName;
use crate::evidence::Evidence;
use crate::evidence::Incident;
use crate::evidence::Logged;
use crate::excess;
use crate::history::Act;
use crate::history::Invocation;
use crate::history::Told;

/// Breaches that are named; the rest is counted.
const NAMED_MAX: usize = 40;
/// Of them those that are wrong in another way than the promises name.
const WRONG_NAMED_MAX: u64 = 10;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) operations: u64,
    pub(crate) done: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) incidents: u64,
    /// Acknowledged operations that are not in the log because Redis lost them, as an incident says.
    pub(crate) missing: u64,
    /// Acknowledged operations that are not in the log, and no incident says why.
    pub(crate) lost: u64,
    /// Rows of the log beyond one for an operation, or of operations that nobody asked for.
    pub(crate) doubled: u64,
    /// Units above a hard limit that incidents explain.
    pub(crate) explained: u64,
    /// Units above a hard limit that nothing explains.
    pub(crate) over_admitted: u64,
    /// Operations that were refused, or only looked, and are in the log.
    pub(crate) charged_unasked: u64,
    /// Grants and gifts that Postgres has.
    pub(crate) grants: u64,
    pub(crate) gifts: u64,
    /// Gifts that were taken of one and not given to the other, or the other way round, or that nobody finished.
    pub(crate) half: u64,
    /// Everything else: wrong answers, other amounts, sums that differ.
    pub(crate) wrong: u64,
    /// The first breaches.
    pub(crate) named: Vec<String>,
}

impl Verdict {
    pub(crate) const fn is_kept(&self) -> bool {
        self.lost == 0
            && self.doubled == 0
            && self.over_admitted == 0
            && self.charged_unasked == 0
            && self.half == 0
            && self.wrong == 0
    }

    fn name(&mut self, breach: impl FnOnce() -> String) {
        if self.named.len() < NAMED_MAX {
            self.named.push(breach());
        }
    }

    fn wrong(&mut self, breach: impl FnOnce() -> String) {
        self.wrong += 1;
        if self.wrong <= WRONG_NAMED_MAX {
            self.name(breach);
        }
    }
}

/// Judges a run.
pub(crate) fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict {
        operations: evidence.history.len() as u64,
        incidents: evidence.incidents.len() as u64,
        ..Verdict::default()
    };
    let by_event: HashMap<Uuid, &Logged> =
        evidence.logged.iter().map(|it| (it.event_id, it)).collect();
    let missing = judge_answers(evidence, &by_event, &mut verdict);
    let unexplained = without_incident(&missing, evidence);
    verdict.lost = unexplained.len() as u64;
    verdict.missing = missing.len() as u64 - verdict.lost;
    for it in unexplained {
        verdict.name(|| format!("lost: {it:?}"));
    }
    judge_log(evidence, &mut verdict);
    judge_sums(evidence, &mut verdict);
    judge_limits(evidence, &missing, &mut verdict);
    gifts::judge(evidence, &mut verdict);
    verdict
}

/// Counts the answers, and gives back the acknowledged operations that the log does not have.
fn judge_answers<'a>(
    evidence: &'a Evidence,
    by_event: &HashMap<Uuid, &Logged>,
    verdict: &mut Verdict,
) -> Vec<&'a Invocation> {
    let mut missing = Vec::new();
    for it in &evidence.history {
        match it.told {
            Told::Refused => verdict.refused += 1,
            Told::Unknown => verdict.unknown += 1,
            Told::Wrong(status) => verdict.wrong(|| format!("answered {status}: {it:?}")),
            // Nothing excuses these, see `gifts`.
            Told::Made(_) => verdict.done += 1,
            Told::Done(_) if it.act == Act::Gift => verdict.done += 1,
            Told::Done(event_id) => {
                verdict.done += 1;
                match by_event.get(&event_id) {
                    Some(row) if is_of(it, row) => judge_row(it, row, verdict),
                    _ => missing.push(it),
                }
            }
        }
    }
    missing
}

/// Whether the row is of that act. What ends a hold has one id, whatever it is: a commit that Redis lost may be followed by an
/// expiry.
fn is_of(it: &Invocation, row: &Logged) -> bool {
    Some(row.kind.as_str()) == it.act.kind()
}

/// Whether the row says what was asked.
fn judge_row(it: &Invocation, row: &Logged, verdict: &mut Verdict) {
    let has_amount = matches!(it.act, Act::Consume | Act::Reserve | Act::Commit);
    let is_amount = !has_amount || row.amount == i64::try_from(it.amount).ok();
    if row.subject != it.subject || !is_amount {
        verdict.wrong(|| format!("logged as {row:?}: {it:?}"));
    }
}

/// Those for which no incident has room. Events of an epoch that ended are salvaged or lost in the recovery that ended it, so
/// an incident explains what was under way between the one before it and itself, and what an old primary took meanwhile.
fn without_incident<'a>(missing: &[&'a Invocation], evidence: &Evidence) -> Vec<&'a Invocation> {
    let mut room: Vec<(&Incident, u64)> =
        evidence.incidents.iter().map(|it| (it, it.lost_at_most)).collect();
    room.sort_by_key(|(it, _)| it.detected_ms);
    let mut missing: Vec<&Invocation> = missing.to_vec();
    missing.sort_by_key(|it| it.ended_ms);
    let mut unexplained = Vec::new();
    for it in missing {
        let shard = evidence.shard_of(&it.subject);
        let mut began_ms = i64::MIN;
        let mut found = None;
        for (place, (incident, left)) in room.iter().enumerate() {
            if incident.shard != shard {
                continue;
            }
            let until_ms = incident.detected_ms + evidence.split_ms;
            if *left > 0 && it.sent_ms <= until_ms && it.ended_ms >= began_ms {
                found = Some(place);
                break;
            }
            began_ms = incident.detected_ms;
        }
        match found {
            Some(place) => room[place].1 -= 1,
            None => unexplained.push(it),
        }
    }
    unexplained
}

/// Rows that should not be there.
fn judge_log(evidence: &Evidence, verdict: &mut Verdict) {
    let asked: HashMap<&str, &Invocation> =
        evidence.history.iter().map(|it| (it.id.as_str(), it)).collect();
    let mut rows: BTreeMap<&str, Vec<&Logged>> = BTreeMap::new();
    let received: HashSet<Uuid> =
        evidence.grants.iter().filter(|it| it.gift.is_some()).map(|it| it.event_id).collect();
    let is_of_its_own = |row: &&Logged| row.is_asked_for() && !received.contains(&row.event_id);
    for row in evidence.logged.iter().filter(is_of_its_own) {
        rows.entry(row.request_id.as_str()).or_default().push(row);
    }
    for (id, rows) in rows {
        let beyond = rows.len() as u64 - 1;
        let Some(it) = asked.get(id) else {
            verdict.doubled += beyond + 1;
            verdict.name(|| format!("nobody asked for {rows:?}"));
            continue;
        };
        if beyond > 0 {
            verdict.doubled += beyond;
            verdict.name(|| format!("logged {} times: {it:?} {rows:?}", rows.len()));
        }
        let may_be_charged = it.told != Told::Refused || it.is_unsure;
        if it.act == Act::Check || !may_be_charged {
            verdict.charged_unasked += 1;
            verdict.name(|| format!("charged: {it:?} {rows:?}"));
        }
    }
}

/// The counters of both stores against the log.
fn judge_sums(evidence: &Evidence, verdict: &mut Verdict) {
    let mut sums: BTreeMap<CounterName, i64> = BTreeMap::new();
    for row in &evidence.logged {
        for delta in &row.deltas {
            *sums.entry(delta.name.clone()).or_default() += delta.units;
        }
    }
    let counted: BTreeMap<&CounterName, i64> =
        evidence.counters.iter().map(|it| (&it.name, it.used)).collect();
    for (name, sum) in &sums {
        let used = counted.get(name).copied();
        if used.unwrap_or(0) != *sum {
            verdict.wrong(|| format!("{name:?}: {used:?} counted in postgres, {sum} logged"));
        }
    }
    for Counter { name, used } in &evidence.redis {
        // What is below zero reads as none (docs/adr/0025).
        let sum = sums.get(name).copied().unwrap_or(0).max(0);
        if *used != sum {
            verdict.wrong(|| format!("{name:?}: {used} counted in redis, {sum} logged"));
        }
    }
}

/// What was accepted above hard limits, against what Redis lost.
fn judge_limits(evidence: &Evidence, missing: &[&Invocation], verdict: &mut Verdict) {
    let explained = |shard| {
        let of_shard = evidence.incidents.iter().filter(|it| it.shard == shard);
        of_shard.map(Incident::units_at_most).sum()
    };
    let (beyond, within, named) = excess::above_limits(evidence, missing, explained);
    (verdict.over_admitted, verdict.explained) = (beyond, within);
    for text in named.into_iter().filter(|_| beyond > 0) {
        verdict.name(|| text);
    }
}

#[cfg(test)]
mod tests;
