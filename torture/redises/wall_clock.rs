//! A clock of a Redis' own, which goes ahead and back: libfaketime between it and the system.

use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use crate::Failure;

/// Where Debian keeps it, for each architecture.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
];

/// How far a server's clock is ahead: a file that it looks at once a second.
pub(super) struct WallClock {
    library: &'static str,
    file: PathBuf,
}

impl WallClock {
    /// A clock with a file in that folder; `None` where libfaketime is not installed.
    pub(super) fn find(dir: &Path) -> Result<Option<Self>, Failure> {
        let library = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
        let clock = library.map(|library| Self { library, file: dir.join("clock") });
        if let Some(clock) = &clock {
            clock.set(0)?;
        }
        Ok(clock)
    }

    /// What makes a process go by it. Time that is measured, and not told, goes on as it does.
    pub(super) fn environment(&self) -> Vec<(String, OsString)> {
        let variables: [(&str, OsString); 4] = [
            ("LD_PRELOAD", self.library.into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    pub(super) fn set(&self, ahead_s: i64) -> Result<(), Failure> {
        // One that is read while it is written would be none.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{ahead_s:+}\n"))?;
        Ok(std::fs::rename(new, &self.file)?)
    }
}
