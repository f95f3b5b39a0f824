//! Headroom: a Redis-first quota service. Start at `docs/ARCHITECTURE.md`.

pub mod app;
pub mod archive;
pub mod background;
pub mod cli;
pub mod clock;
pub mod config;
pub mod counters;
pub mod domain;
pub mod embedded;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod http;
pub mod ledger;
pub mod quota;
pub mod telemetry;
pub mod tls;
