//! The ledger against a real Postgres.

mod errors;
mod fixture;
mod flush;
mod keys;
mod migrations;
mod partitions;
mod recovery;
mod roles;
mod verify;
