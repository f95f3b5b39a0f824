//! What happens to Redis as a whole: replication that lags, failover to the replica, and recovery.

use super::bounds::Model;
use super::state::Entries;
use super::state::Entry;
use super::state::Postgres;
use super::state::State;
use super::step::Step;
use super::step::Steps;

/// Salvages are not counted by the bounds, so the epoch bounds them.
const MAX_EPOCH: u8 = 4;

impl Model {
    /// The steps of replication and of recovery in its three parts, each of which may be the last before a crash.
    pub fn recovering_steps(&self, state: &State, steps: &mut Steps) {
        if state.failovers_left > 0 && state.replica != state.redis {
            steps.push((Step::Replicate, replicate(state)));
            steps.push((Step::Failover, failover(state)));
        }
        let fenced = state.redis.epoch.is_none();
        let detected = !fenced && self.detects_loss(state);
        if detected && self.guards.fence {
            let mut next = *state;
            next.redis.epoch = None;
            steps.push((Step::Fence, next));
        }
        let salvages = fenced || (detected && !self.guards.fence);
        if salvages && state.postgres.epoch < MAX_EPOCH {
            let mut next = *state;
            next.postgres = self.salvaged(state);
            steps.push((Step::Salvage, next));
        }
        if self.may_open(state) {
            steps.push((Step::Open, open(state)));
        }
    }

    /// Whether the epochs and sequences show that Redis has lost something.
    pub fn detects_loss(&self, state: &State) -> bool {
        if !self.guards.seq_check {
            return false;
        }
        let gap = |first: &Entry| first.seq != state.postgres.cursor_seq + 1;
        state.redis.epoch != Some(state.postgres.epoch)
            || state.redis.seq < state.postgres.cursor_seq
            || state.tail().first().is_some_and(gap)
    }

    /// One transaction: log what the outbox still has, move the cursor past it, raise the epoch.
    fn salvaged(&self, state: &State) -> Postgres {
        let mut postgres = state.postgres;
        let entries = state.redis.outbox.as_slice();
        if self.guards.salvage {
            postgres.log(entries, true);
        }
        for entry in entries {
            postgres.cursor_id = postgres.cursor_id.max(entry.id);
        }
        postgres.cursor_seq = 0;
        postgres.epoch += 1;
        postgres
    }

    fn may_open(&self, state: &State) -> bool {
        if !self.guards.fence {
            return state.redis.epoch != Some(state.postgres.epoch);
        }
        state.redis.epoch.is_none() && state.postgres.epoch > 1 && state.tail().is_empty()
    }
}

fn replicate(state: &State) -> State {
    let mut next = *state;
    next.replica = state.redis;
    next
}

/// The replica takes over: what it had not heard of is lost by Redis, and owed no more.
fn failover(state: &State) -> State {
    let mut next = *state;
    next.redis = state.replica;
    next.failovers_left -= 1;
    let survivors = state.replica.outbox.ops().or(state.postgres.logged);
    next.owed = next.owed.and(survivors);
    next
}

/// Redis starts the new epoch empty; the old counters are stale by their epoch.
fn open(state: &State) -> State {
    let mut next = *state;
    next.redis.seq = 0;
    next.redis.outbox = Entries::default();
    next.redis.floor = next.redis.floor.max(state.postgres.cursor_id);
    next.redis.epoch = Some(state.postgres.epoch);
    next
}
