//! A child process that does not outlive its owner.

use std::ffi::OsString;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use super::account::Account;
use super::error::EmbeddedError;
use super::find::Search;
use super::spawner;

const POLL: Duration = Duration::from_millis(5);
/// Postgres kills its own stragglers 5 s after an immediate shutdown begins.
const DROP_WAIT: Duration = Duration::from_secs(7);
/// How much of a log an error repeats, in bytes.
const LOG_TAIL_BYTES: u64 = 2_048;

/// A signal that a server understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Postgres: fast shutdown.
    Int,
    /// Redis: shutdown.
    Term,
    /// Postgres: immediate shutdown, which still removes its shared memory.
    Quit,
    /// The end, without a word.
    Kill,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Int => "INT",
            Self::Term => "TERM",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
        }
    }
}

/// What to run, and how.
pub(super) struct Program {
    /// The name in errors.
    pub(super) name: &'static str,
    /// The executable.
    pub(super) path: PathBuf,
    /// Its arguments. Other users can read them: no secrets.
    pub(super) arguments: Vec<OsString>,
    /// Variables beside `PATH`, `LC_ALL` and `TZ`.
    pub(super) environment: Vec<(String, OsString)>,
    /// The folder to run in, which the account must be able to enter.
    pub(super) folder: PathBuf,
    /// The account to become; none stays the same user.
    pub(super) account: Option<Account>,
    /// The standard input: the lock file, for a server.
    pub(super) input: File,
    /// The file that gets standard output and error.
    pub(super) log: PathBuf,
    /// What the kernel sends when our process ends.
    pub(super) death_signal: Signal,
    /// What [`Process`] sends when it is dropped.
    pub(super) drop_signal: Signal,
}

/// A running child process.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// Where in the log this process begins.
    log_start: u64,
    drop_signal: Signal,
}

impl Process {
    pub(super) async fn spawn(program: Program, search: &Search) -> Result<Self, EmbeddedError> {
        let log = open_log(&program.log).map_err(EmbeddedError::folder(&program.log))?;
        let log_start = log.metadata().map_or(0, |found| found.len());
        let (name, log_path) = (program.name, program.log.clone());
        let drop_signal = program.drop_signal;
        let command = command(program, log, search)?;
        let child = spawner::spawn(command).await;
        Ok(Self {
            name,
            child: child.map_err(|source| EmbeddedError::Spawn { program: name, source })?,
            log: log_path,
            log_start,
            drop_signal,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How the process ended, or none while it runs.
    pub(super) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends `signal` unless the process has ended. Its id cannot have been given to another
    /// process, because we have not asked for its exit status in between.
    pub(super) fn signal(&mut self, signal: Signal) {
        if self.exit_status().is_some() {
            return;
        }
        // `kill` is built into every shell, while its own package may be missing.
        let sent = Command::new("/bin/sh")
            .args(["-c", "kill -s \"$0\" \"$1\" && kill -s CONT \"$1\""])
            .args([signal.name(), &self.pid().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if let Err(error) = sent {
            tracing::warn!(%error, program = self.name, "cannot send a signal");
        }
    }

    /// Ends the process without a word, and waits for it.
    pub(super) async fn kill(&mut self, wait: Duration) -> Result<(), EmbeddedError> {
        let _already_gone = self.child.kill();
        self.wait(wait).await.map(|_status| ())
    }

    /// Waits for the process to end by itself.
    pub(super) async fn wait(&mut self, wait: Duration) -> Result<ExitStatus, EmbeddedError> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(status) = self.exit_status() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(EmbeddedError::StillRunning {
                    program: self.name,
                    pid: self.pid(),
                    waited_ms: wait.as_millis(),
                });
            }
            sleep(POLL).await;
        }
    }

    /// Waits until `is_ready` says so.
    pub(super) async fn wait_ready<M, F>(
        &mut self,
        wait: Duration,
        is_ready: M,
    ) -> Result<(), EmbeddedError>
    where
        M: Fn(u32) -> F,
        F: Future<Output = bool>,
    {
        let deadline = Instant::now() + wait;
        while self.exit_status().is_none() {
            if is_ready(self.pid()).await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(EmbeddedError::NotReady {
                    program: self.name,
                    waited_ms: wait.as_millis(),
                    log_tail: self.log_tail(),
                });
            }
            sleep(POLL).await;
        }
        Err(self.exited())
    }

    /// The error that tells why the process ended.
    pub(super) fn exited(&self) -> EmbeddedError {
        EmbeddedError::Exited { program: self.name, log_tail: self.log_tail() }
    }

    fn log_tail(&self) -> String {
        read_tail(&self.log, self.log_start).unwrap_or_else(|error| error.to_string())
    }
}

/// Whether a server ended because another process has its port.
pub(super) fn is_port_taken(error: &EmbeddedError) -> bool {
    matches!(error, EmbeddedError::Exited { log_tail, .. } if log_tail.contains("ddress already in use"))
}

impl Drop for Process {
    /// Blocks until the process is gone, which takes milliseconds unless it hangs.
    fn drop(&mut self) {
        if self.drop_signal != Signal::Kill {
            self.signal(self.drop_signal);
            let deadline = std::time::Instant::now() + DROP_WAIT;
            while self.exit_status().is_none() && std::time::Instant::now() < deadline {
                std::thread::park_timeout(POLL);
            }
        }
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// `setpriv` sets the parent death signal after it has become the account, and then turns into
/// the program, so the child's id is the program's.
fn command(program: Program, log: File, search: &Search) -> Result<Command, EmbeddedError> {
    let mut command = match search.setpriv() {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(program.account.iter().flat_map(Account::setpriv_options));
            command.args(["--pdeathsig", program.death_signal.name(), "--"]);
            command.arg(program.path);
            command
        }
        None if program.account.is_some() => {
            return Err(EmbeddedError::BinaryMissing { binary: "setpriv", package: "util-linux" });
        }
        None => Command::new(program.path),
    };
    let error_log = log.try_clone().map_err(EmbeddedError::folder(&program.log))?;
    // The servers get no variable of ours: some change their behaviour, others are secrets.
    // A process group of their own keeps the terminal's Ctrl-C from stopping them before us.
    command
        .process_group(0)
        .args(program.arguments)
        .env_clear()
        .envs([("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")])
        .envs(program.environment)
        .current_dir(program.folder)
        .stdin(program.input)
        .stdout(log)
        .stderr(error_log);
    Ok(command)
}

fn open_log(path: &Path) -> io::Result<File> {
    // A server's log may quote statements, so only its owner reads it.
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn read_tail(path: &Path, start: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(start.max(end.saturating_sub(LOG_TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}
