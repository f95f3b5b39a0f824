//! What a node knows of a shard.

use std::cmp::Ordering;
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
    /// Of the events that were acknowledged to this node the one at the highest place, and that place.
    pub own: Option<(u64, Uuid)>,
}

/// The events that a call acknowledged to this node. A Redis that has the last of them has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// The place of the first event. An answer that was replayed, or an earlier attempt that was found, has one before the call.
    pub first: u64,
    /// The place of the last event.
    pub seq: u64,
    /// The id of the last event.
    pub event_id: Uuid,
    /// How many events they are.
    pub events: u32,
}

impl Own {
    /// Of places and ids, in any order.
    pub(super) fn of(events: impl Iterator<Item = (u64, Uuid)>) -> Option<Self> {
        let of_one = |(seq, event_id)| Self { first: seq, seq, event_id, events: 1 };
        events.map(of_one).reduce(Self::and)
    }

    fn and(self, other: Self) -> Self {
        let last = if self.seq < other.seq { other } else { self };
        Self { first: self.first.min(other.first), events: self.events + other.events, ..last }
    }
}

/// The last that was seen of an epoch that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The epoch.
    pub epoch: u64,
    /// The highest place that was acknowledged to this node.
    pub seq: u64,
    /// This node's own latest calls, oldest first, at most 4,096.
    pub own: Vec<Own>,
}

/// A shard's number and the node's sight of it.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) number: u16,
    sight: Mutex<Sight>,
    /// This node's latest calls in the epoch, oldest first.
    own: Mutex<VecDeque<Own>>,
    /// What was seen of epochs that ended, oldest first, until the ledger knows.
    ended: Mutex<VecDeque<Ended>>,
    /// Held by who tells the ledger: told twice, a loss counts twice.
    pub(super) telling: tokio::sync::Mutex<()>,
}

/// Ended epochs that are remembered at most.
const ENDED_MAX: usize = 16;
/// Calls that are remembered at most: those of some tenths of a second under full load. Longer ago they are flushed.
const OWN_MAX: usize = 4_096;

impl Shard {
    pub(super) fn new(number: u16) -> Self {
        Self {
            number,
            sight: Mutex::default(),
            own: Mutex::default(),
            ended: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
        }
    }

    /// A copy; nothing that holds the lock can panic, so a poisoned one is as good.
    pub(super) fn sight(&self) -> Sight {
        *self.sight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what Redis answered. `false` when that epoch has ended, as this node knows: nothing is taken in then.
    pub(super) fn saw(&self, epoch: u64, seq: u64, own: Option<Own>) -> bool {
        let mut sight = self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        let mut calls = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let last = own.map(|own| (own.seq, own.event_id));
        match epoch.cmp(&sight.epoch) {
            Ordering::Less => return false,
            Ordering::Equal => {
                sight.seq = sight.seq.max(seq);
                sight.own = sight.own.max(last);
            }
            Ordering::Greater => {
                let own = std::mem::take(&mut *calls).into();
                if sight.seq > 0 {
                    self.remember(Ended { epoch: sight.epoch, seq: sight.seq, own });
                }
                *sight = Sight { epoch, seq, own: last };
            }
        }
        if let Some(own) = own {
            if calls.len() == OWN_MAX {
                calls.pop_front();
            }
            calls.push_back(own);
        }
        true
    }
}

impl Shard {
    fn remember(&self, ended: Ended) {
        let mut all = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        all.truncate(ENDED_MAX - 1);
        all.push_back(ended);
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).front().cloned()
    }

    pub(super) fn owned_up(&self, epoch: u64) {
        let mut all = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|ended| ended.epoch != epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sight_never_goes_back() {
        let shard = Shard::new(0);
        assert!(shard.saw(2, 10, None));
        assert!(shard.saw(2, 8, None));
        assert!(!shard.saw(1, 99, None));
        assert_eq!((shard.sight().epoch, shard.sight().seq), (2, 10));
        shard.saw(3, 0, None);
        assert_eq!((shard.sight().epoch, shard.sight().seq), (3, 0));
    }

    #[test]
    fn the_own_event_at_the_highest_place_is_kept_whatever_is_replayed_later() {
        let (old, new) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let both = Own::of([(9, new), (3, old)].into_iter());
        assert_eq!(both, Some(Own { first: 3, seq: 9, event_id: new, events: 2 }));
        let shard = Shard::new(0);
        shard.saw(1, 9, both);
        shard.saw(1, 9, Own::of([(3, old)].into_iter()));
        assert_eq!(shard.sight().own, Some((9, new)));
    }

    #[test]
    fn the_last_of_an_ended_epoch_is_kept_until_it_is_told() {
        let shard = Shard::new(0);
        let own = Own { first: 8, seq: 9, event_id: Uuid::nil(), events: 2 };
        shard.saw(1, 10, Some(own));
        shard.saw(3, 7, None);
        shard.saw(4, 0, None);
        assert_eq!(shard.ended(), Some(Ended { epoch: 1, seq: 10, own: vec![own] }));
        shard.owned_up(1);
        assert_eq!(shard.ended(), Some(Ended { epoch: 3, seq: 7, own: Vec::new() }));
        shard.owned_up(3);
        assert_eq!(shard.ended(), None);
    }
}
