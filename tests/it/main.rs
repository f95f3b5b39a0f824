//! Tests of the whole program and of its parts against real servers.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

mod acts;
mod against_a_reference;
mod api;
mod catalogue;
mod cli;
mod dev;
mod embedded;
mod facts;
mod faults;
mod first;
mod guards;
mod ledger;
mod life;
mod loading;
mod model;
mod mutants;
mod observe;
mod random;
mod recovery;
mod resetting;
mod scripts;
mod signals;
mod sim;
mod support;
mod systems;
mod topologies;
mod torture;
#[path = "../../bench/traffic.rs"]
mod traffic;
mod windows;
