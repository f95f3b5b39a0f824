//! What the scripts do, seen through the counters alone: one shard, no Postgres.

mod charging;
mod fields;
mod groups;
mod keeping;
mod loads;
mod outbox;
mod paths;
mod profiles;
mod rewriting;
mod sliding;
mod writing;
