//! Client of Headroom, the quota service for chat backends.
//!
//! [`Client`] asks and charges, [`Client::hold`] holds units for work in progress, and [`QuotaLayer`] does it for the
//! routes of an axum router. Every write is sent again after a lost answer, under one idempotency key: it is done once.

mod answers;
mod attempts;
mod client;
mod error;
mod holding;
#[cfg(feature = "tower")]
mod layer;
mod order;

pub use answers::Decision;
pub use answers::Limit;
pub use answers::Refund;
pub use answers::Reservation;
pub use answers::Settled;
pub use answers::Usage;
pub use attempts::OnUnavailable;
pub use attempts::Policy;
pub use client::Client;
pub use error::Error;
pub use error::Problem;
pub use holding::Held;
pub use holding::HoldError;
#[cfg(feature = "tower")]
pub use layer::Charge;
#[cfg(feature = "tower")]
pub use layer::QuotaLayer;
#[cfg(feature = "tower")]
pub use layer::QuotaService;
pub use order::Order;
