//! Why a private server does not run.

use std::io;
use std::path::Path;
use std::path::PathBuf;

/// Why a private server could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// A program is not installed.
    #[error("{binary} not found, install the Debian package {package}")]
    BinaryMissing {
        /// The program.
        binary: &'static str,
        /// The Debian package that holds it.
        package: &'static str,
    },
    /// Postgres refuses to run as root, and there is no account to run it as.
    #[error("neither postgres nor nobody is an account of this machine")]
    AccountMissing,
    /// A file or folder cannot be used.
    #[error("cannot use {path}", path = path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// Another server runs on this folder.
    #[error("{folder} is in use by another headroom", folder = folder.display())]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// No port is free on 127.0.0.1.
    #[error("no free port")]
    Port(#[source] io::Error),
    /// Other processes took the port, again and again.
    #[error("port {port} for {program} is taken")]
    PortTaken {
        /// The program.
        program: &'static str,
        /// The port of the last attempt.
        port: u16,
    },
    /// The program cannot be executed.
    #[error("cannot run {program}")]
    Spawn {
        /// The program.
        program: &'static str,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// The program ended by itself.
    #[error("{program} ended, its log says: {log_tail}")]
    Exited {
        /// The program.
        program: &'static str,
        /// The end of its log.
        log_tail: String,
    },
    /// The program runs and does not answer.
    #[error("{program} does not answer after {waited_ms} ms, its log says: {log_tail}")]
    NotReady {
        /// The program.
        program: &'static str,
        /// How long it was given, in milliseconds.
        waited_ms: u128,
        /// The end of its log.
        log_tail: String,
    },
    /// The program did not stop when asked.
    #[error("{program} with pid {pid} did not stop in {waited_ms} ms")]
    StillRunning {
        /// The program.
        program: &'static str,
        /// Its process id.
        pid: u32,
        /// How long it was given, in milliseconds.
        waited_ms: u128,
    },
}

impl EmbeddedError {
    /// For `map_err`: what is wrong with `path`.
    pub(super) fn folder(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Folder { path, source }
    }
}
