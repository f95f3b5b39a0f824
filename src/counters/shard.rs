//! What a node knows of a shard.

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
}

impl Shard {
    pub(super) fn new(number: u16) -> Self {
        Self { number, sight: Mutex::default() }
    }

    /// A copy; nothing that holds the lock can panic, so a poisoned one is as good.
    pub(super) fn sight(&self) -> Sight {
        *self.sight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what Redis answered.
    pub(super) fn saw(&self, epoch: u64, seq: u64, own: Option<(u64, Uuid)>) {
        let mut sight = self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch > sight.epoch {
            *sight = Sight { epoch, seq, own };
        } else if epoch == sight.epoch {
            sight.seq = sight.seq.max(seq);
            sight.own = own.or(sight.own);
        }
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
}
