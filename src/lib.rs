//! Headroom: a Redis-first quota service.

pub mod clock;
pub mod config;
