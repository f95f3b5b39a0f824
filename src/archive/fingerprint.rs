//! What two lists of rows are compared by.

use sha2::Digest;
use sha2::Sha256;

use crate::domain::logged::LoggedEvent;

/// How many rows, and a hash over all of their fields in order.
#[derive(Clone, Debug, Default)]
pub struct Fingerprint {
    rows: u64,
    hasher: Sha256,
}

impl Fingerprint {
    /// Adds a row.
    pub fn add(&mut self, row: &LoggedEvent) {
        self.rows += 1;
        self.field(row.event_id.as_bytes());
        for number in [row.occurred_at_us, row.epoch, row.seq, row.shard] {
            self.field(&number.to_be_bytes());
        }
        for text in [&row.subject, &row.kind, &row.plan, &row.charges, &row.deltas] {
            self.field(text.as_bytes());
        }
        for text in [&row.model, &row.request_id, &row.trace_id, &row.metadata] {
            self.hasher.update([u8::from(text.is_some())]);
            self.field(text.as_deref().unwrap_or("").as_bytes());
        }
    }

    /// How many rows there were.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The hash over all rows so far.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.hasher.clone().finalize().into()
    }

    /// Each field behind its length, so that no two rows have the same bytes.
    fn field(&mut self, bytes: &[u8]) {
        self.hasher.update((bytes.len() as u64).to_be_bytes());
        self.hasher.update(bytes);
    }
}
