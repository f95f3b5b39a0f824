//! A private Postgres.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use super::PORT_ATTEMPTS_MAX;
use super::account::Account;
use super::error::EmbeddedError;
use super::find::Search;
use super::home::Home;
use super::initdb::Initdb;
use super::lock;
use super::percent_encoded;
use super::ports::free_port;
use super::process::Process;
use super::process::Program;
use super::process::Signal;
use super::process::is_port_taken;

const NAME: &str = "postgres";
/// Long enough to recover from a crash.
const READY_WAIT: Duration = Duration::from_mins(2);
const STOP_WAIT: Duration = Duration::from_secs(30);
const LOCK_WAIT: Duration = Duration::from_secs(30);
const RETRY_WAIT: Duration = Duration::from_millis(100);
/// The line of `postmaster.pid` that says whether connections are taken, from 0.
const STATUS_LINE: usize = 7;

/// How a private Postgres runs.
#[derive(Clone, Default)]
pub struct PostgresOptions {
    /// The folder that gets `postgres/`, `postgres.log` and `postgres.lock`; made when absent.
    pub dir: PathBuf,
    /// The superuser's password, which takes effect at the first start in `dir` only; none lets
    /// everyone on this machine in.
    pub password: Option<String>,
    /// Whether a commit survives a crash of the machine. Tests do without. A confirmed commit
    /// survives a crash of Postgres alone either way.
    pub durable: bool,
    /// More settings, such as `log_statement=all`. Other users can read them: no secrets.
    pub extra: Vec<String>,
}

/// A Postgres on a free port of 127.0.0.1, with the superuser and database `headroom`. It is
/// stopped when this is dropped or the process ends.
pub struct PostgresServer {
    options: PostgresOptions,
    setup: Setup,
    port: u16,
    process: Process,
}

/// What does not change from start to start.
struct Setup {
    search: Search,
    account: Option<Account>,
    home: Home,
}

impl PostgresServer {
    /// Starts Postgres, on what `dir` holds already if anything, and waits until it takes
    /// connections. The first start takes some seconds.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError`]; nothing is left running.
    pub async fn start(options: PostgresOptions) -> Result<Self, EmbeddedError> {
        let account = Account::for_postgres()?;
        let setup = Setup {
            search: Search::system(),
            home: Home::open(&options.dir, account.as_ref())?,
            account,
        };
        let mut attempt = 1;
        loop {
            let port = free_port().map_err(EmbeddedError::Port)?;
            match setup.launch(&options, port).await {
                Err(error) if is_port_taken(&error) && attempt < PORT_ATTEMPTS_MAX => attempt += 1,
                Err(error) => return Err(error),
                Ok(process) => {
                    return Ok(Self { options, setup, port, process });
                }
            }
        }
    }

    /// The superuser's URL of `database`, with the password. The caller keeps it out of logs.
    /// The database `headroom` exists.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let password = self.options.password.as_deref();
        let password =
            password.map_or_else(String::new, |password| format!(":{}", percent_encoded(password)));
        let database = percent_encoded(database);
        format!("postgres://headroom{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on 127.0.0.1, the same for the whole life of this value.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the last start.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends the main process as a crash would, with SIGKILL. Its backends notice and end by
    /// themselves; [`PostgresServer::restart`] waits for them.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::StillRunning`] when the kernel does not end it.
    pub async fn kill(&mut self) -> Result<(), EmbeddedError> {
        self.process.kill(STOP_WAIT).await
    }

    /// Stops Postgres: open transactions are rolled back, and the next start needs no recovery.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::StillRunning`] when it does not stop within 30 s.
    pub async fn stop(&mut self) -> Result<(), EmbeddedError> {
        self.process.signal(Signal::Int);
        self.process.wait(STOP_WAIT).await.map(|_status| ())
    }

    /// Stops Postgres if it runs, and starts it on the same port and folder.
    ///
    /// # Errors
    ///
    /// As [`PostgresServer::start`]; [`EmbeddedError::PortTaken`] when another process has the
    /// port, [`EmbeddedError::FolderInUse`] when backends of a killed one do not end within 30 s.
    pub async fn restart(&mut self) -> Result<(), EmbeddedError> {
        self.stop().await?;
        for _ in 0..PORT_ATTEMPTS_MAX {
            match self.setup.launch(&self.options, self.port).await {
                Err(error) if is_port_taken(&error) => sleep(RETRY_WAIT).await,
                Err(error) => return Err(error),
                Ok(process) => {
                    self.process = process;
                    return Ok(());
                }
            }
        }
        Err(EmbeddedError::PortTaken { program: NAME, port: self.port })
    }
}

impl Setup {
    async fn launch(&self, options: &PostgresOptions, port: u16) -> Result<Process, EmbeddedError> {
        let lock = lock::acquire(&self.home.dir.join("postgres.lock"), LOCK_WAIT).await?;
        if self.home.data.exists() {
            remove_stale_pid_file(&self.home.data)?;
        } else {
            let initdb = Initdb {
                home: &self.home,
                account: self.account.as_ref(),
                password: options.password.as_deref(),
                durable: options.durable,
                search: &self.search,
            };
            initdb.run().await?;
        }
        let program = Program {
            name: NAME,
            path: self.search.postgres()?.postgres,
            arguments: arguments(&self.home.data, options, port),
            environment: Vec::new(),
            folder: self.home.folder.clone(),
            account: self.account.clone(),
            input: lock,
            log: self.home.dir.join("postgres.log"),
            death_signal: Signal::Int,
            drop_signal: Signal::Quit,
        };
        let mut process = Process::spawn(program, &self.search).await?;
        let data = &self.home.data;
        process.wait_ready(READY_WAIT, |pid| std::future::ready(is_ready(data, pid))).await?;
        Ok(process)
    }
}

fn arguments(data: &Path, options: &PostgresOptions, port: u16) -> Vec<OsString> {
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        // A folder of ours may be too deep for a socket's name, and nobody needs one.
        "unix_socket_directories=".to_owned(),
        "max_connections=200".to_owned(),
        "logging_collector=off".to_owned(),
    ];
    if !options.durable {
        // `synchronous_commit` stays on: without it a killed Postgres forgets commits that it
        // had confirmed, and tests that kill it would find faults that are not there.
        settings.extend(["fsync=off", "full_page_writes=off"].map(str::to_owned));
    }
    settings.extend(options.extra.iter().cloned());
    let mut arguments: Vec<OsString> = vec!["-D".into(), data.into()];
    arguments.extend(settings.into_iter().flat_map(|setting| ["-c".into(), setting.into()]));
    arguments
}

/// Postgres itself writes down that it takes connections, so no client is needed to find out,
/// and no other server on the same port can be taken for it.
fn is_ready(data: &Path, pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return false;
    };
    let lines: Vec<&str> = text.lines().collect();
    lines.first().is_some_and(|line| *line == pid.to_string())
        && lines.get(STATUS_LINE).is_some_and(|line| line.trim() == "ready")
}

/// Removes what a killed Postgres left behind.
///
/// Postgres refuses to start when the process id in that file belongs to any process of the same
/// user, which after a crash may be an unrelated one. We hold the lock, so no server of ours runs
/// here; one that was started by hand has the folder among its arguments and is left alone.
fn remove_stale_pid_file(data: &Path) -> Result<(), EmbeddedError> {
    let path = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(());
    };
    let pid = text.lines().next().unwrap_or("").trim();
    let arguments = fs::read(Path::new("/proc").join(pid).join("cmdline")).unwrap_or_default();
    let folder = data.as_os_str().as_encoded_bytes();
    if arguments.windows(folder.len()).any(|part| part == folder) {
        return Ok(());
    }
    fs::remove_file(&path).map_err(EmbeddedError::folder(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid_file(text: &str) -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("postmaster.pid"), text).unwrap();
        data
    }

    #[test]
    fn only_our_own_postgres_counts_as_ready() {
        let data = pid_file("42\n/d\n0\n15000\n\n127.0.0.1\n1 2\nready   \n");

        assert!(is_ready(data.path(), 42));
        assert!(!is_ready(data.path(), 43));
        assert!(!is_ready(pid_file("42\n/d\n0\n1\n\n\n\nstarting\n").path(), 42));
    }

    #[test]
    fn a_pid_file_of_an_unrelated_process_is_removed() {
        let data = pid_file(&format!("{}\n", std::process::id()));

        remove_stale_pid_file(data.path()).unwrap();

        assert!(!data.path().join("postmaster.pid").exists());
    }
}
