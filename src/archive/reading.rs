//! Rows out of a Parquet file.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::record::Row;
use parquet::record::RowAccessor;

use crate::domain::logged::LoggedEvent;

use super::error::ArchiveError;

/// Hands each row of the file at `path` to `take`, in order.
///
/// # Errors
///
/// [`ArchiveError`] when the file is not what [`super::Writer`] makes.
pub fn read(path: &Path, mut take: impl FnMut(&LoggedEvent)) -> Result<(), ArchiveError> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    for row in reader.get_row_iter(None)? {
        take(&event(&row?)?);
    }
    Ok(())
}

fn event(row: &Row) -> Result<LoggedEvent, ArchiveError> {
    let text = |place| row.get_string(place).cloned();
    let optional = |place| if row.is_null(place)? { Ok(None) } else { text(place).map(Some) };
    let event_id =
        text(0)?.parse().map_err(|error: uuid::Error| ArchiveError::Value(error.into()))?;
    Ok(LoggedEvent {
        event_id,
        occurred_at_us: row.get_timestamp_micros(1)?,
        epoch: row.get_long(2)?,
        seq: row.get_long(3)?,
        shard: row.get_long(4)?,
        subject: text(5)?,
        kind: text(6)?,
        model: optional(7)?,
        plan: text(8)?,
        charges: text(9)?,
        deltas: text(10)?,
        request_id: optional(11)?,
        trace_id: optional(12)?,
        metadata: optional(13)?,
    })
}
