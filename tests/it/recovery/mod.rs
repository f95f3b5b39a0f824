//! Losses in Redis, and how a shard comes back from them.

mod detection;
mod duplicates;
mod failover;
mod interrupted;
mod late_answers;
mod losses;
mod postgres_restored;
mod startup;
mod world;
