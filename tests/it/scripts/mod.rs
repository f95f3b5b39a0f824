//! What the scripts do, seen through the counters alone: one shard, no Postgres.

mod charging;
mod groups;
mod keeping;
mod writing;
