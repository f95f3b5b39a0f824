//! What moves the outbox into Postgres: the flushers, and the trim after them.

use super::bounds::Model;
use super::state::Batch;
use super::state::Entries;
use super::state::State;
use super::step::Step;
use super::step::Steps;

impl Model {
    /// The steps of flushers, which may crash between reading and committing.
    pub fn flushing_steps(&self, state: &State, steps: &mut Steps) {
        for index in 0..self.bounds.flushers {
            match state.flushers[index] {
                None => self.flush_read(state, index, steps),
                Some(batch) => self.flush_end(state, index, &batch, steps),
            }
        }
        self.trim(state, steps);
    }

    fn flush_read(&self, state: &State, index: usize, steps: &mut Steps) {
        let tail = state.tail();
        let Some(first) = tail.first() else {
            return;
        };
        let gap = first.seq != state.postgres.cursor_seq + 1;
        if state.redis.epoch != Some(state.postgres.epoch) || (self.guards.seq_check && gap) {
            return;
        }
        let mut next = *state;
        next.flushers[index] = Some(Batch::new(&state.postgres, tail));
        steps.push((Step::FlushRead(index), next));
    }

    fn flush_end(&self, state: &State, index: usize, batch: &Batch, steps: &mut Steps) {
        let mut idle = *state;
        idle.flushers[index] = None;
        let overtaken =
            batch.cursor_id != state.postgres.cursor_id || batch.epoch != state.postgres.epoch;
        if self.guards.cursor_compare_and_set && overtaken {
            steps.push((Step::FlushFenced(index), idle));
            return;
        }
        let mut committed = idle;
        committed.postgres.log(batch.entries(), self.guards.dedupe);
        committed.postgres.cursor_id = batch.last().id;
        committed.postgres.cursor_seq = batch.last().seq;
        steps.push((Step::FlushCommit(index), committed));
        steps.push((Step::FlushCrash(index), idle));
    }

    fn trim(&self, state: &State, steps: &mut Steps) {
        let mut upto = state.postgres.cursor_id;
        if !self.guards.trim_after_commit {
            for batch in state.flushers.iter().flatten() {
                upto = upto.max(batch.last().id);
            }
        }
        let kept = state.redis.outbox.after(upto);
        let idle = kept.len() == state.redis.outbox.as_slice().len();
        if idle || state.redis.epoch != Some(state.postgres.epoch) {
            return;
        }
        let mut next = *state;
        next.redis.outbox = Entries::from(kept);
        next.redis.floor = next.redis.floor.max(upto);
        steps.push((Step::Trim, next));
    }
}
