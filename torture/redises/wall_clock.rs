//! A clock of a Redis' own, which goes ahead and back: a library between it and the system, of which `cc` makes a few lines of C.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::Failure;

const SOURCE: &str = include_str!("wall_clock.c");

/// How far a server's clock is ahead: a file that it looks at whenever it asks for the time.
pub(super) struct WallClock {
    library: PathBuf,
    file: PathBuf,
}

impl WallClock {
    /// Makes the library for all servers of a run; `None` where there is no compiler.
    pub(super) async fn library(dir: &Path) -> Result<Option<PathBuf>, Failure> {
        let (source, library) = (dir.join("wall_clock.c"), dir.join("wall_clock.so"));
        std::fs::write(&source, SOURCE)?;
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source);
        let made = command.stdin(Stdio::null()).stderr(Stdio::null()).status().await;
        Ok(made.is_ok_and(|status| status.success()).then_some(library))
    }

    /// A clock that is right, with a file in that folder.
    pub(super) fn new(library: PathBuf, dir: &Path) -> Result<Self, Failure> {
        let clock = Self { library, file: dir.join("clock") };
        clock.set(0)?;
        Ok(clock)
    }

    /// What makes a process go by it.
    pub(super) fn environment(&self) -> Vec<(String, OsString)> {
        let variables = [("LD_PRELOAD", &self.library), ("WALL_CLOCK", &self.file)];
        variables.map(|(name, value)| (name.to_owned(), value.into())).into()
    }

    /// Sets it, at once.
    pub(super) fn set(&self, ahead_s: i64) -> Result<(), Failure> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.file)?;
        Ok(file.write_all_at(&ahead_s.to_ne_bytes(), 0)?)
    }
}
