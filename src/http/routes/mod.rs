//! One file a group of routes.

pub mod chat;
pub mod decisions;
pub mod operations;
pub mod usage;
