//! One server a folder.
//!
//! The lock file becomes the server's standard input. A lock belongs to the open file, and all
//! processes that inherited it share it: it is held until the last of them is gone. So it also
//! tells when the orphans of a killed server (Postgres backends, a Redis that saves) have ended,
//! and a killed `headroom dev` keeps its folder until its servers have stopped.

use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use super::error::EmbeddedError;

const POLL: Duration = Duration::from_millis(10);

/// Locks `path`, and waits at most `wait` for processes that hold it.
pub(super) async fn acquire(path: &Path, wait: Duration) -> Result<File, EmbeddedError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(EmbeddedError::folder(path))?;
    let deadline = Instant::now() + wait;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(EmbeddedError::folder(path)(source)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(POLL).await,
            Err(TryLockError::WouldBlock) => {
                return Err(EmbeddedError::FolderInUse {
                    folder: path.parent().unwrap_or(path).to_owned(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_in_use_is_refused_until_the_last_holder_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.lock");
        let held = acquire(&path, Duration::ZERO).await.unwrap();
        let inherited = held.try_clone().unwrap();
        drop(held);

        let refused = acquire(&path, Duration::from_millis(20)).await.unwrap_err();
        drop(inherited);

        assert!(refused.to_string().ends_with("is in use by another headroom"));
        // A child that another test starts at this moment holds the file until it executes its program.
        acquire(&path, Duration::from_secs(10)).await.unwrap();
    }
}
