//! The life of a unit: held, settled, given back, granted, given away, carried over.

mod corners;
mod crashes;
mod expiring;
pub(crate) mod fixture;
mod gifts;
mod lost;
mod refunding;
mod reserving;
mod rolling;
