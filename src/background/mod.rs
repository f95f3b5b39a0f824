//! Work that no request waits for.

pub mod denials;
pub mod drift;
pub mod feed;
pub mod flusher;
pub mod supervisor;
pub mod upkeep;
pub mod webhooks;

pub use supervisor::Shutdown;
pub use supervisor::Supervisor;
