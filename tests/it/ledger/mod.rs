//! The ledger against a real Postgres.

mod acts;
mod audit;
mod base;
mod catalogues;
mod errors;
pub(crate) mod fixture;
mod flush;
mod keys;
mod migrations;
mod minutes;
mod partitions;
mod recovery;
mod roles;
mod rollups;
mod subjects;
mod upgrade;
mod verify;
mod within;
