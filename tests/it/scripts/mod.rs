//! What the scripts do, seen through the counters alone: one shard, no Postgres.

mod acts;
mod charging;
mod fields;
mod groups;
mod hold_loads;
mod holds;
mod keeping;
mod loads;
mod outbox;
mod paths;
mod profiles;
mod rewriting;
mod sliding;
mod writing;
