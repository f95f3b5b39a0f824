//! Headroom: a Redis-first quota service. Start at `docs/ARCHITECTURE.md`.

pub mod domain;
pub mod ledger;
