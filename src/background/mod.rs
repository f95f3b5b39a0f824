//! Work that no request waits for.

pub mod supervisor;

pub use supervisor::Shutdown;
pub use supervisor::Supervisor;
