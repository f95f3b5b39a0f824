//! One file a group of routes.

pub mod chat;
pub mod decisions;
pub mod images;
pub mod operations;
pub mod usage;
