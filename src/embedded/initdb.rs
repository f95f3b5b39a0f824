//! The first start of a private Postgres: a data folder with the database in it.
//!
//! The folder is made under another name and renamed at the end, so that a data folder that
//! exists is complete, however often the first start was interrupted.

use std::ffi::OsString;
use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::account::Account;
use super::error::EmbeddedError;
use super::find::Search;
use super::home::Home;
use super::process::Process;
use super::process::Program;
use super::process::Signal;

const STEP_WAIT: Duration = Duration::from_mins(2);

/// What the first start needs to know.
pub(super) struct Initdb<'a> {
    pub(super) home: &'a Home,
    pub(super) account: Option<&'a Account>,
    pub(super) password: Option<&'a str>,
    pub(super) durable: bool,
    pub(super) search: &'a Search,
}

impl Initdb<'_> {
    /// Makes the data folder, with the superuser and database `headroom`.
    pub(super) async fn run(&self) -> Result<(), EmbeddedError> {
        let staging = self.home.folder.join("postgres.new");
        if staging.exists() {
            fs::remove_dir_all(&staging).map_err(EmbeddedError::folder(&staging))?;
        }
        DirBuilder::new().mode(0o700).create(&staging).map_err(EmbeddedError::folder(&staging))?;
        self.give(&staging)?;
        let password_file = self.write_password()?;
        let made = self.make(&staging, password_file.as_deref()).await;
        if let Some(file) = &password_file {
            fs::remove_file(file).map_err(EmbeddedError::folder(file))?;
        }
        made?;
        self.create_database(&staging).await?;
        let data = &self.home.data;
        fs::rename(&staging, data).map_err(EmbeddedError::folder(data))
    }

    async fn make(&self, staging: &Path, password: Option<&Path>) -> Result<(), EmbeddedError> {
        let mut arguments: Vec<OsString> = vec!["--pgdata".into(), staging.into()];
        let fixed = ["--username=headroom", "--encoding=UTF8", "--locale=C", "--no-instructions"];
        arguments.extend(fixed.map(Into::into));
        if let Some(file) = password {
            arguments.extend(["--auth=scram-sha-256".into(), "--pwfile".into(), file.into()]);
        } else {
            arguments.push("--auth=trust".into());
        }
        if !self.durable {
            arguments.push("--no-sync".into());
        }
        let input =
            File::open("/dev/null").map_err(EmbeddedError::folder(Path::new("/dev/null")))?;
        let path = self.search.postgres()?.initdb;
        self.step("initdb", path, arguments, input).await
    }

    /// A single-user server needs neither a port nor a client, and no password.
    async fn create_database(&self, staging: &Path) -> Result<(), EmbeddedError> {
        let statements = self.home.folder.join("postgres.statements");
        fs::write(&statements, "CREATE DATABASE headroom\n")
            .map_err(EmbeddedError::folder(&statements))?;
        let input = File::open(&statements).map_err(EmbeddedError::folder(&statements))?;
        fs::remove_file(&statements).map_err(EmbeddedError::folder(&statements))?;
        // Without `exit_on_error` a statement that failed would go unnoticed.
        let fixed = ["--single", "-c", "exit_on_error=on", "-D"];
        let mut arguments: Vec<OsString> = fixed.map(Into::into).to_vec();
        arguments.push(staging.into());
        if !self.durable {
            arguments.extend(["-c".into(), "fsync=off".into()]);
        }
        arguments.push("postgres".into());
        let path = self.search.postgres()?.postgres;
        self.step("postgres", path, arguments, input).await
    }

    async fn step(
        &self,
        name: &'static str,
        path: PathBuf,
        arguments: Vec<OsString>,
        input: File,
    ) -> Result<(), EmbeddedError> {
        let program = Program {
            name,
            path,
            arguments,
            environment: Vec::new(),
            folder: self.home.folder.clone(),
            account: self.account.cloned(),
            input,
            log: self.home.dir.join("postgres.log"),
            death_signal: Signal::Int,
            drop_signal: Signal::Kill,
        };
        let mut process = Process::spawn(program, self.search).await?;
        let status = process.wait(STEP_WAIT).await?;
        if status.success() { Ok(()) } else { Err(process.exited()) }
    }

    /// A file that only the account can read, and that is removed right after.
    fn write_password(&self) -> Result<Option<PathBuf>, EmbeddedError> {
        let Some(password) = self.password else {
            return Ok(None);
        };
        let path = self.home.folder.join("postgres.password");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(EmbeddedError::folder(&path))?;
        writeln!(file, "{password}").map_err(EmbeddedError::folder(&path))?;
        self.give(&path)?;
        Ok(Some(path))
    }

    fn give(&self, path: &Path) -> Result<(), EmbeddedError> {
        self.account.map_or(Ok(()), |account| account.take(path))
    }
}
