//! The ledger against a real Postgres.

mod acts;
mod audit;
mod base;
mod catalogues;
mod errors;
pub(crate) mod fixture;
mod flush;
mod grants;
mod keys;
mod lives;
mod migrations;
mod minutes;
mod partitions;
mod recovery;
mod reservations;
mod roles;
mod rollups;
mod signals;
mod subjects;
mod tallies;
mod transfers;
mod upgrade;
mod verify;
mod within;
