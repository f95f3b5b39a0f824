//! What a node knows of a shard.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

use uuid::Uuid;

/// The last that a node saw of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// The shard's Redis lifetime.
    pub epoch: u64,
    /// The highest place in the epoch that was acknowledged to this node.
    pub seq: u64,
    /// The last event of this node that was acknowledged, and its place.
    pub own: Option<(u64, Uuid)>,
}

/// A shard's number and the node's sight of it.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) number: u16,
    sight: Mutex<Sight>,
    /// The last that was seen of epochs that ended, oldest first, until the ledger knows.
    ended: Mutex<VecDeque<(u64, u64)>>,
}

/// Ended epochs that are remembered at most.
const ENDED_MAX: usize = 16;

impl Shard {
    pub(super) fn new(number: u16) -> Self {
        Self { number, sight: Mutex::default(), ended: Mutex::default() }
    }

    /// A copy; nothing that holds the lock can panic, so a poisoned one is as good.
    pub(super) fn sight(&self) -> Sight {
        *self.sight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what Redis answered.
    pub(super) fn saw(&self, epoch: u64, seq: u64, own: Option<(u64, Uuid)>) {
        let mut sight = self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch > sight.epoch {
            if sight.seq > 0 {
                self.remember((sight.epoch, sight.seq));
            }
            *sight = Sight { epoch, seq, own };
        } else if epoch == sight.epoch {
            sight.seq = sight.seq.max(seq);
            sight.own = own.or(sight.own);
        }
    }
}

impl Shard {
    fn remember(&self, ended: (u64, u64)) {
        let mut all = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        all.truncate(ENDED_MAX - 1);
        all.push_back(ended);
    }

    pub(super) fn ended(&self) -> Option<(u64, u64)> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).front().copied()
    }

    pub(super) fn owned_up(&self, epoch: u64) {
        let mut all = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(ended, _)| *ended != epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sight_never_goes_back() {
        let shard = Shard::new(0);
        shard.saw(2, 10, None);
        shard.saw(2, 8, None);
        shard.saw(1, 99, None);
        assert_eq!((shard.sight().epoch, shard.sight().seq), (2, 10));
        shard.saw(3, 0, None);
        assert_eq!((shard.sight().epoch, shard.sight().seq), (3, 0));
    }

    #[test]
    fn the_last_of_an_ended_epoch_is_kept_until_it_is_told() {
        let shard = Shard::new(0);
        shard.saw(1, 10, None);
        shard.saw(3, 7, None);
        shard.saw(4, 0, None);
        assert_eq!(shard.ended(), Some((1, 10)));
        shard.owned_up(1);
        assert_eq!(shard.ended(), Some((3, 7)));
        shard.owned_up(3);
        assert_eq!(shard.ended(), None);
    }
}
