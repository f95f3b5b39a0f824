//! What the scripts do, seen through the counters alone: one shard, no Postgres.

mod acts;
mod attempts;
mod charging;
mod fields;
mod gifts;
mod grants;
mod groups;
mod hold_ends;
mod hold_loads;
mod holds;
mod instants;
mod keeping;
mod loads;
mod outbox;
mod paths;
mod profiles;
mod refunds;
mod rewriting;
mod rollover;
mod sliding;
mod writing;
