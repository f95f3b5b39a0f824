//! Subjects that are not in Redis.

mod bounds;
mod cold;
mod content;
mod single_flight;
