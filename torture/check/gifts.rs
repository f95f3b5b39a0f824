//! Grants and gifts: each is made once, and a gift has both sides or none. They are in Postgres when they are answered, so no
//! incident of Redis excuses one that is missing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use uuid::Uuid;

use super::Verdict;
use crate::evidence::Evidence;
use crate::evidence::Gift;
use crate::evidence::Granted;
use crate::history::Act;
use crate::history::Invocation;
use crate::history::Told;

/// Judges the grants and gifts of a run.
pub(super) fn judge(evidence: &Evidence, verdict: &mut Verdict) {
    verdict.grants = evidence.grants.iter().filter(|it| it.gift.is_none()).count() as u64;
    verdict.gifts = evidence.gifts.iter().filter(|it| it.state == "done").count() as u64;
    judge_grants(evidence, verdict);
    judge_sides(evidence, verdict);
    judge_answers(evidence, verdict);
}

/// Whether each grant that was answered is there, and each that is there is logged.
fn judge_grants(evidence: &Evidence, verdict: &mut Verdict) {
    let by_id: HashMap<u64, &Granted> = evidence.grants.iter().map(|it| (it.id, it)).collect();
    for it in &evidence.history {
        let Told::Made(id) = it.told else { continue };
        match by_id.get(&id) {
            Some(grant) if (&grant.subject, grant.amount) == (&it.subject, it.amount) => {}
            Some(grant) => verdict.wrong(|| format!("made as {grant:?}: {it:?}")),
            None => lost(it, verdict),
        }
    }
    let logged = evidence.logged.iter().filter(|row| row.kind == "grant");
    let logged: BTreeSet<Uuid> = logged.map(|row| row.event_id).collect();
    let made: BTreeSet<Uuid> = evidence.grants.iter().map(|it| it.event_id).collect();
    for id in logged.symmetric_difference(&made) {
        verdict.wrong(|| format!("the grant of event {id} is logged or made, but not both"));
    }
}

/// Whether what was taken of the giver is what the receiver was given.
fn judge_sides(evidence: &Evidence, verdict: &mut Verdict) {
    let mut taken: BTreeMap<Uuid, i64> = BTreeMap::new();
    for row in evidence.logged.iter().filter(|row| row.kind == "transfer") {
        let units: i64 = row.of_grants.iter().map(|(_, units)| units).sum();
        *taken.entry(row.event_id).or_default() += units;
    }
    let mut given: BTreeMap<Uuid, i64> = BTreeMap::new();
    for grant in &evidence.grants {
        if let Some(gift) = grant.gift {
            *given.entry(gift).or_default() += grant.amount.cast_signed();
        }
    }
    for gift in &evidence.gifts {
        let wanted = if gift.state == "done" { gift.amount.cast_signed() } else { 0 };
        let sides = [taken.remove(&gift.id), given.remove(&gift.id)].map(Option::unwrap_or_default);
        if gift.state == "pending" || sides != [wanted; 2] {
            verdict.half += 1;
            verdict.name(|| format!("taken and given {sides:?}: {gift:?}"));
        }
    }
    for id in taken.keys().chain(given.keys()) {
        verdict.half += 1;
        verdict.name(|| format!("a side of a gift {id} that is none"));
    }
}

/// Whether each gift that was answered is there, once, and none that was refused.
fn judge_answers(evidence: &Evidence, verdict: &mut Verdict) {
    let mut by_request: HashMap<&str, Vec<&Gift>> = HashMap::new();
    for gift in &evidence.gifts {
        by_request.entry(&gift.request_id).or_default().push(gift);
    }
    for it in evidence.history.iter().filter(|it| it.act == Act::Gift) {
        let gifts = by_request.remove(it.id.as_str()).unwrap_or_default();
        let done: Vec<&&Gift> = gifts.iter().filter(|gift| gift.state == "done").collect();
        verdict.doubled += (done.len() as u64).saturating_sub(1);
        match it.told {
            Told::Done(id) if !done.iter().any(|gift| is_of(it, id, gift)) => lost(it, verdict),
            Told::Refused if !done.is_empty() && !it.is_unsure => {
                verdict.charged_unasked += 1;
                verdict.name(|| format!("given: {it:?} {gifts:?}"));
            }
            _ => {}
        }
    }
    for gift in by_request.into_values().flatten() {
        verdict.doubled += 1;
        verdict.name(|| format!("nobody asked for {gift:?}"));
    }
}

fn is_of(it: &Invocation, id: Uuid, gift: &Gift) -> bool {
    gift.id == id
        && gift.from == it.subject
        && Some(&gift.to) == it.to.as_ref()
        && gift.amount == it.amount
}

fn lost(it: &Invocation, verdict: &mut Verdict) {
    verdict.lost += 1;
    verdict.name(|| format!("lost: {it:?}"));
}
