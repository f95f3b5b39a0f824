//! Archives: months of the message log as Parquet files, in a folder or an S3-compatible store.
//!
//! **Architecture invariant:** nothing here knows Postgres or Redis; what is written is read back before anybody believes it.

mod error;
mod fingerprint;
mod place;
mod reading;
mod writing;

pub use error::ArchiveError;
pub use fingerprint::Fingerprint;
pub use place::Place;
pub use reading::read;
pub use writing::Writer;

/// The columns of a file, in order. The documents are JSON texts.
const SCHEMA: &str = "message message_log {
    required binary event_id (UTF8);
    required int64 occurred_at (TIMESTAMP_MICROS);
    required int64 epoch;
    required int64 seq;
    required int64 shard;
    required binary subject (UTF8);
    required binary kind (UTF8);
    optional binary model (UTF8);
    required binary plan (UTF8);
    required binary charges (UTF8);
    required binary deltas (UTF8);
    optional binary request_id (UTF8);
    optional binary trace_id (UTF8);
    optional binary metadata (UTF8);
}";
