//! Where archives are: a folder or an S3-compatible store.

use std::io::Write;
use std::path::Path;

use futures_util::StreamExt;
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use object_store::WriteMultipart;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use tokio::io::AsyncReadExt;

use super::error::ArchiveError;

const S3: &str = "s3://";
/// Bytes of a part of an upload; S3 takes at least 5 MiB and at most 10,000 parts.
const PART_BYTES: usize = 16 << 20;
/// Parts on their way at once.
const PARTS_MAX: usize = 2;

/// Where archives are.
pub struct Place {
    store: Box<dyn ObjectStore>,
    prefix: ObjectPath,
    name: String,
}

impl Place {
    /// A folder, which is made when it is absent, or `s3://bucket/prefix`. The credentials, the region and the endpoint of an S3
    /// store come from the variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT` and the like; it
    /// takes a build with the feature `s3`.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Place`], [`ArchiveError::File`] or [`ArchiveError::NoS3`] when it cannot be used.
    pub fn open(text: &str) -> Result<Self, ArchiveError> {
        let name = text.trim_end_matches('/').to_owned();
        let Some(rest) = name.strip_prefix(S3) else {
            std::fs::create_dir_all(text)?;
            let store = Box::new(LocalFileSystem::new_with_prefix(text)?);
            return Ok(Self { store, prefix: ObjectPath::default(), name });
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self { store: s3(bucket)?, prefix: ObjectPath::from(prefix), name })
    }

    /// Where a file of that name is, for people.
    #[must_use]
    pub fn location(&self, file: &str) -> String {
        format!("{}/{file}", self.name)
    }

    /// Copies the file at `from` to the place, where it is whole or not at all.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Place`] when the place does not take it.
    pub async fn put(&self, file: &str, from: &Path) -> Result<(), ArchiveError> {
        let mut input = tokio::fs::File::open(from).await?;
        let upload = self.store.put_multipart(&self.path(file)).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut buffer = vec![0; PART_BYTES];
        loop {
            let count = input.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            upload.wait_for_capacity(PARTS_MAX).await?;
            upload.write(&buffer[..count]);
        }
        upload.finish().await?;
        Ok(())
    }

    /// Copies a file from the place to `to`.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Place`] when it is not there.
    pub async fn get(&self, file: &str, to: &Path) -> Result<(), ArchiveError> {
        let mut parts = self.store.get(&self.path(file)).await?.into_stream();
        let mut output = std::fs::File::create(to)?;
        while let Some(part) = parts.next().await {
            output.write_all(&part?)?;
        }
        Ok(())
    }

    fn path(&self, file: &str) -> ObjectPath {
        self.prefix.clone().join(file)
    }
}

#[cfg(feature = "s3")]
fn s3(bucket: &str) -> Result<Box<dyn ObjectStore>, ArchiveError> {
    let store = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket).build()?;
    Ok(Box::new(store))
}

#[cfg(not(feature = "s3"))]
const fn s3(_bucket: &str) -> Result<Box<dyn ObjectStore>, ArchiveError> {
    Err(ArchiveError::NoS3)
}
