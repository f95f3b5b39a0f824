//! Headroom: a Redis-first quota service.

pub mod background;
pub mod clock;
pub mod config;
pub mod embedded;
pub mod telemetry;
