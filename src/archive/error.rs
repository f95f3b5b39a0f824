//! Why there is no archive.

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The place cannot be understood or reached.
    #[error("the archive's place cannot be used")]
    Place(#[source] object_store::Error),
    /// This build knows no S3.
    #[error("this build knows no s3: build with --features s3, or name a folder")]
    NoS3,
    /// The format.
    #[error("the parquet file cannot be written or read")]
    Format(#[source] parquet::errors::ParquetError),
    /// The temporary file.
    #[error("the temporary file cannot be used")]
    File(#[from] std::io::Error),
    /// A column that holds something else than was written.
    #[error("the parquet file has a value that is none")]
    Value(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<object_store::Error> for ArchiveError {
    fn from(error: object_store::Error) -> Self {
        Self::Place(error)
    }
}

impl From<parquet::errors::ParquetError> for ArchiveError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Format(error)
    }
}
