//! What serves requests: consume, reset and load, and the eviction that makes a load necessary.

use super::bounds::Model;
use super::state::Counter;
use super::state::Entry;
use super::state::Snapshot;
use super::state::State;
use super::state::sum;
use super::step::Step;
use super::step::Steps;

impl Model {
    /// The steps of nodes that answer requests.
    pub fn serving_steps(&self, state: &State, steps: &mut Steps) {
        let fresh = self.fresh(state);
        if let Some(counter) = fresh
            && state.ops < self.bounds.ops
        {
            self.operations(state, counter, steps);
        }
        if state.redis.counter.is_some() && state.evictions_left > 0 {
            let mut next = *state;
            next.redis.counter = None;
            next.evictions_left -= 1;
            steps.push((Step::Evict, next));
        }
        match state.load {
            None if fresh.is_none() => steps.push((Step::LoadRead, load_read(state))),
            None => {}
            Some(snapshot) => steps.push(self.load_apply(state, snapshot, fresh.is_none())),
        }
    }

    /// The counter, if Redis may decide with it.
    fn fresh(&self, state: &State) -> Option<Counter> {
        let epoch = state.redis.epoch?;
        let counter = state.redis.counter?;
        (counter.epoch == epoch || !self.guards.epoch_in_counter).then_some(counter)
    }

    fn operations(&self, state: &State, counter: Counter, steps: &mut Steps) {
        if counter.used < self.bounds.limit {
            steps.push((Step::Consume, charge(state, counter, 1)));
        }
        if counter.used > 0 && state.resets_left > 0 {
            let (step, mut next) = if self.guards.reset_as_event {
                (Step::Reset, charge(state, counter, -counter.used))
            } else {
                (Step::DeletingReset, delete(state))
            };
            next.resets_left -= 1;
            steps.push((step, next));
        }
    }

    fn load_apply(&self, state: &State, snapshot: Snapshot, missing: bool) -> (Step, State) {
        let mut next = *state;
        next.load = None;
        let behind = self.guards.floor_check && snapshot.cursor_id < state.redis.floor;
        let Some(epoch) = state.redis.epoch.filter(|_| missing && !behind) else {
            return (Step::LoadRetry, next);
        };
        if self.guards.epoch_in_counter && snapshot.epoch != epoch {
            return (Step::LoadRetry, next);
        }
        let mut used = snapshot.used;
        if self.guards.tail {
            used += sum(state.redis.outbox.after(snapshot.cursor_id));
        }
        next.redis.counter = Some(Counter { used, epoch });
        (Step::LoadApply, next)
    }
}

/// What the script does on acceptance: an outbox entry, the counter and the sequence at once.
fn charge(state: &State, counter: Counter, delta: i8) -> State {
    let mut next = *state;
    next.last_id += 1;
    next.redis.seq += 1;
    next.redis.outbox.push(Entry { id: next.last_id, seq: next.redis.seq, op: state.ops, delta });
    next.redis.counter = Some(Counter { used: counter.used + delta, ..counter });
    next.ops += 1;
    next.owed = next.owed.with(state.ops);
    next
}

/// The reset that must not be: the outbox still holds what it forgets.
fn delete(state: &State) -> State {
    let mut next = *state;
    next.redis.counter = None;
    next.postgres.used = 0;
    next.postgres.deletions = next.postgres.deletions.with(state.ops);
    next.ops += 1;
    next
}

fn load_read(state: &State) -> State {
    let mut next = *state;
    next.load = Some(Snapshot {
        used: state.postgres.used,
        cursor_id: state.postgres.cursor_id,
        epoch: state.postgres.epoch,
    });
    next
}
