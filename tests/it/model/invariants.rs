//! What must be true in every state.

use super::bounds::Model;
use super::state::State;
use super::state::sum;

/// A promise that a state breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// I1: the counter in Postgres is not the sum of its logged events.
    LedgerSum,
    /// I2: an entry after the cursor is already logged, so a load would count it twice.
    TailAlreadyCounted,
    /// I2: a loaded counter is not Postgres plus the outbox tail.
    LoadedCounter,
    /// I3: more was accepted than the limit.
    OverAdmission,
    /// I4: the outbox was trimmed past the committed cursor.
    TrimmedPastCursor,
    /// Promise 3: an acknowledged operation is gone though Redis did not lose it.
    LostOperation,
    /// After a reset as the last operation, the counter in Postgres is not zero.
    ResetUndone,
}

impl Model {
    /// The first promise that the state breaks, if any.
    pub fn broken(&self, state: &State) -> Option<Broken> {
        let postgres = &state.postgres;
        let deleted = !postgres.deletions.is_empty();
        if !deleted && postgres.used != postgres.deltas.iter().sum::<i8>() {
            return Some(Broken::LedgerSum);
        }
        let kept = postgres.logged.or(state.redis.outbox.ops());
        if !state.owed.is_subset_of(kept) {
            return Some(Broken::LostOperation);
        }
        // A detected loss is being healed: only then may the stores disagree.
        if !self.detects_loss(state) {
            let disagreement = self.disagreement(state);
            if disagreement.is_some() {
                return disagreement;
            }
        }
        let accepted = postgres.used + sum(state.tail());
        // Units that Redis lost may be accepted a second time, so the bound is exact without failovers only.
        if self.bounds.failovers == 0 && accepted > self.bounds.limit {
            return Some(Broken::OverAdmission);
        }
        None
    }

    fn disagreement(&self, state: &State) -> Option<Broken> {
        let postgres = &state.postgres;
        let tail = state.tail();
        if tail.iter().any(|entry| postgres.logged.contains(entry.op)) {
            return Some(Broken::TailAlreadyCounted);
        }
        if reset_undone(state) {
            return Some(Broken::ResetUndone);
        }
        let expected = postgres.used + sum(tail);
        let current = |epoch| Some(epoch) == state.redis.epoch || !self.guards.epoch_in_counter;
        if let Some(counter) = state.redis.counter
            && current(counter.epoch)
            && counter.used != expected
        {
            return Some(Broken::LoadedCounter);
        }
        (state.redis.floor > postgres.cursor_id).then_some(Broken::TrimmedPastCursor)
    }
}

/// Whether the last operation deleted the counter and older events have come back since.
fn reset_undone(state: &State) -> bool {
    state.ops > 0
        && state.postgres.deletions.contains(state.ops - 1)
        && state.postgres.used != 0
        && state.redis.counter.is_none()
        && state.tail().is_empty()
}
