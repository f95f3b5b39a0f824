//! The end of a schedule: everything heals, comes to rest and is judged.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use headroom::domain::Decision;
use headroom::domain::EventKind;
use headroom::domain::LimitState;
use headroom::quota::FlushStep;
use uuid::Uuid;

use super::clients::SUBJECTS;
use super::postgres::Key;
use super::postgres::reservation_of;
use super::schedule::MAX_A_DAY;
use super::schedule::MAX_A_MONTH;
use super::schedule::Schedule;
use crate::support::orders;

/// Flushes and sweeps until nothing is left to do, at most.
const ROUNDS_MAX: usize = 60;
/// Longer than any hold.
const HOLDS_OVER_MS: i64 = 120_000;

impl Schedule {
    /// Lets everything heal: no call fails any more, each node flushes, holds lapse and are swept.
    pub fn heal(&mut self) -> Result<(), String> {
        self.is_faulty = false;
        self.answer_all();
        let waiting = self.tasks.count("client", None);
        if waiting > 0 {
            return Err(format!("{waiting} requests are never answered"));
        }
        self.have_all_look();
        self.flush_all()?;
        self.advance(HOLDS_OVER_MS);
        self.sweep_all()?;
        self.flush_all()
    }

    /// Twice, since who notices a loss may be the last to look.
    fn have_all_look(&mut self) {
        for place in (0..self.nodes.len()).chain(0..self.nodes.len()) {
            self.nodes[place].look_for_losses(&mut self.tasks);
            self.answer_all();
        }
    }

    fn flush_all(&mut self) -> Result<(), String> {
        for place in 0..self.nodes.len() {
            if !(0..ROUNDS_MAX).any(|_| self.is_idle_after_a_flush(place)) {
                return Err(format!("node {place} never has everything flushed"));
            }
        }
        Ok(())
    }

    fn is_idle_after_a_flush(&mut self, place: usize) -> bool {
        self.nodes[place].flush(&mut self.tasks);
        self.answer_all();
        self.nodes[place].flushed.get() == Some(FlushStep::Idle)
    }

    fn sweep_all(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            self.nodes[0].sweep(&mut self.tasks);
            self.answer_all();
            self.flush_all()?;
            if self.nodes[0].swept.get() == Some(0) && self.postgres.holds.open() == 0 {
                return Ok(());
            }
        }
        Err(format!("{} holds never end", self.postgres.holds.open()))
    }

    /// What is wrong in the end, in a sentence; nothing, when every promise was kept.
    pub fn judge(&mut self) -> Result<(), String> {
        self.heal()?;
        let wrong = std::mem::take(&mut self.clients.history.borrow_mut().wrong);
        if !wrong.is_empty() {
            return Err(format!("answers that nobody should get: {wrong:?}"));
        }
        self.is_all_logged()?;
        self.are_sums_right()?;
        self.is_nothing_over_admitted()?;
        self.does_each_hold_end_once()?;
        self.do_both_stores_agree()
    }

    /// Promises 2 and 3.
    fn is_all_logged(&self) -> Result<(), String> {
        let postgres = &self.postgres;
        let history = self.clients.history.borrow();
        let is_lost = |(id, _): &(&Uuid, &u64)| !postgres.log.contains_key(*id);
        let lost: Vec<(&Uuid, &u64)> = history.acknowledged.iter().filter(is_lost).collect();
        let bound: u64 = postgres.incidents.iter().map(|it| it.lost_at_most).sum();
        // What was acknowledged after the last loss, Redis never lost.
        if lost.iter().any(|(_, losses)| **losses == self.losses) {
            return Err(format!("not in the log, though redis did not lose it: {lost:?}"));
        }
        // A node that died may have been the only one to know of what was lost.
        if self.crashes == 0 && lost.len() as u64 > bound {
            return Err(format!("{} events lost, at most {bound} told: {lost:?}", lost.len()));
        }
        if self.losses == 0 && postgres.duplicates > 0 {
            return Err(format!("{} events came twice", postgres.duplicates));
        }
        if self.losses == 0 && bound > 0 {
            return Err(format!("a loss that was none: {:?}", postgres.incidents));
        }
        Ok(())
    }

    /// I1.
    fn are_sums_right(&self) -> Result<(), String> {
        let (sums, counters) = (self.postgres.sums_of_log(), &self.postgres.counters);
        if sums == *counters {
            Ok(())
        } else {
            Err(format!("the log has {sums:?}, not {counters:?}"))
        }
    }

    /// Promise 1: no more was accepted than the limit and what Redis lost, but for commits of work that was done.
    fn is_nothing_over_admitted(&self) -> Result<(), String> {
        let events = self.postgres.log.values();
        let forced = events.filter(|(_, it)| it.deltas.late || it.deltas.overage).count();
        let spare = i64::try_from(self.lost_events + forced as u64).unwrap();
        for (key, used) in &self.postgres.counters {
            let max = if key.2 == "day" { MAX_A_DAY } else { MAX_A_MONTH };
            if used.units > max + spare {
                return Err(format!("{key:?} has {} of {max} and {spare}", used.units));
            }
        }
        Ok(())
    }

    /// I8.
    fn does_each_hold_end_once(&self) -> Result<(), String> {
        let mut ends: BTreeMap<Uuid, u64> = BTreeMap::new();
        let events = self.postgres.log.values().map(|(_, event)| event);
        for event in events.filter(|event| event.kind != EventKind::Reserve && !event.deltas.late) {
            if let Some(id) = reservation_of(event) {
                *ends.entry(id).or_default() += 1;
            }
        }
        let twice = ends.into_iter().find(|(_, count)| *count > 1);
        twice.map_or(Ok(()), |(id, count)| Err(format!("hold {id} ended {count} times")))
    }

    /// I2, I5: Redis counts what Postgres counts, and both are at the same place.
    fn do_both_stores_agree(&mut self) -> Result<(), String> {
        for place in 0..self.nodes.len() {
            for subject in SUBJECTS {
                let decision = self.look(place, subject)?;
                decision.limits.iter().try_for_each(|limit| self.does_agree(subject, limit))?;
            }
        }
        self.flush_all()?;
        let (cursor, log) = (&self.postgres.cursor, &self.postgres.log);
        let of_epoch = log.values().filter(|(epoch, _)| *epoch == cursor.epoch).count() as u64;
        if of_epoch > cursor.seq || (self.losses == 0 && of_epoch != cursor.seq) {
            return Err(format!("{of_epoch} events of the epoch up to {cursor:?}"));
        }
        Ok(())
    }

    fn does_agree(&self, subject: &str, limit: &LimitState) -> Result<(), String> {
        let (metric, period) = (limit.metric.as_str().to_owned(), limit.period.as_str().to_owned());
        let key: Key = (subject.to_owned(), metric, period, limit.window.start_s);
        let logged = self.postgres.counters.get(&key).map_or(0, |used| used.units);
        let (used, held) = (limit.used.get().cast_signed(), limit.reserved.get());
        if used != logged || held != 0 {
            return Err(format!("redis has {used} of {key:?} and holds {held}, postgres {logged}"));
        }
        Ok(())
    }

    /// What a node answers to a check.
    fn look(&mut self, place: usize, subject: &str) -> Result<Decision, String> {
        let answer = Rc::new(RefCell::new(None));
        let (quota, kept) = (self.nodes[place].quota.clone(), answer.clone());
        let order = orders::one(subject, "messages");
        let life = self.nodes[place].life;
        self.tasks.spawn(life, "look", async move {
            kept.replace(Some(quota.check(order).await));
        });
        self.answer_all();
        match answer.take() {
            Some(Ok(decision)) => Ok(decision),
            other => Err(format!("a check is answered {other:?}")),
        }
    }
}
