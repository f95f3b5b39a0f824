//! Rows into a Parquet file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::basic::ZstdLevel;
use parquet::data_type::ByteArray;
use parquet::data_type::ByteArrayType;
use parquet::data_type::Int64Type;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::parser::parse_message_type;

use crate::domain::logged::LoggedEvent;

use super::SCHEMA;
use super::error::ArchiveError;

type Group<'a> = SerializedRowGroupWriter<'a, File>;

/// A Parquet file that is being written, with zstd.
pub struct Writer {
    file: SerializedFileWriter<File>,
}

impl Writer {
    /// Begins a file at `path`, in place of what is there.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::File`] when it cannot be made.
    pub fn create(path: &Path) -> Result<Self, ArchiveError> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let compression = Compression::ZSTD(ZstdLevel::default());
        let properties = WriterProperties::builder().set_compression(compression).build();
        let file = File::create(path)?;
        Ok(Self { file: SerializedFileWriter::new(file, schema, Arc::new(properties))? })
    }

    /// Adds rows as a group of their own.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Format`] when the disk is full, for example.
    pub fn write(&mut self, rows: &[LoggedEvent]) -> Result<(), ArchiveError> {
        let mut group = self.file.next_row_group()?;
        texts(&mut group, rows.iter().map(|row| row.event_id.to_string()))?;
        numbers(&mut group, rows.iter().map(|row| row.occurred_at_us))?;
        numbers(&mut group, rows.iter().map(|row| row.epoch))?;
        numbers(&mut group, rows.iter().map(|row| row.seq))?;
        numbers(&mut group, rows.iter().map(|row| row.shard))?;
        texts(&mut group, rows.iter().map(|row| row.subject.clone()))?;
        texts(&mut group, rows.iter().map(|row| row.kind.clone()))?;
        optional(&mut group, rows.iter().map(|row| row.model.as_deref()))?;
        texts(&mut group, rows.iter().map(|row| row.plan.clone()))?;
        texts(&mut group, rows.iter().map(|row| row.charges.clone()))?;
        texts(&mut group, rows.iter().map(|row| row.deltas.clone()))?;
        optional(&mut group, rows.iter().map(|row| row.request_id.as_deref()))?;
        optional(&mut group, rows.iter().map(|row| row.trace_id.as_deref()))?;
        optional(&mut group, rows.iter().map(|row| row.metadata.as_deref()))?;
        group.close()?;
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    ///
    /// As [`Writer::write`].
    pub fn finish(self) -> Result<(), ArchiveError> {
        self.file.into_inner()?.sync_all()?;
        Ok(())
    }
}

fn numbers(group: &mut Group<'_>, values: impl Iterator<Item = i64>) -> Result<(), ArchiveError> {
    let values: Vec<i64> = values.collect();
    if let Some(mut column) = group.next_column()? {
        column.typed::<Int64Type>().write_batch(&values, None, None)?;
        column.close()?;
    }
    Ok(())
}

fn texts(group: &mut Group<'_>, values: impl Iterator<Item = String>) -> Result<(), ArchiveError> {
    let values: Vec<ByteArray> = values.map(|text| ByteArray::from(text.into_bytes())).collect();
    if let Some(mut column) = group.next_column()? {
        column.typed::<ByteArrayType>().write_batch(&values, None, None)?;
        column.close()?;
    }
    Ok(())
}

fn optional<'a>(
    group: &mut Group<'_>,
    values: impl Iterator<Item = Option<&'a str>>,
) -> Result<(), ArchiveError> {
    let (mut present, mut levels) = (Vec::new(), Vec::new());
    for value in values {
        levels.push(i16::from(value.is_some()));
        present.extend(value.map(|text| ByteArray::from(text.as_bytes().to_vec())));
    }
    if let Some(mut column) = group.next_column()? {
        column.typed::<ByteArrayType>().write_batch(&present, Some(&levels), None)?;
        column.close()?;
    }
    Ok(())
}
