//! An exhaustive search of the protocol between Redis, the outbox and Postgres, in the small.
//!
//! One shard, one subject, one limit, and a handful of operations. Every interleaving of consumes,
//! resets, loads, flushers, trims and recoveries with every fault (eviction, crash of a flusher,
//! failover to a lagging replica) is visited, breadth first, and the invariants are checked in each
//! state. The full protocol must hold in all of them; with any one guard taken away the search must
//! find a trace that breaks an invariant, or the guard is not worth its code.
//!
//! | file | holds |
//! |---|---|
//! | `bounds.rs` | the guards that can be taken away and the size of the world |
//! | `state.rs` | one state of the world, small and canonical |
//! | `step.rs` | the names of what can happen, and which of it can happen next |
//! | `serving.rs` | consume, reset, eviction and load |
//! | `flushing.rs` | the flushers and the trim |
//! | `recovering.rs` | replication, failover, fence, salvage and open |
//! | `invariants.rs` | what must be true in every state |
//! | `search.rs` | the breadth-first search |
//! | `guarantees.rs` | tests: the full protocol holds |
//! | `counter_examples.rs` | tests: each guard is needed |

mod bounds;
mod counter_examples;
mod flushing;
mod guarantees;
mod invariants;
mod recovering;
mod search;
mod serving;
mod state;
mod step;
