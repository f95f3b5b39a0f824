//! Tests of the whole program and of its parts against real servers.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

mod embedded;
mod first;
mod ledger;
mod loading;
mod model;
mod recovery;
mod support;
